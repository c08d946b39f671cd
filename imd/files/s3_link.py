"""Requests to an S3-compatible store: signed (AWS Signature Version 4), and ended in time."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlsplit
from xml.etree import ElementTree

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from msgspec import Struct
from twisted.internet.defer import CancelledError, Deferred, TimeoutError
from twisted.internet.error import ConnectError, ConnectionDone, ConnectionLost, DNSLookupError
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Cooperator
from twisted.python.failure import Failure
from twisted.web.client import (
    Agent,
    FileBodyProducer,
    HTTPConnectionPool,
    RequestTransmissionFailed,
    ResponseDone,
    ResponseFailed,
    ResponseNeverReceived,
)
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers

from imd.errors import StoreFull, Unavailable
from imd.s3account import S3Account

#: Seconds for a connection, and for a whole request.
CONNECT_SECONDS = 5
REQUEST_SECONDS = 60
#: Connections that are kept.
CONNECTIONS = 16

_AWAY = (
    TimeoutError,
    CancelledError,
    ConnectError,
    ConnectionDone,
    ConnectionLost,
    DNSLookupError,
    RequestTransmissionFailed,
    ResponseFailed,
    ResponseNeverReceived,
)
#: What stores say when they have no room.
_FULL = frozenset(("InsufficientStorage", "QuotaExceeded", "XMinioStorageFull", "EntityTooLarge"))


class Reply(Struct, frozen=True):
    """What the store said."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    def texts(self, tag: str) -> list[str]:
        """The texts of all elements of that name, in order."""
        if not self.content:
            return []
        # The operator has chosen this store to trust.
        tree = ElementTree.fromstring(self.content)  # noqa: S314
        return [e.text or "" for e in tree.iter() if e.tag.rpartition("}")[2] == tag]


class _Content(Protocol):
    """The content of a reply, as a whole."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self.whole: Deferred[bytes] = Deferred(self._cancel)

    def _cancel(self, _: object) -> None:
        if self.transport is not None:
            self.transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        """Some of it."""
        self._parts.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The end, or a break."""
        if self.whole.called:
            return
        if reason.check(ResponseDone, PotentialDataLoss):
            self.whole.callback(b"".join(self._parts))
        else:
            self.whole.errback(ResponseFailed([reason]))


class _Signer(S3SigV4Auth):  # type: ignore[misc]
    """Signs a content whose digest is known; to make it takes too long for the reactor."""

    def payload(self, request: Any) -> str:
        """The digest of the content."""
        digest: str = request.context["digest"]
        return digest


class S3Link:
    """The objects of one bucket, by key."""

    def __init__(self, account: S3Account, bucket: str, reactor: Any) -> None:
        self._reactor = reactor
        endpoint = account.endpoint or f"https://s3.{account.region}.amazonaws.com"
        self._base = f"{endpoint.rstrip('/')}/{quote(bucket)}"
        self._signer = _Signer(Credentials(account.key, account.secret), "s3", account.region)
        self._pool = HTTPConnectionPool(reactor)
        self._pool.maxPersistentPerHost = CONNECTIONS
        self._agent = Agent(reactor, connectTimeout=CONNECT_SECONDS, pool=self._pool)
        self._cooperator = Cooperator(scheduler=lambda call: reactor.callLater(0, call))

    async def close(self) -> None:
        """Close the connections that are kept."""
        await self._pool.closeCachedConnections()

    async def ask(
        self,
        method: str,
        key: str,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        content: bytes = b"",
        digest: str = "",
        allow: tuple[int, ...] = (),
    ) -> Reply:
        """Make a request; ``digest`` is the SHA-256 of the content, where it has any.

        Raises ``Unavailable`` for a failure, and for a status that is neither a success nor
        among those that are allowed; ``StoreFull`` if the store says so.
        """
        url = f"{self._base}/{quote(key)}" if key else self._base
        if query:
            url += "?" + "&".join(
                f"{quote(k, safe='')}={quote(v, safe='')}" for k, v in sorted(query.items())
            )
        signed = self._sign(method, url, dict(headers or {}), digest)
        try:
            reply = await self._request(method, url, signed, content)
        except _AWAY as error:
            raise Unavailable(f"files: the store does not answer: {type(error).__name__}") from None
        if not 200 <= reply.status < 300 and reply.status not in allow:
            raise _failure(method, reply)
        return reply

    def _sign(self, method: str, url: str, headers: dict[str, str], digest: str) -> dict[str, str]:
        request = AWSRequest(method, url, headers)
        request.context["digest"] = digest or _NOTHING
        self._signer.add_auth(request)
        return dict(request.headers.items())

    async def _request(
        self, method: str, url: str, headers: Mapping[str, str], content: bytes
    ) -> Reply:
        given = Headers({name: [value] for name, value in headers.items()})
        given.setRawHeaders("Host", [urlsplit(url).netloc])
        body = None
        if content:
            body = FileBodyProducer(io.BytesIO(content), self._cooperator)
        asked = self._agent.request(method.encode(), url.encode(), given, body)
        response = await asked.addTimeout(REQUEST_SECONDS, self._reactor)
        content_of = _Content()
        response.deliverBody(content_of)
        raw = await content_of.whole.addTimeout(REQUEST_SECONDS, self._reactor)
        found = {
            name.decode().lower(): values[0].decode("latin-1")
            for name, values in response.headers.getAllRawHeaders()
        }
        return Reply(response.code, found, raw)


#: The SHA-256 of nothing.
_NOTHING = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def _failure(method: str, reply: Reply) -> Unavailable:
    try:
        code = next(iter(reply.texts("Code")), "")
    except ElementTree.ParseError:
        code = ""
    if reply.status == 507 or code in _FULL:
        return StoreFull(f"files: the store has no room: {code or reply.status}")
    return Unavailable(f"files: the store answers {reply.status} {code} to {method}")
