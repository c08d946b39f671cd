"""Who is connected to this process: users and their live sessions."""

from __future__ import annotations

from collections.abc import Iterator

from imd.errors import Close
from imd.interfaces.sessions import LiveSession


class Registry:
    """The live sessions of this process, at most one for each device (protocol §4)."""

    def __init__(self) -> None:
        # Tuples: a push goes over them while sessions come and go, and one costs 48 bytes.
        self._sessions: dict[int, tuple[LiveSession, ...]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[LiveSession]:
        return (session for group in tuple(self._sessions.values()) for session in group)

    def add(self, session: LiveSession) -> bool:
        """Enter a session.  Of two sessions of a device the one with the higher fencing
        counter stays and the other is closed 4502; false if ``session`` is that other one.
        """
        user, device = session.identity.user.id, session.identity.device
        rivals = [s for s in self.sessions(user) if s.identity.device == device]
        if any(rival.identity.session > session.identity.session for rival in rivals):
            outrank(session)
            return False
        for rival in rivals:
            self.remove(rival)
            outrank(rival)
        self._sessions[user] = (*self.sessions(user), session)
        self._count += 1
        return True

    def remove(self, session: LiveSession) -> bool:
        """Take a session out; false if it was not entered."""
        user = session.identity.user.id
        before = self.sessions(user)
        after = tuple(other for other in before if other is not session)
        if after:
            self._sessions[user] = after
        else:
            self._sessions.pop(user, None)
        self._count -= len(before) - len(after)
        return len(after) < len(before)

    def sessions(self, user: int) -> tuple[LiveSession, ...]:
        """The live sessions of a user; empty if there is none."""
        return self._sessions.get(user, ())


def outrank(session: LiveSession) -> None:
    """End a session for good: its device has a newer one."""
    session.close(Close.REPLACED, "replaced by a newer session of this device")
