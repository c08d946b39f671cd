"""The recovery algorithm of an imd client, R1 to R9 of protocol §5, without any I/O.

What happened goes in as a method call, together with the time; what is to be done comes out
of ``take`` as a ``Turn``.  The caller's duties:

- perform a ``Turn`` in the order of its parts: commit the writes, then send the frames,
  then tell the notices; a write that fails must stop the client;
- call ``tick`` at ``deadline`` at the latest, and ``take`` after any input, or after a few;
- ``call`` and ``history`` only while ``online``: they are answered in their session or never;
- report ``connected`` and ``disconnected`` once each for every connection; a connection
  that could not be made is ``disconnected`` too.

Times are monotonic seconds; ``wall_ms`` is the time of day and only dates the outbox.

What the application asks for, and what is then to be done, is ``imd.client.installation``.
Where the rules are: R1, R2 ``imd.client.outbox``; R3, R4, R7, R8 ``imd.client.conversations``;
R5 ``Rules._own`` and ``Outbox.seen``; R6 ``Rules._welcome``, ``Rules._settle``,
``Conversations.save`` and ``imd.client.restored``; R9 ``imd.client.login``.
R7 is sent by ``imd.client.marks``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from msgspec import UNSET, structs

from imd import wire
from imd.client.conversations import received
from imd.client.effects import Hangup, Hinted, SaveAccount, Stop, Synced, Welcomed
from imd.client.installation import ANSWER_TIMEOUT, Installation
from imd.client.values import Message
from imd.errors import Code

#: Seconds without a page of heads: reading them may have to wait for other clients.
HEADS_TIMEOUT = 60.0


class Rules(Installation):
    """An installation that listens to its server; see the module for the caller's duties."""

    # -- inputs: the connection

    def connected(self, now: float, wall_ms: int) -> None:
        """The WebSocket is open: say hello."""
        self._now, self._wall_ms, self._open = now, wall_ms, True
        # Whatever was meant for an earlier session must not come before the hello.
        self._turn.frames.clear()
        self._requests.clear()
        req = self._hello_req = self._request(None)
        self._waits[req] = now + ANSWER_TIMEOUT
        hello = self._entrance.hello(req, self.account.since, self._options.tail)
        self._turn.frames.append(hello)

    def disconnected(self, code: int | None, reason: str, random: float) -> None:
        """R9: the connection is gone, or was not made (``code`` is None without a close frame).

        ``random`` is in [0, 1) and spreads the clients that lost the same server.
        """
        notice = self._entrance.next(code, reason, self._retry_ms, self._error, random)
        self._turn.notices.append(notice)
        self._reset()
        self._outbox.lost()
        self._conversations.lost()
        self._comparison.lost()

    def tick(self, now: float) -> None:
        """Time has passed: R2 and R3 timeouts, R7 marks, and the heartbeat (protocol §8)."""
        self._now = now
        if not self._open:
            return
        overdue = self._outbox.deadline
        if overdue is not None and now >= overdue:
            self._hang_up("no ack in time")
        elif any(now >= due for due in self._waits.values()):
            self._hang_up("no answer in time")
        elif self.online:
            self._conversations.tick(now)
            if now >= self._spoke + self._heartbeat:
                self._ping()

    def _ping(self) -> None:
        self._req += 1
        self._turn.frames.append(wire.Ping(self._req))
        self._waits.setdefault("pong", self._now + ANSWER_TIMEOUT)

    # -- inputs: frames

    def frames(self, frames: Sequence[wire.AnyServerFrame], now: float) -> None:
        """One message of the server; unknown frames were left out already."""
        self._now = now
        # Whatever it says, it is alive.
        self._waits.pop("pong", None)
        for frame in frames:
            if self._open:
                _INPUTS[type(frame)](self, frame)

    def _welcome(self, frame: wire.Welcome) -> None:
        """R2 and the first half of R6: a session begins, perhaps with a restored server."""
        if self.account.user not in (0, frame.user.id):
            self._reset()
            self._turn.notices += [
                Stop(0, Code.CONFLICT, "the store belongs to another user"),
                Hangup("wrong store"),
            ]
            return
        self._waits.pop(frame.req, None)
        self.online = True
        self._heartbeat = float(frame.heartbeat)
        self._log_in(frame)
        self._outbox.welcome(self._turn, frame.limits, self._wall_ms)
        if frame.epoch != self.account.epoch:
            self._epoch = frame.epoch
            self._comparison.begin()
            self.account = structs.replace(self.account, since=None)
            self._sync(full=True)
        else:
            self._syncs.begin(self._hello_req, full=self.account.since is None)
            self._waits["heads"] = self._now + HEADS_TIMEOUT
        self._turn.notices.append(Welcomed(self.account))

    def _log_in(self, frame: wire.Welcome) -> None:
        self._entrance.admitted(None if frame.token is UNSET else frame.token)
        old = self.account
        # A first login has nothing to compare: it takes the epoch as it finds it.
        self.account = structs.replace(
            old,
            user=frame.user.id,
            name=frame.user.name,
            device=frame.device,
            token=self._entrance.token,
            epoch=old.epoch or frame.epoch,
        )
        self._conversations.me = frame.user.id
        if self.account != old:
            self._turn.writes.append(SaveAccount(self.account))

    def _sync(self, full: bool = False) -> None:
        """R4: ask for the heads that changed, or for all of them."""
        req = self._request(None)
        self._syncs.begin(req, full)
        self._waits["heads"] = self._now + HEADS_TIMEOUT
        since = None if full else self.account.since
        self._turn.frames.append(
            wire.Sync(req, UNSET if since is None else since, self._options.tail)
        )

    def _heads(self, frame: wire.Heads) -> None:
        """R4 and R8 for each head; the last page has a token."""
        self._waits["heads"] = self._now + HEADS_TIMEOUT
        for item in frame.items:
            self._conversations.head(self._turn, item, self._epoch is not None)
            if self._comparison:
                self._comparison.head(item, self._compare)
        if frame.done and frame.req == self._syncs.req:
            self._next = None if frame.next is UNSET else frame.next
            self._synced()

    def _synced(self) -> None:
        """All heads have come: go on with what they said is missing."""
        again = self._syncs.finished(self._conversations.all)
        del self._waits["heads"]
        self._comparison.leave(self._turn)
        self._conversations.synced(self._options.tail > 0, self._now)
        self._settle()
        if again is not None:
            self._sync(full=again)

    def _settle(self) -> None:
        """R6: the token and the epoch count once every log was compared, and with all state."""
        if self._comparison or self._syncs.req is not None:
            return
        epoch = self._epoch or self.account.epoch
        self._epoch = None
        self._advance(structs.replace(self.account, epoch=epoch, since=self._next))
        self._entrance.succeeded()
        self._turn.notices.append(Synced())

    def _advance(self, account: Any) -> None:
        self.account = account
        self._conversations.save(self._turn, everything=True)
        self._turn.writes.append(SaveAccount(account))

    def _compare(self, conversation: int, before: int) -> None:
        """R6: read the server's log downwards."""
        req = self._request(self._compared)
        self._waits[req] = self._now + ANSWER_TIMEOUT
        page = self._options.repair.page
        self._turn.frames.append(wire.Fetch(req, conversation, page, before=before))

    def _compared(self, frame: wire.Msgs | wire.Error) -> None:
        if isinstance(frame, wire.Error):
            self._hang_up("the log could not be compared")
            return
        self._comparison.compare(self._turn, frame, self._compare, self._wall_ms)
        self._settle()

    def _unknown(self, conversation: int) -> bool:
        """R4: a conversation that we never heard of is found by a sync."""
        if conversation in self._conversations:
            return False
        if self._syncs.unknown(conversation):
            self._sync()
        return True

    def _msg(self, frame: wire.Msg) -> None:
        self._own(received(frame.conversation, frame))

    def _own(self, message: Message) -> None:
        """R5: my own message ends its wait wherever it turns up; then R3."""
        if message.sender == self.account.user:
            self._outbox.seen(self._turn, message)
        if not self._unknown(message.conversation):
            self._conversations.message(self._turn, message, self._now)

    def _ack(self, frame: wire.Ack) -> None:
        """The server pushes my messages to my other devices only: this is all I get of them."""
        entry = self._outbox.acked(self._turn, frame.id, frame.seq, frame.at)
        if entry is None:
            return
        user, device = self.account.user, self.account.device
        message = Message(
            entry.conversation, frame.seq, user, device, entry.id, frame.at, entry.kind, entry.body
        )
        self._own(message)

    def _nack(self, frame: wire.Nack) -> None:
        self._outbox.nacked(self._turn, frame)

    def _msgs(self, frame: wire.Msgs) -> None:
        """The answer to a fetch, or what came along with the heads."""
        answer = self._answer(frame.req)
        if answer is not None:
            answer(frame)
        elif not self._unknown(frame.conversation):
            self._seen(frame)
            self._conversations.tail(self._turn, frame, self._now)

    def _poke(self, frame: wire.Poke) -> None:
        if not self._unknown(frame.conversation):
            self._conversations.poke(frame.conversation, frame.last)

    def _receipt(self, frame: wire.Receipt) -> None:
        if self._unknown(frame.conversation):
            return
        if not self._conversations.receipt(self._turn, frame) and self._syncs.wanted():
            self._sync()

    def _result(self, frame: wire.Result) -> None:
        answer = self._answer(frame.req)
        if answer is not None:
            answer(frame)

    def _refused(self, frame: wire.Error) -> None:
        req = None if frame.req is UNSET else frame.req
        if not self.online:
            self._error = frame
        elif req is not None and req == self._syncs.req:
            self._hang_up(f"sync: {frame.code}")
        elif req is not None and (answer := self._answer(req)) is not None:
            answer(frame)

    def _event(self, frame: wire.Event) -> None:
        """R4: an event may speak of a conversation that is new."""
        data = frame.data if isinstance(frame.data, dict) else {}
        conversation = data.get("conv")
        if isinstance(conversation, int):
            self._unknown(conversation)
        elif frame.name == "friend.accepted" and self._syncs.wanted():
            self._sync()
        self._turn.notices.append(Hinted(frame.name, frame.data))

    def _pong(self, frame: wire.Pong) -> None:
        """R6: a newer token, which covers everything that was pushed before it."""
        behind = self._syncs.req is not None or self._epoch is not None
        if frame.since is not UNSET and not behind:
            self._advance(structs.replace(self.account, since=frame.since))

    def _bye(self, frame: wire.Bye) -> None:
        self._retry_ms = frame.retry


_INPUTS: dict[type[msgspec.Struct], Callable[..., None]] = {
    wire.Welcome: Rules._welcome,
    wire.Ack: Rules._ack,
    wire.Nack: Rules._nack,
    wire.Msg: Rules._msg,
    wire.Msgs: Rules._msgs,
    wire.Heads: Rules._heads,
    wire.Poke: Rules._poke,
    wire.Receipt: Rules._receipt,
    wire.Result: Rules._result,
    wire.Error: Rules._refused,
    wire.Event: Rules._event,
    wire.Pong: Rules._pong,
    wire.Bye: Rules._bye,
}
