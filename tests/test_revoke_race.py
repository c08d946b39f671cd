"""A device that is revoked while it logs in has no session afterwards, in whatever order."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from imd.errors import Close
from imd.model import NOBODY, Identity
from tests.application import Application
from tests.interleavings import Schedule, Stepped, every

#: Steps beside which nothing of the race happens.
QUIET = (
    "beat",
    "beat answered",
    "epoch answered",
    "find_user",
    "find_user answered",
    "heads answered",
    "unregister",
    "unregister answered",
)


class RevokeRaceTests(SynchronousTestCase):
    def race(self, schedule: Schedule, act: str, prepare: Callable[[Application], None]) -> Any:
        """A phone logs in while a laptop revokes it; the phone's connection."""
        app = Application(self)
        phone = app.login("alice", device="phone")
        laptop = app.login("alice", register=False, device="laptop")
        phone.gone()
        prepare(app)
        for port in (app.storage, app.status):
            port._port = Stepped(port._port, schedule)
        device, token = phone.welcome["device"], phone.welcome["token"]
        params = {
            "device.revoke": {"device": device},
            "account.password": {"old": "secret", "new": "other"},
        }[act]
        again = app.connect()

        def begin() -> None:
            call = {"type": "call", "req": 1, "method": act, "params": params}
            laptop.say(call)
            again.say({"type": "hello", "req": 1, "token": token})

        schedule.run(begin, app.turn)
        self.assertEqual(len(laptop.take("result")), 1)
        alive = [s.identity.device for s in app.registry]
        self.assertEqual(device in alive, again.wire.closed is None)
        self.assertIsNone(laptop.wire.closed)
        return again.wire.closed

    def outcomes(
        self, act: str = "device.revoke", prepare: Callable[[Application], None] = lambda app: None
    ) -> list[int | None]:
        scenario = lambda schedule: self.race(schedule, act, prepare)  # noqa: E731
        return [closed for _, closed in every(scenario, QUIET)]

    def test_no_session_outlives_its_device(self) -> None:
        outcomes = self.outcomes()
        self.assertGreater(len(outcomes), 20)
        self.assertEqual(set(outcomes), {Close.BAD_CREDENTIALS})

    def test_no_session_outlives_a_change_of_the_password(self) -> None:
        outcomes = self.outcomes("account.password")
        self.assertGreater(len(outcomes), 20)
        self.assertEqual(set(outcomes), {Close.BAD_CREDENTIALS})

    def test_without_the_last_look_at_the_device_some_would(self) -> None:
        async def authenticate(token: str) -> Identity:
            return NOBODY

        def blind(app: Application) -> None:
            app.accounts.authenticate = authenticate  # type: ignore[method-assign]

        self.assertEqual(set(self.outcomes(prepare=blind)), {Close.BAD_CREDENTIALS, None})
