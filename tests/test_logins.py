"""Which system says who somebody is, and what becomes of accounts of several systems."""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from imd.errors import Close, Code, Refusal, SessionRefused, Unavailable
from imd.limits import Limits
from imd.model import Identity
from imd.throttle import FAILURES
from tests.application import Application, Listener

HOME = "192.0.2.1"


class Directory:
    """Another system: knows people, may be away, and writes down who it was asked for."""

    def __init__(self, realm: str, create: bool = True, adopt: bool = False, **people: str):
        self.realm, self.create, self.adopt = realm, create, adopt
        self.people = people
        self.away = False
        self.asked: list[str] = []

    async def check(self, name: str, password: str) -> bool:
        self.asked.append(name)
        if self.away:
            raise Unavailable(self.realm)
        return self.people.get(name) == password


class LoginsTests(SynchronousTestCase):
    def make(self, *directories: Directory, own: bool = True, **limits: Any) -> None:
        self.app = Application(self, Limits(**limits), directories, own)
        self.accounts = self.app.accounts

    def _login(self, name: str, password: str, register: bool) -> Any:
        return self.accounts.login_with_password(name, password, "phone", HOME, register)

    def login(self, name: str, password: str, register: bool = False) -> Identity:
        return self.app.do(self._login(name, password, register))[0]  # type: ignore[no-any-return]

    def refused(self, name: str, password: str, register: bool = False) -> Any:
        return self.app.refusal(self._login(name, password, register), Exception)

    def code(self, name: str, password: str, register: bool = False) -> Code:
        refusal = self.refused(name, password, register)
        self.assertIsInstance(refusal, Refusal)
        return refusal.code  # type: ignore[no-any-return]


class ProvisioningTests(LoginsTests):
    def test_the_first_login_makes_the_account_and_the_next_one_finds_it(self) -> None:
        self.make(Directory("corp", alice="right"))
        first, again = self.login("alice", "right"), self.login("ALICE", "right")
        self.assertEqual(first.user.id, again.user.id)
        self.assertEqual(again.user.name, "alice")

    def test_without_create_nobody_new_is_let_in_although_the_directory_was_asked(self) -> None:
        corp = Directory("corp", create=False, alice="right")
        self.make(corp)
        self.assertIs(self.code("alice", "right"), Code.UNAUTHORIZED)
        self.assertEqual(corp.asked, ["alice"])
        self.assertIsNone(self.app.do(self.app.storage.find_user("alice")))

    def test_what_is_no_login_name_never_reaches_a_directory(self) -> None:
        corp = Directory("corp")
        self.make(corp)
        for name in ("*)(uid=*", "admin\r\nfoo", "a\x1b[31m", "аlice", "' OR 1=1--", "a" * 33, ""):
            self.assertIs(self.code(name, "right"), Code.UNAUTHORIZED)
        self.assertEqual(corp.asked, [])

    def test_another_node_that_was_faster_with_the_same_person_is_no_refusal(self) -> None:
        self.make(Directory("corp", alice="right"))
        made = self.login("alice", "right")
        real, seen = self.app.storage._port.password_of, []

        async def late(name: str) -> Any:
            seen.append(name)
            return None if len(seen) == 1 else await real(name)

        self.app.storage._port.password_of = late
        self.addCleanup(delattr, self.app.storage._port, "password_of")
        self.assertEqual(self.login("alice", "right").user.id, made.user.id)
        self.assertEqual(len(seen), 2)

    def test_a_name_that_somebody_registered_meanwhile_is_not_entered(self) -> None:
        self.make(Directory("corp", alice="right"))
        self.login("alice", "own", register=True)
        real, seen = self.app.storage._port.password_of, []

        async def late(name: str) -> Any:
            seen.append(name)
            return None if len(seen) == 1 else await real(name)

        self.app.storage._port.password_of = late
        self.addCleanup(delattr, self.app.storage._port, "password_of")
        self.assertIs(self.code("alice", "right"), Code.UNAUTHORIZED)


class OwnershipTests(LoginsTests):
    def test_an_account_with_a_password_here_is_not_entered_by_a_namesake(self) -> None:
        corp = Directory("corp", alice="theirs")
        self.make(corp)
        self.login("alice", "ours", register=True)
        self.assertIs(self.code("alice", "theirs"), Code.UNAUTHORIZED)
        self.assertEqual(corp.asked, [])

    def test_an_account_of_one_system_is_not_entered_by_the_namesake_of_another(self) -> None:
        one, other = Directory("one", alice="one"), Directory("other", alice="other")
        self.make(one, other)
        self.login("alice", "one")
        one.people.clear()
        self.assertIs(self.code("alice", "other"), Code.UNAUTHORIZED)
        self.assertEqual(other.asked, [])

    def test_checkers_of_one_realm_speak_of_the_same_people(self) -> None:
        self.make(Directory("corp", alice="password"), Directory("corp", alice="token"))
        self.assertEqual(
            self.login("alice", "password").user.id, self.login("alice", "token").user.id
        )

    def test_an_external_name_cannot_be_registered(self) -> None:
        self.make(Directory("corp", alice="right"))
        self.login("alice", "right")
        self.assertIs(self.code("alice", "mine", register=True), Code.EXISTS)

    def test_a_realm_that_is_no_longer_configured_lets_nobody_in(self) -> None:
        corp = Directory("corp", alice="right")
        self.make(corp)
        self.login("alice", "right")
        corp.realm = "renamed"
        self.assertIs(self.code("alice", "right"), Code.UNAUTHORIZED)
        self.assertIs(self.code("alice", "external:corp"), Code.UNAUTHORIZED)

    def test_adoption_hands_an_account_over_and_logs_out_whoever_was_in(self) -> None:
        self.make(Directory("corp", adopt=True, alice="theirs"))
        before = self.login("alice", "ours", register=True)
        listener = Listener(before.user.id, before.device, before.session)
        self.app.registry.add(listener)
        self.assertEqual(self.login("alice", "ours").user.id, before.user.id)
        after = self.login("alice", "theirs")
        self.app.turn()
        self.assertEqual(after.user.id, before.user.id)
        self.assertIs(listener.closed, Close.BAD_CREDENTIALS)
        self.assertEqual(len(self.app.do(self.app.storage.devices(before.user.id))), 1)
        self.assertIs(self.code("alice", "ours"), Code.UNAUTHORIZED)

    def test_an_account_that_was_erased_is_handed_to_nobody(self) -> None:
        self.make(Directory("corp", adopt=True, alice="theirs"))
        user = self.login("alice", "ours", register=True).user.id
        self.app.do(self.app.storage.close_account(user))
        for password in "ours", "theirs", "erased":
            self.assertIs(self.code("alice", password), Code.UNAUTHORIZED)
        self.assertEqual(self.app.do(self.app.storage.password_of("alice"))[1], "erased")


class OutageTests(LoginsTests):
    def test_a_directory_that_is_away_lets_nobody_in_through_the_next(self) -> None:
        one, other = Directory("one"), Directory("other", alice="right")
        self.make(one, other)
        one.away = True
        self.assertIsInstance(self.refused("alice", "right"), Unavailable)
        self.assertEqual(other.asked, [])

    def test_accounts_of_others_are_entered_as_ever(self) -> None:
        one, other = Directory("one"), Directory("other", alice="right")
        self.make(one, other)
        self.login("alice", "right")
        self.login("bob", "ours", register=True)
        one.away = True
        self.login("alice", "right")
        self.login("bob", "ours")

    def test_an_outage_is_no_failed_login(self) -> None:
        corp = Directory("corp", alice="right")
        self.make(corp)
        corp.away = True
        for _ in range(FAILURES + 1):
            self.assertIsInstance(self.refused("alice", "right"), Unavailable)
        corp.away = False
        self.login("alice", "right")


class RuleTests(LoginsTests):
    def test_guesses_lock_the_name_whoever_checks_it(self) -> None:
        corp = Directory("corp", alice="right")
        self.make(corp)
        for _ in range(FAILURES):
            self.assertIs(self.code("alice", "guess"), Code.UNAUTHORIZED)
        self.assertIs(self.code("alice", "right"), Code.LOCKED)
        self.assertEqual(len(corp.asked), FAILURES)

    def test_an_address_is_held_to_its_rate_whoever_checks(self) -> None:
        self.make(Directory("corp", alice="right"), logins_per_minute=1)
        self.login("alice", "right")
        self.assertIs(self.code("alice", "right"), Code.LIMIT)

    def test_a_disabled_account_stays_out_although_the_directory_knows_it(self) -> None:
        self.make(Directory("corp", alice="right"))
        me = self.login("alice", "right")
        self.app.do(self.app.storage.set_disabled(me.user.id, True))
        refusal = self.refused("alice", "right")
        self.assertIsInstance(refusal, SessionRefused)
        self.assertIs(refusal.close, Close.DISABLED)

    def test_the_password_of_an_external_account_is_not_changed_here(self) -> None:
        corp = Directory("corp", alice="right")
        self.make(corp)
        me = self.login("alice", "right")
        params = json.dumps({"old": "right", "new": "mine"}).encode()
        call = self.accounts.call(me, "account.password", params, HOME)
        self.assertIs(self.app.refusal(call, Refusal).code, Code.FORBIDDEN)
        self.login("alice", "right")

    def test_a_change_of_password_never_adopts(self) -> None:
        corp = Directory("corp", adopt=True, alice="theirs")
        self.make(corp)
        me = self.login("alice", "ours", register=True)
        params = json.dumps({"old": "theirs", "new": "mine"}).encode()
        call = self.accounts.call(me, "account.password", params, HOME)
        self.assertIs(self.app.refusal(call, Refusal).code, Code.UNAUTHORIZED)
        self.assertEqual(corp.asked, [])

    def test_where_no_passwords_are_kept_nobody_registers_nor_logs_in_with_one(self) -> None:
        self.make()
        self.login("alice", "ours", register=True)
        self.accounts._logins.own = False
        self.assertIs(self.code("bob", "ours", register=True), Code.FORBIDDEN)
        self.assertIs(self.code("alice", "ours"), Code.UNAUTHORIZED)

    def test_a_password_that_only_begins_like_the_right_one_is_wrong(self) -> None:
        self.make()
        self.login("alice", "a" * 1024, register=True)
        self.login("alice", "a" * 1024)
        self.assertIs(self.code("alice", "a" * 1025), Code.UNAUTHORIZED)
