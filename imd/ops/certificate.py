"""The ``ssl:`` endpoint of clients, whose certificate can be read again while sessions go on."""

from __future__ import annotations

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
from zope.interface import implementer

from imd.checks import endpoint_fault
from imd.errors import ConfigError


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
    """Twisted's ``ssl:``; raises whatever that does for what it cannot read."""

    def __init__(self, description: str, reactor: Any) -> None:
        self._description = description
        self._reactor = reactor
        self._read = _Read(description)

    def listen(self, factory: IProtocolFactory) -> Deferred[IListeningPort]:
        """See ``IStreamServerEndpoint``."""
        read = self._read
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
            self._read = _Read(self._description)
        except Exception as error:
            # Whatever is wrong with the files: no name, no PEM, another key.
            raise ConfigError("listen", f"{self._description}: {endpoint_fault(error)}") from None
