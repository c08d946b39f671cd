"""Where a transfer listens and how connectors reach it, from the strings of an operator.

``unix:PATH``
    A socket in the file system; its permissions say who may connect.  The mode is 600 unless
    the string says otherwise, and never one that lets everybody in.
``tls:PORT[:interface=ADDRESS]`` (listening), ``tls:HOST:PORT`` (dialling)
    TCP with TLS 1.3, where both sides show a certificate of the operator's own authority, with
    their role as a DNS name: ``connector.imd.internal`` for any connector,
    ``NODE.connector.imd.internal`` for those whose ``node`` is NODE, and
    ``transfer.imd.internal``.  Needs the table ``transfer-tls``.  All other parameters are those
    of Twisted's ``tcp:``; ``ssl:`` means the same.
``tcp:…``
    No proof of anything: accepted for a loopback address only, and complained about.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cryptography import x509
from msgspec import Struct
from OpenSSL import SSL, crypto
from twisted.internet.endpoints import clientFromString, serverFromString, wrapClientTLS
from twisted.internet.interfaces import (
    IOpenSSLClientConnectionCreator,
    IOpenSSLContextFactory,
    IProtocolFactory,
    IStreamClientEndpoint,
    IStreamServerEndpoint,
)
from twisted.internet.ssl import (
    Certificate,
    CertificateOptions,
    TLSVersion,
    optionsForClientTLS,
    trustRootFromCertificates,
)
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory
from zope.interface import implementer

from imd.checks import endpoint_fault
from imd.errors import ConfigError
from imd.tls import TransferTls
from imd.transfer.broker import Proves

_log = Logger()


#: Reads certificates again; raises ``ConfigError`` if they cannot be used.
Renewal = Callable[[], None]
#: Makes of a factory of plain connections one of proven ones.
Wrap = Callable[[IProtocolFactory], IProtocolFactory]


class Door(Struct, frozen=True):
    """Where a transfer listens.

    ``proves`` tells of a transport whose handshake is complete which connectors may be at its
    other end, see ``BrokerFactory``; None where reaching the endpoint is proof enough.
    ``renew`` reads its certificates again, if there are any; it raises ``ConfigError`` and keeps
    the old ones if the new ones cannot be used.
    """

    endpoint: IStreamServerEndpoint
    wrap: Wrap
    proves: Proves | None
    renew: Renewal


def door(description: str, tls: TransferTls | None, reactor: Any) -> Door:
    """What ``transfer-listen`` says.  Raises ``ConfigError``."""
    key = "transfer-listen"
    kind, words, rest = _split(key, description)
    if kind == "unix":
        mode = next((word[5:] for word in words if word.startswith("mode=")), None)
        _check_mode(key, mode)
        description += "" if mode else ":mode=600"
        return Door(_parsed(key, serverFromString, reactor, description), _as_it_is, None, _keep)
    if kind == "tcp":
        host = next((word[10:] for word in words if word.startswith("interface=")), "")
        _check_loopback(key, host)
        return Door(_parsed(key, serverFromString, reactor, description), _as_it_is, None, _keep)
    server = _Server(tls)
    role = _needed(tls).connector
    return Door(
        _parsed(key, serverFromString, reactor, f"tcp:{rest}"),
        lambda factory: TLSMemoryBIOFactory(server, False, factory, reactor),
        lambda transport: _nodes(transport.getPeerCertificate().to_cryptography(), role),
        server.renew,
    )


def dial(
    description: str,
    tls: TransferTls | None,
    reactor: Any,
    renewals: list[Renewal] | None = None,
) -> IStreamClientEndpoint:
    """What one entry of ``transfer`` says.  Raises ``ConfigError``.

    What reads its certificates again is added to ``renewals``.
    """
    key = "transfer"
    kind, words, rest = _split(key, description)
    if kind == "unix":
        return _client(reactor, description)
    if kind == "tcp":
        named = [word[5:] for word in words if word.startswith("host=")]
        _check_loopback(key, (named or words)[0])
        return _client(reactor, description)
    client = _Client(tls)
    if renewals is not None:
        renewals.append(client.renew)
    return wrapClientTLS(client, _client(reactor, f"tcp:{rest}"))


# -- strings


def _client(reactor: Any, description: str) -> IStreamClientEndpoint:
    endpoint: IStreamClientEndpoint = _parsed("transfer", clientFromString, reactor, description)
    return endpoint


def _split(key: str, description: str) -> tuple[str, list[str], str]:
    """The kind of an endpoint, its parameters, and these again as they were written."""
    kind, _, rest = description.partition(":")
    if kind not in ("unix", "tcp", "tls", "ssl") or not rest:
        raise ConfigError(key, f'"{description}" is none of unix:…, tls:…, tcp:…')
    return kind, [re.sub(r"\\(.)", r"\1", word) for word in re.split(r"(?<!\\):", rest)], rest


def _parsed(key: str, parse: Callable[..., Any], reactor: Any, description: str) -> Any:
    try:
        return parse(reactor, description)
    except (ValueError, TypeError, KeyError) as error:
        raise ConfigError(key, f"{description}: {endpoint_fault(error)}") from None


def _as_it_is(factory: IProtocolFactory) -> IProtocolFactory:
    return factory


def _check_mode(key: str, mode: str | None) -> None:
    if mode is None:
        return
    try:
        bits = int(mode, 8)
    except ValueError:
        raise ConfigError(key, f"mode={mode} is no mode, such as 600") from None
    if bits & 0o007:
        raise ConfigError(key, f"mode={mode} lets every user of this machine in; take 600")


def _check_loopback(key: str, host: str) -> None:
    try:
        is_loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback:
        raise ConfigError(key, "tcp: proves nothing; use tls: (or unix:, or a loopback address)")
    _log.warn(
        "{key} is plain TCP: every user of this machine can read and write all messages", key=key
    )


# -- certificates


class _Renewable:
    """What is read from the files of a certificate, and read again when they are renewed."""

    def __init__(self, tls: TransferTls | None) -> None:
        self._tls = tls
        self._read()

    def renew(self) -> None:
        """Read the files again.  Raises ``ConfigError``."""
        _check_time(self._tls)
        self._read()

    def _read(self) -> None:
        raise NotImplementedError


@implementer(IOpenSSLContextFactory)
class _Server(_Renewable):
    """What each new connection of a connector is met with."""

    def _read(self) -> None:
        options = CertificateOptions(**_options(self._tls))
        options.getContext()
        self._options = options

    def getContext(self) -> SSL.Context:
        """See ``IOpenSSLContextFactory``."""
        return self._options.getContext()


@implementer(IOpenSSLClientConnectionCreator)
class _Client(_Renewable):
    """What a connector shows to the transfer that it dials next."""

    def _read(self) -> None:
        options = _options(self._tls)
        self._creator = optionsForClientTLS(
            _needed(self._tls).transfer,
            trustRoot=options.pop("trustRoot"),
            extraCertificateOptions=options,
        )

    def clientConnectionForTLS(self, protocol: Any) -> SSL.Connection:
        """See ``IOpenSSLClientConnectionCreator``."""
        made: SSL.Connection = self._creator.clientConnectionForTLS(protocol)
        return made


def _keep() -> None:
    """There is no certificate to be read again."""


def _needed(tls: TransferTls | None) -> TransferTls:
    if tls is None or not (tls.cert and tls.key and tls.ca):
        raise ConfigError("transfer-tls", "tls: needs this table, with cert, key and ca")
    return tls


def _options(tls: TransferTls | None) -> dict[str, Any]:
    """What both sides' TLS has in common, for ``CertificateOptions``."""
    needed = _needed(tls)
    own, *chain = _certificates("cert", needed.cert)
    key = _private_key(needed.key)
    private: Any = key.to_cryptography_key()
    if private.public_key() != own.public_key():
        raise ConfigError("transfer-tls.key", f"{needed.key} is not the key of {needed.cert}")
    authorities = [Certificate(_x509(one)) for one in _certificates("ca", needed.ca)]
    return {
        "privateKey": key,
        "certificate": _x509(own),
        "extraCertChain": [_x509(one) for one in chain],
        "trustRoot": trustRootFromCertificates(authorities),
        "raiseMinimumTo": TLSVersion.TLSv1_3,
    }


def _check_time(tls: TransferTls | None) -> None:
    path = _needed(tls).cert
    if any(_x509(one).has_expired() for one in _certificates("cert", path)):
        raise ConfigError("transfer-tls.cert", f"{path} has expired")


def _x509(certificate: x509.Certificate) -> crypto.X509:
    return crypto.X509.from_cryptography(certificate)


def _certificates(name: str, path: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(_read(name, path))
    except ValueError:
        raise ConfigError(f"transfer-tls.{name}", f"{path} holds no PEM certificate") from None


def _private_key(path: str) -> crypto.PKey:
    raw = _read("key", path)
    try:
        return crypto.load_privatekey(crypto.FILETYPE_PEM, raw, b"")
    except (ValueError, crypto.Error):
        raise ConfigError(
            "transfer-tls.key", f"{path} holds no PEM key without a passphrase"
        ) from None


def _read(name: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"transfer-tls.{name}", f"cannot read {path}: {error.strerror}") from None


def _nodes(certificate: x509.Certificate, role: str) -> frozenset[str] | None:
    """The nodes for which a certificate, whose authority was checked, is; none stands for any,
    and None for another role.
    """
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return None
    known = {name.lower() for name in names.value.get_values_for_type(x509.DNSName)}
    if role in known:
        return frozenset()
    below = f".{role}"
    return frozenset(name.removesuffix(below) for name in known if name.endswith(below)) or None
