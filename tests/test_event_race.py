"""Of a friend request during a login the client hears: by its event, or by the new roster."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.application import Application
from tests.interleavings import Schedule, Stepped, every

#: Steps beside which nothing of the race happens.
QUIET = (
    "beat",
    "beat answered",
    "find_user",
    "find_user answered",
    "heads",
    "heads answered",
    "unregister",
    "unregister answered",
)


class EventRaceTests(SynchronousTestCase):
    def race(self, schedule: Schedule) -> tuple[bool, bool]:
        """Bob logs in while Alice asks for his friendship; whether he heard, and how."""
        app = Application(self)
        alice, bob = app.login("alice"), app.login("bob")
        bob.gone()
        before = bob.welcome["roster"]
        for port in (app.storage, app.status):
            port._port = Stepped(port._port, schedule)
        again = app.connect()

        def begin() -> None:
            params = {"user": "bob"}
            alice.say({"type": "call", "req": 1, "method": "friend.add", "params": params})
            again.say({"type": "hello", "req": 1, "token": bob.welcome["token"]})

        schedule.run(begin, app.turn)
        frames = again.take()
        self.assertEqual(frames[0]["type"], "welcome")
        events = [frame for frame in frames if frame["type"] == "event"]
        return frames[0]["roster"] != before, len(events) == 1

    def test_a_request_is_in_the_roster_or_told_or_both(self) -> None:
        outcomes = [outcome for _, outcome in every(self.race, QUIET)]
        self.assertGreater(len(outcomes), 20)
        self.assertEqual(set(outcomes), {(True, False), (False, True), (True, True)})
