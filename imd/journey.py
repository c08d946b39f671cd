"""The way of each message through this process, in the log; ids only, never what is in it.

Off unless ``log-messages`` is set; who takes a ``Journey`` takes None as well, and then does
nothing.  ``imd message trace ID --log=FILE`` puts the lines of all processes together.
"""

from __future__ import annotations

from typing import Any

from twisted.logger import Logger

from imd.hints import AnyHint, Push
from imd.model import Appended, Cursor, Identity, NewMessage, Outcome

#: ``event`` of the lines.
EVENT = "message"


class Journey:
    """Writes a line for each step of each message."""

    def __init__(self, log: Logger) -> None:
        self._log = log

    def accepted(self, id: str, message: NewMessage) -> None:
        """A client has sent it, and it waits for its commit."""
        self._tell("accepted", message.conversation, id=id, **_of(message))

    def decided(self, id: str, message: NewMessage, decision: Appended) -> None:
        """Storage has said what becomes of it."""
        new = decision.outcome is Outcome.NEW
        step = "committed" if new else decision.outcome.name.lower()
        self._tell(step, message.conversation, decision.seq, id=id, **_of(message))

    def forwarded(self, node: str, hint: AnyHint) -> None:
        """Another node is told of it."""
        if isinstance(hint, Push):
            self._tell("forwarded", hint.conversation, hint.seq, to=node)

    def pushed(self, hint: Push, to: Identity) -> None:
        """A session is told of it."""
        self._tell("pushed", hint.conversation, hint.seq, user=to.user.id, device=to.device)

    def reached(self, cursor: Cursor) -> None:
        """A member has all up to some seq, or has read them; it is stored."""
        for step, seq in (("delivered", cursor.delivered), ("read", cursor.read)):
            self._tell(step, cursor.conversation, seq, user=cursor.user)

    def _tell(self, step: str, conversation: int, seq: int = 0, **ids: Any) -> None:
        self._log.info(
            "message {conversation}:{seq} {step}",
            event=EVENT,
            step=step,
            conversation=conversation,
            seq=seq,
            **ids,
        )


def _of(message: NewMessage) -> dict[str, int]:
    return {"user": message.sender, "device": message.device}
