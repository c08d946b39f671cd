"""Passwords: argon2id in threads of their own, and the pool that bounds them."""

from __future__ import annotations

import threading

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from imd.auth.password import BoundedPool, Passwords
from imd.errors import Unavailable
from tests.application import InlinePool
from tests.process import reactor


class PasswordsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.pool = InlinePool()
        self.passwords = Passwords(self.pool, memory_kib=8, passes=1)

    def hash(self, password: str) -> str:
        return self.successResultOf(Deferred.fromCoroutine(self.passwords.hash(password)))

    def verify(self, stored: str | None, password: str) -> bool:
        return self.successResultOf(Deferred.fromCoroutine(self.passwords.verify(stored, password)))

    def test_the_right_password_is_right_and_any_other_wrong(self) -> None:
        stored = self.hash("correct horse")
        self.assertTrue(stored.startswith("$argon2id$"))
        self.assertTrue(self.verify(stored, "correct horse"))
        for wrong in ("", "Correct horse", "correct horse ", "correct hors", "\0"):
            self.assertFalse(self.verify(stored, wrong))

    def test_no_two_hashes_are_equal(self) -> None:
        self.assertNotEqual(self.hash("same"), self.hash("same"))

    def test_any_text_can_be_a_password(self) -> None:
        for password in ("a", "ü" * 512, "🔑", "nul\0inside", "x" * 1024):
            self.assertTrue(self.verify(self.hash(password), password))

    def test_no_account_is_a_no_that_costs_one_verification_even_for_the_decoy(self) -> None:
        self.assertFalse(self.verify(None, "decoy"))
        self.assertFalse(self.verify(None, "anything"))
        self.assertEqual(self.pool.calls, ["_verify", "_verify"])

    def test_what_is_no_hash_is_a_no_and_no_error(self) -> None:
        for stored in ("hash", "$argon2id$v=19$m=8,t=1,p=1$bad", "$2b$12$" + "x" * 53):
            self.assertFalse(self.verify(stored, "x"))

    def test_a_hash_is_outdated_when_the_cost_has_changed(self) -> None:
        stored = self.hash("x")
        self.assertFalse(self.passwords.is_outdated(stored))
        for cost in ((16, 1), (8, 2)):
            self.assertTrue(Passwords(self.pool, *cost).is_outdated(stored))


async def test_work_is_done_in_another_thread_and_its_errors_come_back() -> None:
    pool = BoundedPool(reactor, threads=1, queue=4)
    pool.start()
    try:
        assert await pool.run(threading.get_ident) != threading.get_ident()
        try:
            await pool.run(int, "no number")
        except ValueError:
            pass
        else:
            raise AssertionError("the error is lost")
    finally:
        pool.stop()


async def test_no_more_wait_than_the_queue_holds_and_later_there_is_room_again() -> None:
    pool = BoundedPool(reactor, threads=1, queue=2)
    pool.start()
    gate = threading.Event()
    try:
        running = [pool.run(gate.wait, 100) for _ in range(3)]
        for _ in range(2):
            try:
                pool.run(gate.wait, 100)
            except Unavailable:
                continue
            raise AssertionError("the queue has no bound")
        gate.set()
        for done in running:
            assert await done
        assert await pool.run(lambda: "again") == "again"
    finally:
        gate.set()
        pool.stop()
