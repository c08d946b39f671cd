"""The ``ssl:`` endpoint of clients, whose certificate can be read again while sessions go on.

``ssl:PORT:privateKey=…``
    Twisted's own.
``ssl:systemd:domain=INET:name=NAME:privateKey=…``
    The same on a socket that was inherited.
"""

from __future__ import annotations

import re
from typing import Any

from OpenSSL import SSL
from twisted.internet.defer import Deferred, execute
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import (
    IListeningPort,
    IOpenSSLContextFactory,
    IProtocolFactory,
    IReactorSSL,
    IStreamServerEndpoint,
)
from twisted.internet.ssl import CertificateOptions
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface import implementer

from imd.checks import endpoint_fault
from imd.errors import ConfigError

_INHERITED = "ssl:systemd:"
#: What Twisted's ``ssl:`` knows of TLS; all else is about the socket.
_OF_TLS = ("certKey=", "dhParameters=", "extraCertChain=", "privateKey=", "sslmethod=")


def _split(description: str) -> tuple[str, str]:
    """What ``ssl:`` is to read, and the endpoint that was inherited, if any."""
    if not description.startswith(_INHERITED):
        return description, ""
    words = re.split(r"(?<!\\):", description)
    of_tls = [word for word in words if word.startswith(_OF_TLS)]
    return ":".join(["ssl:0", *of_tls]), ":".join(w for w in words[1:] if w not in of_tls)


@implementer(IReactorSSL)
class _Read:
    """Stands where Twisted's endpoint expects a reactor, and keeps what it would listen with."""

    port: int
    options: CertificateOptions
    backlog: int
    interface: str

    def __init__(self, description: str) -> None:
        """Raises whatever the endpoint does for what it cannot read, or ``ValueError``."""
        serverFromString(self, description).listen(None)
        # Makes the context, which takes no key but that of the certificate.
        self.options.getContext()
        own = self.options.certificate
        if own is not None and own.has_expired():
            raise ValueError("the certificate has expired")

    def listenSSL(
        self, port: int, factory: Any, contextFactory: Any, backlog: int = 50, interface: str = ""
    ) -> Any:
        """See ``IReactorSSL``."""
        self.port, self.options = port, contextFactory
        self.backlog, self.interface = backlog, interface

    def connectSSL(self, *args: Any, **kwargs: Any) -> Any:
        """See ``IReactorSSL``; no server connects."""
        raise NotImplementedError


@implementer(IStreamServerEndpoint, IOpenSSLContextFactory)
class TlsEndpoint:
    """Raises whatever Twisted's endpoints do for what they cannot read."""

    def __init__(self, description: str, reactor: Any) -> None:
        self._description = description
        self._reactor = reactor
        self._of_tls, inherited = _split(description)
        self._read = _Read(self._of_tls)
        self._plain: IStreamServerEndpoint | None = (
            serverFromString(reactor, inherited) if inherited else None
        )

    def listen(self, factory: IProtocolFactory) -> Deferred[IListeningPort]:
        """See ``IStreamServerEndpoint``."""
        read = self._read
        if self._plain is not None:
            secure: IProtocolFactory = TLSMemoryBIOFactory(self, False, factory, self._reactor)
            return self._plain.listen(secure)
        return execute(
            self._reactor.listenSSL, read.port, factory, self, read.backlog, read.interface
        )

    def getContext(self) -> SSL.Context:
        """What the next connection is served with."""
        return self._read.options.getContext()

    def renew(self) -> None:
        """Read the certificate again, for all later connections.

        Raises ``ConfigError``, and keeps the old one, if the new one cannot be served.
        """
        try:
            self._read = _Read(self._of_tls)
        except Exception as error:
            # Whatever is wrong with the files: no name, no PEM, another key.
            raise ConfigError("listen", f"{self._description}: {endpoint_fault(error)}") from None
