"""Passwords of an LDAP directory: find the entry of a name, then bind as that entry.

Every login has a connection of its own, so that one person's bind can never answer for another's.
TLS is verified always and begun before anything is said.  Referrals are not followed.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from ldaptor.protocols import pureldap
from ldaptor.protocols.ldap.ldapclient import LDAPClient
from msgspec import Meta
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol, wrapClientTLS
from twisted.internet.ssl import Certificate, optionsForClientTLS, trustRootFromCertificates
from zope.interface import implementer

from imd.auth.arguments import Arguments, fault, parse, read

#: Seconds for the whole of a login; below the deadline of all checkers, so that it ends in order.
_DEADLINE = 4.5
#: Bytes that a directory may send in one login.
_MOST_BYTES = 1 << 18
_PORTS = {"starttls": 389, "ldaps": 636}
_CERTIFICATE = re.compile(b"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)

#: Result codes (RFC 4511 §4.1.9).
_SUCCESS, _SIZE_LIMIT = 0, 4
#: Those that say of a bind that this person may not: inappropriateAuthentication,
#: invalidCredentials, insufficientAccessRights, unwillingToPerform, constraintViolation.
_REFUSED = frozenset((48, 49, 50, 53, 19))

Text = Annotated[str, Meta(min_length=1, max_length=1024)]


class LdapArguments(Arguments, frozen=True, kw_only=True):
    """Where the directory is, and which of its entries are people.

    ``name`` is the attribute with the login name, ``group`` the DN of a group that the entry has
    to be a ``memberOf``.  ``bind`` and ``password`` (a file) are an account that
    may search; without them anybody may.
    """

    host: Text
    base: Text
    tls: Literal["starttls", "ldaps"] = "starttls"
    port: Annotated[int, Meta(ge=1, le=65535)] | None = None
    ca: Text | None = None
    name: Text = "uid"
    group: Text | None = None
    bind: Text | None = None
    password: Text | None = None


class Failed(Exception):
    """The directory did not do what it was asked."""


class _Client(LDAPClient):  # type: ignore[misc]
    """A connection that takes nothing for an answer that came before TLS, or without end."""

    def __init__(self) -> None:
        super().__init__()
        self._received = 0

    def dataReceived(self, data: bytes) -> None:
        self._received += len(data)
        if self._received > _MOST_BYTES:
            self.transport.abortConnection()
            return
        super().dataReceived(data)

    def _cbStartTLS(self, answer: Any, options: Any) -> Any:
        if self.buffer:
            # In the clear, and it would pass for the answer to what is asked under TLS.
            raise Failed("bytes follow the answer to StartTLS")
        return super()._cbStartTLS(answer, options)


@implementer(ICredentialsChecker)
class LdapChecker:
    """The people of one directory.  ``secret`` is the password of the searching account."""

    credentialInterfaces = (IUsernamePassword,)

    def __init__(self, arguments: LdapArguments, roots: Any, secret: bytes, reactor: Any) -> None:
        self.realm = arguments.realm or f"ldap:{arguments.base}"
        self.create = arguments.create == "yes"
        self.adopt = arguments.adopt == "yes"
        self._arguments = arguments
        self._options = optionsForClientTLS(arguments.host, trustRoot=roots)
        self._secret = secret
        self._reactor = reactor

    def requestAvatarId(self, credentials: Any) -> Deferred[Any]:
        """The name as the directory has it."""
        # RFC 4513 §5.1.2: a bind without a password succeeds, and proves nothing.
        if not credentials.password:
            raise UnauthorizedLogin("no password")
        asked = self._log_in(credentials.username, credentials.password)
        return Deferred.fromCoroutine(asked).addTimeout(_DEADLINE, self._reactor)

    async def _log_in(self, name: bytes, password: bytes) -> bytes:
        client = await connectProtocol(self._endpoint(), _Client())
        try:
            if self._arguments.tls == "starttls":
                await client.startTLS(self._options)
            return await self._prove(client, name, password)
        finally:
            client.transport.abortConnection()

    def _endpoint(self) -> Any:
        mine = self._arguments
        port = mine.port or _PORTS[mine.tls]
        endpoint = HostnameEndpoint(self._reactor, mine.host, port, timeout=_DEADLINE)
        return endpoint if mine.tls == "starttls" else wrapClientTLS(self._options, endpoint)

    async def _prove(self, client: _Client, name: bytes, password: bytes) -> bytes:
        if self._arguments.bind is not None:
            code = await _bind(client, self._arguments.bind.encode(), self._secret)
            if code != _SUCCESS:
                raise Failed(f"the bind for the search ended with code {code}")
        dn, known = await self._find(client, name)
        code = await _bind(client, dn, password)
        if code in _REFUSED:
            raise UnauthorizedLogin("wrong password")
        if code != _SUCCESS:
            raise Failed(f"the bind ended with code {code}")
        return known

    async def _find(self, client: _Client, name: bytes) -> tuple[bytes, bytes]:
        """DN and name of the one entry that has the name."""
        attribute = self._arguments.name
        code, entries = await _search(client, self._request(name))
        if code not in (_SUCCESS, _SIZE_LIMIT):
            raise Failed(f"the search ended with code {code}")
        if len(entries) != 1 or not entries[0].objectName:
            raise UnauthorizedLogin("nobody, or not one alone, has this name")
        (entry,) = entries
        wanted = name.decode().casefold()
        for key, values in entry.attributes:
            for value in values if key.decode().lower() == attribute.lower() else ():
                if value.decode(errors="replace").casefold() == wanted:
                    return entry.objectName, value
        raise UnauthorizedLogin("the entry has another name")

    def _request(self, name: bytes) -> Any:
        # Values are octet strings of BER here, not text of a filter: nothing in them can end one.
        tests = [_equal(self._arguments.name, name)]
        if self._arguments.group is not None:
            tests.append(_equal("memberOf", self._arguments.group.encode()))
        return pureldap.LDAPSearchRequest(
            baseObject=self._arguments.base,
            scope=pureldap.LDAP_SCOPE_wholeSubtree,
            derefAliases=pureldap.LDAP_DEREF_neverDerefAliases,
            sizeLimit=2,
            timeLimit=int(_DEADLINE),
            filter=pureldap.LDAPFilter_and(tests),
            attributes=[self._arguments.name],
        )


def checker(text: str) -> LdapChecker:
    """A checker with its files read.  Raises ``ConfigError``."""
    from twisted.internet import reactor

    arguments = parse("ldap", text, LdapArguments)
    secret = b""
    if (arguments.bind is None) != (arguments.password is None):
        raise fault("ldap", "bind and password (a file) go together")
    if arguments.password is not None:
        secret = read("ldap", "password", arguments.password, private=True).strip()
        if not secret:
            raise fault("ldap", f"password: {arguments.password} is empty")
    return LdapChecker(arguments, _roots(arguments.ca), secret, reactor)


def _roots(path: str | None) -> Any:
    """The authorities to believe; None: those of the system."""
    if path is None:
        return None
    found = _CERTIFICATE.findall(read("ldap", "ca", path, private=False))
    try:
        certificates = [Certificate.loadPEM(pem) for pem in found]
    except Exception:
        certificates = []
    if not certificates:
        raise fault("ldap", f"ca: {path} has no certificates in PEM")
    return trustRootFromCertificates(certificates)


def _equal(attribute: str, value: bytes) -> Any:
    return pureldap.LDAPFilter_equalityMatch(
        attributeDesc=pureldap.LDAPAttributeDescription(attribute),
        assertionValue=pureldap.LDAPAssertionValue(value),
    )


async def _bind(client: _Client, dn: bytes, password: bytes) -> int:
    answer = await client.send(pureldap.LDAPBindRequest(dn=dn, auth=password))
    if not isinstance(answer, pureldap.LDAPBindResponse):
        raise Failed("the answer to a bind is none")
    return int(answer.resultCode)


async def _search(client: _Client, request: Any) -> tuple[int, list[Any]]:
    """The result code, and the entries that came before it."""
    entries: list[Any] = []
    done: Deferred[int] = Deferred()

    def heard(answer: Any) -> bool:
        if isinstance(answer, pureldap.LDAPSearchResultEntry):
            entries.append(answer)
        if not isinstance(answer, pureldap.LDAPSearchResultDone):
            return False
        done.callback(int(answer.resultCode))
        return True

    client.send_multiResponse(request, heard).addErrback(done.errback)
    return await done, entries
