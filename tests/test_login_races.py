"""Logins, guesses and changes of a password that run beside each other."""

from __future__ import annotations

import itertools
from collections.abc import Coroutine
from typing import Any

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from imd.accounts import Accounts
from imd.delivery import Delivery
from imd.errors import Code, Refusal
from imd.friends import Friends
from imd.limits import Limits
from imd.logins import Logins
from imd.model import Identity
from imd.registry import Registry
from imd.routing import Routing
from tests.directories import directory
from tests.inline import open_storage

ADDRESS = "127.0.0.1"


class Sources:
    """Ids that count, tokens that are their numbers, a time that stands."""

    def __init__(self) -> None:
        self._ids = itertools.count(1)

    def now_ms(self) -> int:
        return 1_790_000_000_000

    def new_id(self) -> int:
        return next(self._ids)

    def new_token(self) -> str:
        return f"token-{next(self._ids)}"


class SlowPasswords:
    """Hashes that show the password; each call waits until it is let go."""

    def __init__(self) -> None:
        self._calls: list[Deferred[None]] = []

    def _work(self) -> Deferred[None]:
        call: Deferred[None] = Deferred()
        self._calls.append(call)
        return call

    async def hash(self, password: str) -> str:
        await self._work()
        return f"new:{password}"

    async def verify(self, stored: str | None, password: str) -> bool:
        await self._work()
        return stored is not None and stored.partition(":")[2] == password

    def is_outdated(self, stored: str) -> bool:
        return stored.startswith("old:")

    def hold(self) -> Deferred[None]:
        """The call that came last, which ``let_go`` leaves out."""
        return self._calls.pop()

    def let_go(self) -> None:
        """Finish the calls in their order, and those that come of them."""
        while self._calls:
            self._calls.pop(0).callback(None)


class Races(SynchronousTestCase):
    def setUp(self) -> None:
        self.storage = open_storage(directory(self))
        self.addCleanup(self.storage.close)
        self.passwords = SlowPasswords()
        self.sources = Sources()
        self.accounts, self.elsewhere = self.node(), self.node()
        registered = Deferred.fromCoroutine(self.login("first", register=True))
        self.passwords.let_go()
        self.me, _ = self.successResultOf(registered)

    def node(self) -> Accounts:
        """The accounts of one of several processes on the same storage."""
        clock, limits = Clock(), Limits()
        routing = Routing(Delivery(Registry()))
        friends = Friends(self.storage, routing, lambda token: None, clock, self.sources, limits)
        logins = Logins(self.storage, self.passwords, self.sources)
        return Accounts(self.storage, logins, friends, routing, clock, self.sources, limits, {})

    def now(self, coro: Coroutine[Any, Any, Any]) -> Any:
        return self.successResultOf(Deferred.fromCoroutine(coro))

    def login(
        self, password: str, register: bool = False, node: Accounts | None = None
    ) -> Coroutine[Any, Any, Any]:
        accounts = node or self.accounts
        return accounts.login_with_password("alice", password, "d", ADDRESS, register)

    def change(
        self, me: Identity, old: str, new: str, node: Accounts | None = None
    ) -> Coroutine[Any, Any, Any]:
        params = msgspec.json.encode({"old": old, "new": new})
        return (node or self.accounts).call(me, "account.password", params, ADDRESS)

    def devices(self) -> list[int]:
        return [device.id for device in self.now(self.storage.devices(self.me.user.id))]

    def code(self, started: Deferred[Any]) -> Code:
        error: Refusal = self.failureResultOf(started, Refusal).value  # type: ignore[attr-defined]
        return error.code

    def test_no_login_by_the_old_password_outlives_its_change(self) -> None:
        change = Deferred.fromCoroutine(self.change(self.me, "first", "second"))
        login = Deferred.fromCoroutine(self.login("first"))
        self.passwords.let_go()
        self.successResultOf(change)
        self.assertEqual(self.code(login), Code.UNAUTHORIZED)
        self.assertEqual(self.devices(), [self.me.device])

    def test_a_hash_that_is_made_anew_does_not_bring_the_old_password_back(self) -> None:
        self.now(self.storage.rehash_password(self.me.user.id, "old:first", verified="new:first"))
        change = Deferred.fromCoroutine(self.change(self.me, "first", "second"))
        login = Deferred.fromCoroutine(self.login("first"))
        self.passwords.let_go()
        self.successResultOf(change)
        self.failureResultOf(login, Refusal)
        _, stored = self.now(self.storage.password_of("alice"))
        self.assertEqual(stored, "new:second")

    def test_a_login_on_another_node_that_comes_first_is_undone_by_the_change(self) -> None:
        change = Deferred.fromCoroutine(self.change(self.me, "first", "second"))
        login = Deferred.fromCoroutine(self.login("first", node=self.elsewhere))
        # Both passwords are checked, then the new one is hashed: the login is there first.
        self.passwords.let_go()
        self.successResultOf(login)
        self.successResultOf(change)
        self.assertEqual(self.devices(), [self.me.device])

    def test_a_login_on_another_node_that_comes_second_is_refused(self) -> None:
        login = Deferred.fromCoroutine(self.login("first", node=self.elsewhere))
        late = self.passwords.hold()
        change = Deferred.fromCoroutine(self.change(self.me, "first", "second"))
        self.passwords.let_go()
        self.successResultOf(change)
        late.callback(None)
        self.assertEqual(self.code(login), Code.UNAUTHORIZED)
        self.assertEqual(self.devices(), [self.me.device])

    def test_of_two_changes_of_a_password_on_two_nodes_one_is_refused(self) -> None:
        one = Deferred.fromCoroutine(self.change(self.me, "first", "second"))
        other = Deferred.fromCoroutine(self.change(self.me, "first", "third", self.elsewhere))
        self.passwords.let_go()
        self.successResultOf(one)
        self.assertEqual(self.code(other), Code.UNAUTHORIZED)
        _, stored = self.now(self.storage.password_of("alice"))
        self.assertEqual(stored, "new:second")

    def test_guesses_at_the_same_time_are_counted_before_the_next_is_looked_at(self) -> None:
        guesses = [Deferred.fromCoroutine(self.login(f"guess {n}")) for n in range(20)]
        self.passwords.let_go()
        codes = [self.code(guess) for guess in guesses]
        self.assertEqual(codes, [Code.UNAUTHORIZED] * 5 + [Code.LOCKED] * 15)
