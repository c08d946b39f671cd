"""Answers that HTTP gives in the same way everywhere: errors, and who is asked for a token."""

from __future__ import annotations

from typing import Any

import msgspec
from twisted.web.http import Request

from imd.errors import STATUS, Code, Refusal, StoreFull, Unavailable

#: Seconds after which to come back, where we do not know better.
RETRY_AFTER = 5

HEADERS = {
    b"Cache-Control": b"no-store",
    b"X-Content-Type-Options": b"nosniff",
    b"Referrer-Policy": b"no-referrer",
    b"Content-Security-Policy": b"default-src 'none'; frame-ancestors 'none'",
    b"Server": b"imd",
}


class Answer(Exception):
    """Ends the handling of a request with a status and an error object."""

    def __init__(self, status: int, refusal: Refusal, headers: dict[bytes, bytes] | None = None):
        super().__init__(str(refusal))
        self.status = status
        self.refusal = refusal
        self.headers = headers or {}

    @property
    def content(self) -> bytes:
        """The error object."""
        error = {"code": self.refusal.code.value, "message": self.refusal.message}
        return msgspec.json.encode({"error": error})


def refused(refusal: Refusal) -> Answer:
    """The answer to a request that was refused."""
    headers = {}
    if refusal.code is Code.UNAUTHORIZED:
        headers[b"WWW-Authenticate"] = b"Bearer"
    if refusal.code in (Code.LIMIT, Code.LOCKED, Code.UNAVAILABLE):
        headers[b"Retry-After"] = b"%d" % (refusal.retry_after or RETRY_AFTER)
    return Answer(STATUS[refusal.code], refusal, headers)


def unavailable(error: Unavailable) -> Answer:
    """The answer while something is away, or full."""
    if isinstance(error, StoreFull):
        full = Refusal(Code.UNAVAILABLE, "the server has no room left for files")
        return Answer(507, full, {b"Retry-After": b"600"})
    return refused(Refusal(Code.UNAVAILABLE, "busy; try again later"))


def defect() -> Answer:
    """The answer when we are wrong."""
    return refused(Refusal(Code.INTERNAL, "this is a defect of the server; it was logged"))


def write_error(request: Request, answer: Answer) -> bytes:
    """Set an error up; the body to send."""
    request.setResponseCode(answer.status)
    for name, value in answer.headers.items():
        request.setHeader(name, value)
    request.setHeader(b"Content-Type", b"application/json")
    return answer.content


def require(request: Request, *methods: bytes) -> None:
    """Raise ``Answer`` unless the request uses one of these."""
    if request.method not in methods:
        wrong = Refusal(Code.BAD_REQUEST, f"use {methods[0].decode()}")
        raise Answer(405, wrong, {b"Allow": b", ".join(methods)})


def bearer(request: Request) -> str:
    """The token of a request.  Raises ``Refusal``."""
    given = request.requestHeaders.getRawHeaders(b"authorization") or []
    scheme, _, token = given[0].partition(b" ") if len(given) == 1 else (b"", b"", b"")
    if scheme.lower() != b"bearer" or not 0 < len(token) <= 256:
        raise Refusal(Code.UNAUTHORIZED, "send a token: Authorization: Bearer …")
    return token.decode("latin-1")


def address(request: Any) -> str:
    """Where a request comes from, also behind a proxy."""
    found: str = request.address
    return found
