"""What is in the certificates that the configuration names."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from imd.config import Settings
from imd.doctor import judge
from imd.doctor.judge import Finding, Pem
from imd.status import redis_url
from imd.tls import TransferTls

_DAY = 86400.0


def certificates(settings: Settings) -> list[Finding]:
    """Those that a process with these settings shows, and the authorities that it trusts."""
    said: list[Finding] = []
    if settings.role != "transfer":
        hosts = [host for host in settings.hosts if host != "*"]
        said += _listener("listen", settings.listen, hosts)
        if settings.status.startswith("rediss"):
            target = redis_url.parse(settings.status)
            said += _plain("status.ca", target.ca) + _plain("status.cert", target.cert)
    said += _listener("metrics.listen", settings.metrics.listen, [])
    places = (*settings.transfer, settings.transfer_listen)
    if any(place.startswith(("tls:", "ssl:")) for place in places):
        said += _link(settings.transfer_tls, settings)
    return said


def _listener(key: str, listen: str, hosts: list[str]) -> list[Finding]:
    if not listen.startswith("ssl:"):
        return []
    # As Twisted's ssl: has it: the certificate may be in the file of the key.
    words = dict(word.partition("=")[::2] for word in listen.split(":") if "=" in word)
    own = words.get("privateKey", "server.pem")
    path = words.get("certKey", own)
    more = [words["extraCertChain"]] if "extraCertChain" in words else []
    return _judged(f"{key}.certificate", path, own, more, None, hosts)


def _link(tls: TransferTls, settings: Settings) -> list[Finding]:
    dials, listens = bool(settings.transfer), bool(settings.transfer_listen)
    names = [f"*.{tls.connector}"] if dials else []
    names += [tls.transfer] if listens and settings.role != "connector" else []
    said = _judged("transfer-tls.cert", tls.cert, tls.key, [], tls.ca, names)
    return said + _plain("transfer-tls.ca", tls.ca)


def _plain(name: str, path: str) -> list[Finding]:
    """A file of certificates of which each has to be valid."""
    return _judged(name, path, "", [], None, []) if path else []


def _judged(
    name: str, path: str, key: str, more: list[str], ca: str | None, wanted: list[str]
) -> list[Finding]:
    try:
        pem = read(path, key, more, ca, datetime.now(UTC))
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "no certificate, or no key, in PEM"
        return [judge.fail(name, f"cannot read {path}: {why}", "correct the path", wrong=True)]
    return judge.certificate(name, pem, wanted)


def read(path: str, key: str, more: Iterable[str], ca: str | None, now: datetime) -> Pem:
    """The facts of the first certificate in a file.  Raises ``OSError`` or ``ValueError``."""
    own, *chain = x509.load_pem_x509_certificates(Path(path).read_bytes())
    for each in more:
        chain += x509.load_pem_x509_certificates(Path(each).read_bytes())
    fits, is_open = _key(key, own) if key else (None, False)
    chained = _is_chained([own, *chain], ca) if ca else None
    days = [
        (t - now).total_seconds() / _DAY
        for t in (own.not_valid_before_utc, own.not_valid_after_utc)
    ]
    return Pem(path, days[0], days[1], _names(own), fits, chained, is_open)


def _key(path: str, own: x509.Certificate) -> tuple[bool, bool]:
    try:
        found = load_pem_private_key(Path(path).read_bytes(), None)
    except TypeError:
        raise ValueError("the key has a passphrase") from None
    return found.public_key() == own.public_key(), bool(Path(path).stat().st_mode & 0o077)


def _is_chained(chain: list[x509.Certificate], ca: str) -> bool:
    known = x509.load_pem_x509_certificates(Path(ca).read_bytes())
    last = chain[0]
    while not any(_issued(last, one) for one in known):
        above = [one for one in chain if one is not last and _issued(last, one)]
        if not above:
            return False
        chain = [one for one in chain if one is not last]
        last = above[0]
    return True


def _issued(child: x509.Certificate, parent: x509.Certificate) -> bool:
    try:
        child.verify_directly_issued_by(parent)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _names(own: x509.Certificate) -> tuple[str, ...]:
    try:
        found = own.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    addresses = [str(one) for one in found.get_values_for_type(x509.IPAddress)]
    return (*(n.lower() for n in found.get_values_for_type(x509.DNSName)), *addresses)
