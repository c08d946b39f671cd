"""What one installation of a client knows, what its application asks for, and what follows.

The half of the rules that does not listen to the server; see ``imd.client.rules`` for the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from msgspec import UNSET, Raw, Struct

from imd import wire
from imd.client.conversations import Conversations, Repair, received
from imd.client.effects import Answered, Hangup, Turn
from imd.client.login import Entrance, Login
from imd.client.outbox import Outbox, Pace
from imd.client.restored import Comparison, Rows
from imd.client.syncs import Syncs
from imd.client.values import Conversation, Kind, Message, Saved
from imd.errors import Code

#: Seconds: how long the server may take for a ``welcome``, a ``pong`` or a fetch.
ANSWER_TIMEOUT = 20.0
#: Errors after which the same fetch may succeed.
_PASSING = frozenset((Code.UNAVAILABLE, Code.INTERNAL, Code.LIMIT))


class Options(Struct, frozen=True):
    """How the rules are carried out."""

    #: Messages of each conversation to be pushed along with the heads, 0 to 50.
    tail: int = 20
    repair: Repair = Repair()
    pace: Pace = Pace()


class Installation:
    """The state of one installation; see ``imd.client.rules`` for the caller's duties.

    ``rows`` reads the messages of a conversation above a seq from the caller's store.
    """

    def __init__(
        self, saved: Saved, login: Login, rows: Rows, options: Options | None = None
    ) -> None:
        self._options = options or Options()
        self.account = saved.account
        self._entrance = Entrance(login, saved.account.token)
        self._conversations = Conversations(saved.conversations, self._options.repair)
        self._conversations.me = saved.account.user
        self._outbox = Outbox(saved.outbox, self._options.pace)
        self._comparison = Comparison(self._conversations, self._outbox, rows)
        self._turn = Turn()
        self._now = 0.0
        self._wall_ms = 0
        self._req = 0
        self._requests: dict[int, Callable[[Any], None]] = {}
        self._waits: dict[int | str, float] = {}
        self._reset()

    @property
    def token(self) -> str | None:
        """What this installation logs in with; a credential."""
        return self._entrance.token

    def _reset(self) -> None:
        """Forget the session."""
        self.online = False
        self._open = False
        self._heartbeat = 0.0
        self._spoke = 0.0
        self._syncs = Syncs()
        self._next: str | None = None
        self._epoch: str | None = None
        self._retry_ms: int | None = None
        self._error: wire.Error | None = None
        self._hello_req = 0
        self._requests.clear()
        self._waits.clear()

    # -- what the caller may look at

    @property
    def conversations(self) -> Mapping[int, Conversation]:
        """All conversations by id; to be read, not changed."""
        return self._conversations.all

    @property
    def pending(self) -> int:
        """How many of my messages were neither acknowledged nor refused."""
        return len(self._outbox)

    @property
    def deadline(self) -> float | None:
        """When ``tick`` has to be called, if nothing happens before."""
        if not self._open:
            return None
        times = [self._outbox.deadline, self._conversations.deadline]
        times.append(min(self._waits.values(), default=None))
        if self.online:
            times.append(self._spoke + self._heartbeat)
        return min((time for time in times if time is not None), default=None)

    # -- inputs: the application

    def send(
        self, id: str, conversation: int, kind: Kind, body: bytes, now: float, wall_ms: int
    ) -> None:
        """R1: send a message under an id (a UUID, version 7) that was never used before."""
        self._now, self._wall_ms = now, wall_ms
        self._outbox.put(self._turn, id, conversation, kind, body, wall_ms)

    def handled(self, message: Message, now: float) -> None:
        """The application is done with a message that was delivered to it (R7)."""
        self._now = now
        self._conversations.handled(message)

    def displayed(self, conversation: int, seq: int, now: float) -> None:
        """The user has seen everything up to ``seq`` (R7)."""
        self._now = now
        if conversation in self._conversations:
            self._conversations.displayed(conversation, seq)

    def call(self, method: str, params: bytes | None, now: float) -> int:
        """Call a method of the server; ``Answered`` will have the number that is returned."""
        self._now = now
        req = self._request(self._answered)
        self._turn.frames.append(wire.Call(req, method, UNSET if params is None else Raw(params)))
        return req

    def history(self, conversation: int, before: int | None, limit: int, now: float) -> int:
        """Read old messages without storing them; answered like ``call``."""
        self._now = now
        req = self._request(self._answered)
        below = UNSET if before is None else before
        self._turn.frames.append(wire.Fetch(req, conversation, limit, before=below))
        return req

    def _request(self, answer: Callable[[Any], None] | None) -> int:
        self._req += 1
        if answer is not None:
            self._requests[self._req] = answer
        return self._req

    def _answered(self, frame: wire.Result | wire.Msgs | wire.Error) -> None:
        self._turn.notices.append(Answered(frame.req, frame))

    # -- outputs

    def take(self) -> Turn:
        """What is to be done since the last time; nothing at all if it is false."""
        if self.online:
            self._outbox.transmit(self._turn, self._now)
            self._fetch()
            self._conversations.marks.send(self._turn, self._now)
        self._conversations.save(self._turn, everything=False)
        turn, self._turn = self._turn, Turn()
        if turn.frames:
            self._spoke = self._now
        return turn

    def _fetch(self) -> None:
        while (wanted := self._conversations.next_fetch()) is not None:
            conversation, after, limit = wanted
            req = self._request(self._fetched(conversation))
            self._waits[req] = self._now + ANSWER_TIMEOUT
            self._turn.frames.append(wire.Fetch(req, conversation, limit, after=after))

    def _fetched(self, conversation: int) -> Callable[[Any], None]:
        def answer(frame: wire.Msgs | wire.Error) -> None:
            if isinstance(frame, wire.Msgs):
                self._seen(frame)
                self._conversations.fetched(self._turn, frame, self._now)
            else:
                again = frame.code in _PASSING
                self._conversations.fetch_failed(conversation, again, self._now)

        return answer

    def _seen(self, frame: wire.Msgs) -> None:
        """R5 for a run of the log."""
        for item in frame.items:
            if item.sender == self.account.user:
                self._outbox.seen(self._turn, received(frame.conversation, item))

    def _answer(self, req: int | str) -> Callable[[Any], None] | None:
        self._waits.pop(req, None)
        return self._requests.pop(req, None) if isinstance(req, int) else None

    def _hang_up(self, reason: str) -> None:
        self._open = self.online = False
        self._turn.notices.append(Hangup(reason))
