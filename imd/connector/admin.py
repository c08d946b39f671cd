"""``POST /v1/admin/METHOD``: the methods of ``imd.orders``, for whoever has the admin token."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import AsyncGenerator, Callable
from typing import Any, Protocol

from msgspec import Struct
from twisted.web.http import Request

from imd.connector.answers import address, bearer
from imd.connector.sending import Sending
from imd.errors import Code, Refusal
from imd.orders import ORDERS, STREAMS
from imd.tasks import Clock
from imd.throttle import Keyed, TokenBucket, network_of

PREFIX = b"/v1/admin/"
#: Wrong tokens a minute from one address, and orders a second of all who have the right one.
GUESSES = 10
RATE, BURST = 20.0, 100
#: Answers of many lines that are sent at once.
MOST_STREAMS = 4


class Orders(Protocol):
    """Who carries orders out."""

    async def call(self, order: str, params: bytes, origin: str) -> Struct:
        """Carry out an order; raises ``Refusal``."""

    def stream(self, order: str, params: bytes, origin: str) -> AsyncGenerator[bytes, None]:
        """Carry out an order of many lines; raises ``Refusal`` before the first."""


class AdminToken:
    """The secret of administrators, as ``read`` gives it; an empty one opens nothing."""

    def __init__(self, read: Callable[[], str]) -> None:
        """Raises what ``read`` does."""
        self._read = read
        self._digest = _digest(read())

    def renew(self) -> None:
        """Read it again, for all later orders; what ``read`` raises leaves the old one."""
        self._digest = _digest(self._read())

    def __bool__(self) -> bool:
        return bool(self._digest)

    def opens(self, given: str) -> bool:
        """Whether it is this one; how long that takes says nothing about it."""
        return bool(self._digest) and hmac.compare_digest(_digest(given), self._digest)


class AdminPort:
    """Lets orders through; while ``token`` is empty there is no such path."""

    def __init__(self, orders: Orders, token: AdminToken, clock: Clock) -> None:
        self._orders = orders
        self._token = token
        self._clock = clock
        self._guesses: Keyed[str] = Keyed(GUESSES / 60, GUESSES)
        self._rate = TokenBucket(RATE, BURST)
        self._streams = 0

    def order(self, path: bytes) -> str | None:
        """The order that a path names; None if there is nothing at it."""
        name = path.removeprefix(PREFIX).decode("latin-1")
        is_there = self._token and path.startswith(PREFIX) and (name in ORDERS or name in STREAMS)
        return name if is_there else None

    async def call(self, request: Any, order: str, params: bytes) -> Struct | None:
        """Carry out an order; None if the answer was sent.  Raises ``Refusal``."""
        where = address(request)
        self._let_in(request, where)
        origin = where or "a local socket"
        if order in ORDERS:
            return await self._orders.call(order, params, origin)
        await self._send(request, self._orders.stream(order, params, origin))
        return None

    async def _send(self, request: Request, parts: AsyncGenerator[bytes, None]) -> None:
        if self._streams >= MOST_STREAMS:
            raise Refusal(Code.LIMIT, "too many exports at once; try again later", 5)
        self._streams += 1
        request.setHeader(b"Content-Type", b"application/x-ndjson")
        try:
            await Sending(request, self._clock).run(parts)
        finally:
            self._streams -= 1

    def _let_in(self, request: Request, where: str) -> None:
        now = self._clock.seconds()
        try:
            if not self._token.opens(bearer(request)):
                raise Refusal(Code.UNAUTHORIZED, "this is not the admin token")
        except Refusal:
            self._guesses.check(network_of(where), now, "wrong tokens from this address")
            raise
        wait = self._rate.wait(now)
        if wait:
            raise Refusal(Code.LIMIT, "too many orders at once; try again", wait)


def _digest(token: str) -> bytes:
    """As long for every token: a comparison takes the same time; empty for none."""
    return hashlib.sha256(token.encode()).digest() if token else b""
