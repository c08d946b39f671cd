"""Times, ids, secrets and rates of a real process."""

from __future__ import annotations

import time

from twisted.trial.unittest import SynchronousTestCase

from imd.limits import Limits
from imd.sources import Rates, Sources


class SourcesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.sources = Sources()

    def test_now_is_in_milliseconds(self) -> None:
        self.assertLess(abs(self.sources.now_ms() - time.time() * 1000), 5000)

    def test_ids_are_positive_and_exact_in_every_language(self) -> None:
        ids = {self.sources.new_id() for _ in range(1000)}
        self.assertEqual(len(ids), 1000)
        self.assertTrue(all(1 <= id < 2**52 for id in ids))
        self.assertGreater(max(ids), 2**48)

    def test_tokens_are_256_bits_that_a_header_can_carry(self) -> None:
        tokens = {self.sources.new_token() for _ in range(100)}
        self.assertEqual(len(tokens), 100)
        for token in tokens:
            self.assertRegex(token, r"\A[A-Za-z0-9_-]{43}\Z")

    def test_epochs_differ(self) -> None:
        self.assertEqual(len({self.sources.new_epoch() for _ in range(100)}), 100)

    def test_chance_is_from_0_to_1(self) -> None:
        drawn = [self.sources.fraction() for _ in range(1000)]
        self.assertTrue(all(0 <= n < 1 for n in drawn))
        self.assertGreater(max(drawn) - min(drawn), 0.5)

    def test_a_node_has_another_name_after_each_start_and_can_be_recognised(self) -> None:
        names = {self.sources.node_name("east") for _ in range(100)}
        self.assertEqual(len(names), 100)
        self.assertTrue(all(name.startswith("east#") for name in names))
        self.assertRegex(self.sources.node_name(""), r"\A.+-[0-9]+#[0-9a-f]{8}\Z")


class RatesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.rates = Rates(Limits(rate=1, burst=2, other_rate=1, other_burst=3))

    def test_all_sessions_of_a_user_share_one_bucket_and_users_do_not(self) -> None:
        alice = [self.rates.sends(1), self.rates.sends(1)]
        self.assertEqual([bucket.wait(0) for bucket in alice], [0, 0])
        self.assertTrue(self.rates.sends(1).wait(0))
        self.assertFalse(self.rates.sends(2).wait(0))

    def test_every_connection_has_a_bucket_for_the_rest(self) -> None:
        one, other = self.rates.others(), self.rates.others()
        self.assertEqual([one.wait(0) for _ in range(3)], [0, 0, 0])
        self.assertTrue(one.wait(0))
        self.assertFalse(other.wait(0))
