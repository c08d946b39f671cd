"""What no client may ever do, whatever the scenario: checked for every frame and report.

Pure: ``Watch`` is told what crossed the wire, and collects ``faults``, each of which begins
with the rule, or the section of the protocol, that was broken.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from imd import decoding

_UUID7 = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.I)
#: Requests that a client may have in flight (protocol §8).
REQUESTS = 8
#: Bytes of a message before the welcome (protocol §8).
EARLY_BYTES = 4096


class Watch:
    """One installation of a client, over all its sessions and restarts."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        #: Every ``send`` by its id, as it came first.
        self.sends: dict[str, dict[str, Any]] = {}
        self._tokens: set[str] = set()
        self._bases: dict[int, int] = {}
        self._given: dict[int, set[int]] = {}
        self.session()
        self.lifetime()

    def session(self) -> None:
        """A connection begins."""
        self._greeted = self._welcomed = False
        self._sent: set[str] = set()
        self._flying: set[str] = set()
        self._requests: set[int | str] = set()
        self._window, self._batch, self._bytes = 0, 1, EARLY_BYTES

    def lifetime(self) -> None:
        """The client starts, or starts again."""
        self._shown: dict[int, int] = {}
        self._settled: set[str] = set()

    def installation(self) -> None:
        """The server was restored: what it gave before counts no longer."""
        self._bases.clear()
        self._given.clear()

    def _fault(self, text: str) -> None:
        self.faults.append(text)

    # -- from the client

    def message(self, payload: bytes, frames: list[dict[str, Any]]) -> None:
        """A WebSocket message, and the frames in it."""
        try:
            for each in decoding.decode(payload):
                if isinstance(each, decoding.Malformed):
                    self._fault(f"§2: a malformed frame: {each.message}")
        except decoding.NotJson as error:
            self._fault(f"§2: {error}")
        if len(frames) > self._batch:
            self._fault(f"§2: {len(frames)} frames in one message, at most {self._batch}")
        if len(payload) > self._bytes:
            self._fault(f"§8: {len(payload)} bytes in one message, at most {self._bytes}")
        for frame in frames:
            self._frame(frame)

    def _frame(self, frame: dict[str, Any]) -> None:
        kind = frame.get("type")
        if (kind == "hello") == self._greeted:
            self._fault(f"§4: {kind} where hello belongs" if kind != "hello" else "§4: hello twice")
        self._greeted = True
        if kind in ("hello", "sync"):
            self._since(frame.get("since"))
        if kind in ("fetch", "sync", "call"):
            self._request(frame["req"])
        if kind == "send":
            self._send(frame)
        elif kind == "mark":
            self._mark(frame)

    def _since(self, since: str | None) -> None:
        if since is not None and since not in self._tokens:
            self._fault(f"R6: the server never gave the token {since!r}")

    def _request(self, req: int | str) -> None:
        self._requests.add(req)
        if len(self._requests) > REQUESTS:
            self._fault(f"§8: {len(self._requests)} requests in flight")

    def _send(self, frame: dict[str, Any]) -> None:
        id = frame["id"]
        first = self.sends.setdefault(id, frame)
        if not self._welcomed:
            self._fault("R2: a send before the welcome")
        if not _UUID7.fullmatch(id):
            self._fault(f"R1: {id} is no UUID of version 7")
        if first != frame:
            self._fault(f"R1: {id} came again as another message")
        if id in self._sent:
            self._fault(f"R2: {id} was sent twice in one session")
        self._sent.add(id)
        self._flying.add(id)
        if len(self._flying) > self._window:
            self._fault(f"R1: {len(self._flying)} sends without an ack, at most {self._window}")

    def _mark(self, frame: dict[str, Any]) -> None:
        most = self._prefix(frame["conv"])
        for cursor in ("delivered", "read"):
            if frame.get(cursor, 0) > most:
                told = frame[cursor]
                self._fault(f"R7: {cursor} {told} was marked, but only {most} could be stored")

    def _prefix(self, conv: int) -> int:
        """Up to which seq the client can have everything."""
        top = self._bases.get(conv, 0)
        given = self._given.get(conv, ())
        while top + 1 in given:
            top += 1
        return top

    # -- to the client

    def told(self, frame: dict[str, Any]) -> None:
        """A frame goes to the client."""
        tell = _TELL.get(frame.get("type", ""))
        if tell is not None:
            tell(self, frame)
        if frame.get("type") in ("result", "error", "msgs", "heads"):
            self._requests.discard(frame.get("req", ""))

    def _welcome(self, frame: dict[str, Any]) -> None:
        self._welcomed = True
        limits = frame["limits"]
        self._window, self._batch = limits["inflight"], limits["batch"]
        self._bytes = limits["frame_bytes"]

    def _heads(self, frame: dict[str, Any]) -> None:
        for item in frame["items"]:
            base = self._bases.setdefault(item["conv"], item["delivered"])
            self._bases[item["conv"]] = max(base, item["floor"] - 1)
        self._token(frame.get("next"))

    def _token(self, token: str | None) -> None:
        if token is not None:
            self._tokens.add(token)

    def _pong(self, frame: dict[str, Any]) -> None:
        self._token(frame.get("since"))

    def _msgs(self, frame: dict[str, Any]) -> None:
        conv = frame["conv"]
        self._bases[conv] = max(self._bases.get(conv, 0), frame["floor"] - 1)
        for item in frame["items"]:
            self._msg({"conv": conv, **item})

    def _msg(self, frame: dict[str, Any]) -> None:
        self._given.setdefault(frame["conv"], set()).add(frame["seq"])
        self._flying.discard(frame["id"])

    def _nack(self, frame: dict[str, Any]) -> None:
        self._flying.discard(frame["id"])

    # -- from the driver

    def reported(self, report: dict[str, Any]) -> None:
        """The driver says what its client showed."""
        if "shown" in report:
            conv, seq = report["shown"]["conv"], report["shown"]["seq"]
            if seq <= self._shown.get(conv, 0):
                self._fault(f"R5: {conv}/{seq} was shown again, or too late")
            self._shown[conv] = max(seq, self._shown.get(conv, 0))
        for outcome in ("sent", "failed"):
            if outcome in report:
                self._outcome(report[outcome]["id"])

    def _outcome(self, id: str) -> None:
        if id in self._settled:
            self._fault(f"R5: the outcome of {id} was reported twice")
        self._settled.add(id)


_TELL: dict[str, Callable[[Watch, dict[str, Any]], None]] = {
    "welcome": Watch._welcome,
    "heads": Watch._heads,
    "pong": Watch._pong,
    "msgs": Watch._msgs,
    "msg": Watch._msg,
    "ack": Watch._msg,
    "nack": Watch._nack,
}
