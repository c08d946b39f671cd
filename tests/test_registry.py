"""Who is connected to this process: at most one session of a device, the newest."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from imd.errors import Close
from imd.model import Identity, User
from imd.registry import Registry


class Live:
    """A session that remembers how it was closed, and leaves the registry then if told to."""

    def __init__(self, user: int, device: int, session: int) -> None:
        self.identity = Identity(User(user, f"u{user}"), device, session)
        self.closed: list[Close] = []
        self.registry: Registry | None = None

    def push(self, conversation: int, frame: bytes) -> None:
        raise NotImplementedError

    def notify(self, frame: bytes) -> None:
        raise NotImplementedError

    def close(self, code: Close, reason: str) -> None:
        self.closed.append(code)
        if self.registry is not None:
            self.registry.remove(self)


class RegistryTests(SynchronousTestCase):
    """Sessions of users come and go."""

    def setUp(self) -> None:
        self.registry = Registry()

    def test_nobody_is_there_at_first(self) -> None:
        self.assertEqual((len(self.registry), list(self.registry)), (0, []))
        self.assertEqual(self.registry.sessions(1), ())
        self.assertFalse(self.registry.remove(Live(1, 1, 1)))

    def test_all_devices_of_a_user_are_found_in_the_order_they_came(self) -> None:
        phone, laptop, other = Live(1, 1, 1), Live(1, 2, 1), Live(2, 3, 1)
        for live in [phone, laptop, other]:
            self.assertTrue(self.registry.add(live))
        self.assertEqual(self.registry.sessions(1), (phone, laptop))
        self.assertEqual(self.registry.sessions(2), (other,))
        self.assertEqual(list(self.registry), [phone, laptop, other])
        self.assertEqual(len(self.registry), 3)

    def test_a_newer_session_of_a_device_replaces_the_older(self) -> None:
        old, new, laptop = Live(1, 1, 1), Live(1, 1, 2), Live(1, 2, 1)
        self.registry.add(old)
        self.registry.add(laptop)
        self.assertTrue(self.registry.add(new))
        self.assertEqual((old.closed, new.closed, laptop.closed), ([Close.REPLACED], [], []))
        self.assertEqual(self.registry.sessions(1), (laptop, new))
        self.assertEqual(len(self.registry), 2)

    def test_an_older_session_that_comes_late_is_closed_itself(self) -> None:
        old, new = Live(1, 1, 1), Live(1, 1, 2)
        self.registry.add(new)
        self.assertFalse(self.registry.add(old))
        self.assertEqual((old.closed, new.closed), ([Close.REPLACED], []))
        self.assertEqual(self.registry.sessions(1), (new,))

    def test_the_close_of_the_replaced_does_not_take_the_newer_out(self) -> None:
        old, new = Live(1, 1, 1), Live(1, 1, 2)
        old.registry = self.registry
        self.registry.add(old)
        self.registry.add(new)
        self.assertFalse(self.registry.remove(old))
        self.assertEqual(self.registry.sessions(1), (new,))
        self.assertEqual(len(self.registry), 1)

    def test_the_same_device_of_two_users_is_two_devices(self) -> None:
        mine, theirs = Live(1, 1, 1), Live(2, 1, 2)
        self.registry.add(mine)
        self.registry.add(theirs)
        self.assertEqual((mine.closed, theirs.closed), ([], []))

    def test_who_leaves_is_gone_and_leaves_nothing(self) -> None:
        phone, laptop = Live(1, 1, 1), Live(1, 2, 1)
        self.registry.add(phone)
        self.registry.add(laptop)
        self.assertTrue(self.registry.remove(phone))
        self.assertFalse(self.registry.remove(phone))
        self.assertEqual(self.registry.sessions(1), (laptop,))
        self.assertTrue(self.registry.remove(laptop))
        self.assertEqual((len(self.registry), list(self.registry)), (0, []))

    def test_sessions_may_leave_while_all_are_gone_over(self) -> None:
        for device in range(5):
            live = Live(device % 2, device, 1)
            live.registry = self.registry
            self.registry.add(live)
        for live in self.registry:
            live.close(Close.DRAINING, "bye")
        self.assertEqual(len(self.registry), 0)

    @given(
        st.lists(st.tuples(st.integers(1, 2), st.integers(1, 2), st.integers(1, 4)), max_size=20)
    )
    def test_whoever_comes_when_the_highest_counter_of_each_device_stays(
        self, arrivals: list[tuple[int, int, int]]
    ) -> None:
        registry = Registry()
        lives = [Live(*arrival) for arrival in arrivals]
        for live in lives:
            self.assertEqual(registry.add(live), not live.closed)
        best: dict[tuple[int, int], int] = {}
        for user, device, session in arrivals:
            best[user, device] = max(best.get((user, device), 0), session)
        stay = {(s.identity.user.id, s.identity.device): s.identity.session for s in registry}
        self.assertEqual(stay, best)
        self.assertEqual(len(registry), len(best))
        for live in lives:
            self.assertEqual(live.closed, [] if live in list(registry) else [Close.REPLACED])
