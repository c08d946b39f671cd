"""What I have written in ``imd chat``, and how far it got."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from imd.client import Client, Message, Refused, Sent
from imd.terminal.rendering import content
from imd.wire import FileBody


class Mine(Struct):
    """A message of mine: pending until ``seq`` is known; ``at`` is in ms."""

    id: str
    conversation: int
    text: str
    at: int
    seq: int = 0
    #: What it carries, if it is no text.
    file: FileBody | None = None


class Outgoing:
    """My messages that are not acknowledged, and the last one of each conversation."""

    def __init__(
        self,
        client: Client,
        changed: Callable[[], None],
        refused: Callable[[Mine, Refused], None],
    ) -> None:
        """``changed`` is called when a stage may have changed, ``refused`` for what never goes."""
        self._client = client
        self._changed = changed
        self._refused = refused
        self._pending: dict[str, Mine] = {}
        self._last: dict[int, Mine] = {}

    def restore(self) -> None:
        """Follow what an earlier run could not send."""
        for entry in self._client.store.load().outbox:
            text = content(entry.kind, msgspec.json.decode(entry.body))
            self.send(Mine(entry.id, entry.conversation, text, entry.since))

    def send(self, mine: Mine) -> None:
        """Send ``mine``; what is in the outbox already, under the same id, is only followed."""
        self._pending[mine.id] = self._last[mine.conversation] = mine
        if mine.file is None:
            sending = self._client.send(mine.conversation, mine.text, id=mine.id)
        else:
            sending = self._client.send_file(mine.conversation, mine.file, id=mine.id)
        sending.addCallbacks(self._sent, self._not_sent, errbackArgs=(mine,))
        self._changed()

    def _sent(self, sent: Sent) -> None:
        self._pending.pop(sent.id).seq = sent.seq
        self._changed()

    def _not_sent(self, failure: Any, mine: Mine) -> None:
        # Otherwise the client was stopped, and the message stays in the outbox.
        if isinstance(failure.value, Refused):
            self._pending.pop(mine.id)
            if self._last.get(mine.conversation) is mine:
                del self._last[mine.conversation]
            self._refused(mine, failure.value)
            self._changed()

    def seen(self, message: Message, text: str) -> None:
        """A message of mine that is in the log; perhaps the last one of its conversation."""
        last = self._last.get(message.conversation)
        if last is None or 0 < last.seq < message.seq:
            mine = Mine(message.id, message.conversation, text, message.at, message.seq)
            self._last[message.conversation] = mine

    def waiting(self, conversation: int) -> Sequence[Mine]:
        """What is pending in a conversation, in the order in which it was written."""
        return [mine for mine in self._pending.values() if mine.conversation == conversation]

    def stage(self, conversation: int | None) -> str:
        """How far my last message of a conversation got; empty if there is none."""
        last = None if conversation is None else self._last.get(conversation)
        if last is None:
            return ""
        if not last.seq:
            return "pending"
        return self._client.status(Sent(last.id, last.conversation, last.seq, last.at))
