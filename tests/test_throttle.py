"""How often somebody may do something."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from imd import throttle
from imd.errors import Code, Refusal
from imd.throttle import FORGET, Keyed, Locks, TokenBucket, network_of, trusts


class BucketTests(SynchronousTestCase):
    """``rate`` a second, ``burst`` at once."""

    def test_a_burst_passes_and_then_the_rate_holds(self) -> None:
        bucket = TokenBucket(2, 3, now=100)
        self.assertEqual([bucket.wait(100) for _ in range(4)], [0, 0, 0, 0.5])
        self.assertEqual(bucket.wait(100.25), 0.25)
        self.assertEqual(bucket.wait(100.5), 0)
        self.assertEqual(bucket.wait(100.5), 0.5)

    def test_rest_fills_it_to_the_burst_and_not_beyond(self) -> None:
        bucket = TokenBucket(2, 3)
        self.assertEqual([bucket.wait(0) for _ in range(3)], [0, 0, 0])
        self.assertEqual([bucket.wait(1000) for _ in range(4)], [0, 0, 0, 0.5])

    def test_a_rate_of_0_is_no_limit(self) -> None:
        bucket = TokenBucket(0, 1)
        self.assertEqual([bucket.wait(0) for _ in range(1000)], [0] * 1000)

    @given(
        st.sampled_from([0.5, 1, 20, 50]),
        st.integers(1, 100),
        st.lists(st.floats(0, 10), max_size=60),
    )
    def test_no_window_holds_more_than_burst_and_rate(
        self, rate: float, burst: int, pauses: list[float]
    ) -> None:
        bucket, now, taken = TokenBucket(rate, burst), 0.0, 0
        for pause in pauses:
            now += pause
            wait = bucket.wait(now)
            taken += not wait
            self.assertLessEqual(taken, burst + rate * now + 1e-6)
            self.assertLessEqual(wait, 1 / rate + 1e-9)

    @given(st.sampled_from([0.5, 3, 20]), st.floats(0, 1e6))
    def test_who_waits_as_long_as_told_is_let_in(self, rate: float, now: float) -> None:
        bucket = TokenBucket(rate, 1, now)
        bucket.wait(now)
        self.assertEqual(bucket.wait(now + bucket.wait(now)), 0)


class KeyedTests(SynchronousTestCase):
    """A bucket for each key, in bounded memory."""

    def test_keys_do_not_share(self) -> None:
        keyed: Keyed[str] = Keyed(1, 1)
        self.assertEqual([keyed.bucket(key).wait(5) for key in "aabb"], [0, 1, 0, 1])
        self.assertIs(keyed.bucket("a"), keyed.bucket("a"))

    def test_too_often_is_refused_with_the_time_to_wait(self) -> None:
        keyed: Keyed[int] = Keyed(1 / 60, 2)
        keyed.check(7, 1000, "logins")
        keyed.check(7, 1000, "logins")
        with self.assertRaises(Refusal) as caught:
            keyed.check(7, 1015, "logins")
        refusal = caught.exception
        self.assertEqual(refusal.code, Code.LIMIT)
        self.assertEqual(refusal.message, "too many logins; try again in 45 s")
        self.assertAlmostEqual(refusal.retry_after or 0, 45)
        keyed.check(8, 1015, "logins")
        keyed.check(7, 1061, "logins")

    def test_the_longest_unused_goes_first(self) -> None:
        self.patch(throttle, "MOST_KEYS", 3)
        keyed: Keyed[str] = Keyed(1, 1)
        first = {key: keyed.bucket(key) for key in "abc"}
        keyed.bucket("a")
        keyed.bucket("d")
        self.assertIs(keyed.bucket("a"), first["a"])
        self.assertIs(keyed.bucket("c"), first["c"])
        self.assertIsNot(keyed.bucket("b"), first["b"])

    def test_memory_is_bounded(self) -> None:
        keyed: Keyed[int] = Keyed(1, 1)
        first = keyed.bucket(0)
        for key in range(1, throttle.MOST_KEYS):
            keyed.bucket(key)
        self.assertIs(keyed.bucket(0), first)
        for key in range(throttle.MOST_KEYS, 2 * throttle.MOST_KEYS):
            keyed.bucket(key)
        self.assertIsNot(keyed.bucket(0), first)


class LockTests(SynchronousTestCase):
    """Guessing passwords becomes slow, for each account alone."""

    def locked(self, locks: Locks, name: str, now: float) -> float:
        """Seconds for which the account is locked."""
        try:
            locks.check(name, now)
        except Refusal as refusal:
            self.assertEqual(refusal.code, Code.LOCKED)
            self.assertIn(f"in {refusal.retry_after:.0f} s", refusal.message)
            return refusal.retry_after or 0
        return 0

    def test_four_failures_lock_nothing(self) -> None:
        locks = Locks()
        for now in range(4):
            locks.failed("alice", now)
            self.assertEqual(self.locked(locks, "alice", now), 0)

    def test_from_the_fifth_on_each_locks_twice_as_long_up_to_15_minutes(self) -> None:
        locks, now, curve = Locks(), 0.0, []
        for _ in range(40):
            locks.failed("alice", now)
            wait = self.locked(locks, "alice", now)
            curve.append(wait)
            now += wait
        self.assertEqual(curve[:11], [0, 0, 0, 0, 60, 120, 240, 480, 900, 900, 900])
        self.assertEqual(set(curve[11:]), {900})

    def test_a_lock_ends_by_itself(self) -> None:
        locks = Locks()
        for _ in range(5):
            locks.failed("alice", 0)
        waits = [self.locked(locks, "alice", now) for now in (0, 59.5, 60)]
        self.assertEqual(waits, [60, 0.5, 0])

    def test_an_hour_without_a_failure_is_a_fresh_start(self) -> None:
        for pause, wait in [(FORGET, 60), (FORGET + 1, 0)]:
            locks = Locks()
            for _ in range(4):
                locks.failed("alice", 0)
            locks.failed("alice", pause)
            self.assertEqual(self.locked(locks, "alice", pause), wait)

    def test_the_right_password_is_a_fresh_start(self) -> None:
        locks = Locks()
        for _ in range(4):
            locks.failed("alice", 0)
        locks.succeeded("alice")
        locks.succeeded("nobody")
        locks.failed("alice", 0)
        self.assertEqual(self.locked(locks, "alice", 0), 0)

    def test_accounts_do_not_share(self) -> None:
        locks = Locks()
        for _ in range(5):
            locks.failed("alice", 0)
        self.assertEqual(self.locked(locks, "bob", 0), 0)

    def test_the_longest_without_a_failure_goes_first(self) -> None:
        locks = Locks()
        self.patch(throttle, "MOST_KEYS", 2)
        for name in ["alice", "bob", "alice", "carol"]:
            for _ in range(5):
                locks.failed(name, 0)
        self.assertEqual(self.locked(locks, "bob", 0), 0)
        self.assertGreater(self.locked(locks, "alice", 0), 0)
        self.assertGreater(self.locked(locks, "carol", 0), 0)


class AddressTests(SynchronousTestCase):
    """What counts as one address, and which addresses are trusted."""

    def test_an_ipv4_address_counts_for_itself(self) -> None:
        self.assertEqual(network_of("192.0.2.7"), "192.0.2.7")

    def test_an_ipv6_address_counts_with_its_64(self) -> None:
        self.assertEqual(network_of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64")
        self.assertEqual(network_of("2001:db8:1:2::9"), "2001:db8:1:2::/64")
        self.assertNotEqual(network_of("2001:db8:1:3::9"), "2001:db8:1:2::/64")
        self.assertEqual(network_of("fe80::1%eth0"), "fe80::/64")

    def test_ipv4_clients_of_an_ipv6_socket_do_not_share(self) -> None:
        self.assertEqual(network_of("::ffff:192.0.2.7"), "192.0.2.7")
        self.assertTrue(trusts(["192.0.2.0/24"])("::ffff:192.0.2.7"))
        self.assertFalse(trusts(["::/0"])("::ffff:192.0.2.7"))

    def test_what_is_no_address_counts_for_itself(self) -> None:
        for address in ["", "/run/imd.sock", "localhost", "192.0.2.07", "1"]:
            self.assertEqual(network_of(address), address)

    def test_addresses_of_the_networks_are_trusted(self) -> None:
        trusted = trusts(["127.0.0.0/8", "2001:db8::/32", "192.0.2.7"])
        for address in ["127.0.0.1", "127.255.255.255", "2001:db8:9::1", "192.0.2.7"]:
            self.assertTrue(trusted(address), address)
        for address in ["128.0.0.1", "::1", "2001:db9::1", "192.0.2.8"]:
            self.assertFalse(trusted(address), address)

    def test_nobody_is_trusted_without_networks(self) -> None:
        self.assertFalse(trusts([])("127.0.0.1"))

    def test_a_unix_socket_is_trusted_and_a_name_is_not(self) -> None:
        trusted = trusts(["0.0.0.0/0", "::/0"])
        self.assertTrue(trusted(""))
        self.assertFalse(trusted("localhost"))

    def test_a_network_that_is_none_is_an_error(self) -> None:
        for text in ["x", "10.0.0.1/8", "10.0.0.0/33"]:
            with self.assertRaises(ValueError):
                trusts([text])
