"""One scenario being played: the server, the driver, and what both have seen."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from imd.conformance.logs import DEVICE, ME, NAME, Logs
from imd.conformance.server import Port, Session, login
from imd.conformance.subject import Subject
from imd.conformance.waiting import Broken, Pace
from imd.conformance.watch import Watch

#: Limits of ``welcome``, unless the scenario sets others.
LIMITS = {
    "inflight": 64,
    "text_bytes": 16384,
    "file_bytes": 1 << 20,
    "frame_bytes": 65536,
    "batch": 64,
}
#: What the server does by itself, unless the scenario forbids it; ``send`` is the exception.
AUTO = {"fetch": True, "sync": True, "mark": True, "ping": True, "call": True, "send": False}


class Stage:
    """Everything that lasts for one scenario."""

    def __init__(self, reactor: Any, pace: Pace, static: Path | None) -> None:
        self.reactor = reactor
        self.pace = pace
        self.port = Port(self, static)
        self.logs = Logs()
        self.watch = Watch()
        self.auto = dict(AUTO)
        self.limits = dict(LIMITS)
        self.settings: dict[str, Any] = {"heartbeat": 30, "page": 200}
        self.bound: dict[str, Any] = {}
        #: Sessions that the scenario has not looked at yet, and the one that it talks to.
        self.fresh: list[Session] = []
        self.session: Session | None = None
        self.reports: list[dict[str, Any]] = []
        self.shown: dict[int, list[int]] = {}
        #: The client was told to start, and has not connected yet.
        self.starting = False
        #: When the server or the driver was last told to do something: whatever the client's
        #: timers wait for began later, however late anybody is.
        self.last = 0.0
        self._store = tempfile.mkdtemp(prefix="imd-conformance-")
        self._listening: Any = None
        self._subject: Subject | None = None

    # -- the subject

    async def start(self, command: Sequence[str], subject: Subject | None) -> None:
        """Listen, and have a driver that is ready for orders: ``subject`` if it still lives."""
        self._command = command
        self._listening = self.reactor.listenTCP(0, self.port, interface="127.0.0.1")
        self._subject = subject
        if subject is None or not subject.alive:
            await self._spawn()
        else:
            subject.listen(self._reported)

    async def _spawn(self) -> None:
        subject = self._subject = Subject(self._reported)
        subject.start(self.reactor, self._command)
        report = await self.pace.patient(lambda: self.take({"driver"}), "a driver")
        subject.can_crash = bool(report.get("crash"))

    def tell(self, order: dict[str, Any]) -> None:
        """Give the driver an order."""
        if self._subject is None or not self._subject.alive:
            raise Broken("the driver is gone")
        self._subject.tell(order)

    def open(self) -> None:
        """Start the client."""
        self.starting = True
        address = self._listening.getHost()
        url = f"ws://127.0.0.1:{address.port}/ws"
        order = {"do": "open", "url": url, "store": self._store, "user": NAME}
        self.tell({**order, "password": "correct horse battery", "scale": self.pace.scale})

    async def crash(self) -> None:
        """End the client without a warning, and get a driver that can start it again."""
        subject = self._subject
        if subject is None:
            raise Broken("the driver is gone")
        if subject.can_crash:
            self.tell({"do": "crash"})
            await self.pace.patient(lambda: self.take({"crashed"}), "a crash")
        else:
            await subject.kill()
            await self._spawn()
        self.reports.clear()
        self.shown.clear()
        self.watch.lifetime()

    async def finish(self) -> Subject | None:
        """Stop the client; the driver, if it may be used again."""
        subject = self._subject
        try:
            self.tell({"do": "close"})
            await self.pace.patient(lambda: self.take({"closed"}), "closed")
        except Broken:
            await self._kill()
        await self._unlisten()
        shutil.rmtree(self._store, ignore_errors=True)
        return subject if subject is not None and subject.alive else None

    async def _kill(self) -> None:
        if self._subject is not None and self._subject.alive:
            await self._subject.kill()

    async def _unlisten(self) -> None:
        for session in (*self.fresh, self.session):
            if session is not None and not session.gone:
                session.drop()
        stopped: Deferred[Any] | None = self._listening.stopListening()
        if stopped is not None:
            await stopped

    # -- what the driver reports

    def _reported(self, report: dict[str, Any]) -> None:
        self.watch.reported(report)
        if "shown" in report:
            self.shown.setdefault(report["shown"]["conv"], []).append(report["shown"]["seq"])
        self.reports.append(report)
        self.pace.changed()

    def take(self, names: set[str]) -> dict[str, Any] | None:
        """The oldest report of one of these names, which is then forgotten."""
        for report in self.reports:
            if names & report.keys():
                self.reports.remove(report)
                return report
        return None

    # -- Owner

    def opened(self, session: Session) -> None:
        """See ``Owner``."""
        self.watch.session()
        self.fresh.append(session)
        self.pace.changed()

    def ended(self, session: Session) -> None:
        """See ``Owner``."""
        self.pace.changed()

    def received(self, session: Session, payload: bytes) -> None:
        """See ``Owner``."""
        try:
            value = json.loads(payload)
        except ValueError:
            self.watch.message(payload, [])
            return
        frames = value if isinstance(value, list) else [value]
        self.watch.message(payload, frames)
        for frame in frames:
            session.frames.append(frame)
            self._answer(session, frame)
        self.pace.changed()

    def called(self, method: str, params: dict[str, Any]) -> Any:
        """See ``Owner``."""
        if method in ("account.login", "account.register"):
            return login()
        answers = {"friend.list": self.logs.friends(), "device.list": {"items": []}}
        return answers.get(method, {} if method == "account.logout" else None)

    # -- what the server does by itself

    def _answer(self, session: Session, frame: dict[str, Any]) -> None:
        kind = frame.get("type", "")
        if not self.auto.get(kind, False):
            return
        if kind == "fetch":
            self._fetched(session, frame)
        elif kind == "sync":
            self.say(self.heads(frame["req"], frame.get("since")), session=session)
        elif kind == "mark":
            self.logs.mark(frame)
        elif kind == "ping":
            self.say({"type": "pong", "n": frame["n"], "now": 0}, session=session)
        elif kind == "call":
            self._call(session, frame)
        elif kind == "send":
            self.acknowledge(frame, session)

    def _fetched(self, session: Session, frame: dict[str, Any]) -> None:
        answer = self.logs.run(frame, self.settings["page"])
        if self.settings.get("refusal"):
            answer = {"type": "error", "req": frame["req"], "code": self.settings["refusal"]}
        self.say(answer, session=session)

    def _call(self, session: Session, frame: dict[str, Any]) -> None:
        data = self.called(frame["method"], frame.get("params", {}))
        answer = {"type": "result", "data": data}
        if data is None:
            answer = {"type": "error", "code": "not_found"}
        self.say({**answer, "req": frame["req"]}, session=session)

    def acknowledge(self, send: dict[str, Any], session: Session | None = None) -> None:
        """Commit a message if it is not, and say so."""
        seq, again = self.logs.commit(send)
        ack = {"type": "ack", "id": send["id"], "conv": send["conv"], "seq": seq}
        ack |= {"at": 1_790_000_000_000 + seq}
        self.say({**ack, "dup": True} if again else ack, session=session)

    def welcome(self, req: Any, fields: dict[str, Any], token: bool) -> dict[str, Any]:
        """A ``welcome``, with a token after a login by password."""
        frame = {"type": "welcome", "req": req, "user": {"id": ME, "name": NAME}}
        frame |= {"device": DEVICE, "session": 1, "epoch": self.logs.epoch}
        frame |= {"now": 1_790_000_000_000, "heartbeat": self.settings["heartbeat"]}
        frame |= {"limits": self.limits, "roster": 1, "caps": []}
        return {**frame, **({"token": login()["token"]} if token else {}), **fields}

    def heads(self, req: Any, since: str | None) -> dict[str, Any]:
        """``heads`` with all that changed after ``since``, and the token for now."""
        items = self.logs.heads(since)
        return {"type": "heads", "req": req, "items": items, "done": True, "next": self.logs.token}

    def say(self, *frames: dict[str, Any], session: Session | None = None) -> None:
        """Send frames in one message: to ``session``, or as a step of the scenario."""
        if session is None:
            session, self.last = self.session, self.pace.now()
        if session is None:
            raise Broken("there is no connection to send on")
        for frame in frames:
            self.watch.told(frame)
        session.say(list(frames))
