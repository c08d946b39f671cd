"""Who may log in, and what they may ask for besides messages."""

from __future__ import annotations

import json
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from imd import methods
from imd.accounts import RETIRE_AFTER
from imd.auth.password import Passwords
from imd.errors import Close, Code, Refusal, SessionRefused
from imd.limits import Limits
from imd.model import Identity
from imd.throttle import FAILURES, FIRST_LOCK
from tests.application import DAY, WALL, Application, Listener

HOME = "192.0.2.1"


class AccountsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.make()

    def make(self, **limits: Any) -> None:
        self.app = Application(self, Limits(**limits))
        self.accounts = self.app.accounts

    def register(self, name: str = "alice", address: str = HOME) -> tuple[Identity, str]:
        found: tuple[Identity, str] = self.app.do(
            self.accounts.login_with_password(name, "secret", "phone", address, True)
        )
        return found

    def login(
        self, name: str = "alice", password: str = "secret", address: str = HOME
    ) -> tuple[Identity, str]:
        found: tuple[Identity, str] = self.app.do(self._login(name, password, address))
        return found

    def refused_login(
        self, name: str = "alice", password: str = "secret", address: str = HOME
    ) -> Refusal:
        refusal: Refusal = self.app.refusal(self._login(name, password, address), Refusal)
        return refusal

    def _login(self, name: str, password: str, address: str) -> Any:
        return self.accounts.login_with_password(name, password, "phone", address, False)

    def call(self, me: Identity | None, method: str, **params: Any) -> Any:
        raw = json.dumps(params).encode()
        return self.app.do(self.accounts.call(me, method, raw, HOME))

    def refused(self, me: Identity | None, method: str, **params: Any) -> Refusal:
        raw = json.dumps(params).encode()
        refusal: Refusal = self.app.refusal(self.accounts.call(me, method, raw, HOME), Refusal)
        return refusal

    def listen(self, me: Identity) -> Listener:
        listener = Listener(me.user.id, me.device, me.session)
        self.assertTrue(self.app.registry.add(listener))
        return listener


class OthersTests(AccountsTests):
    """Methods that are carried out elsewhere."""

    def test_such_a_method_hears_who_calls_it_and_with_what(self) -> None:
        me, _ = self.register()

        async def link(who: Identity, params: methods.OneFile) -> methods.Link:
            return methods.Link(f"{who.user.name}/{params.file}", 1)

        self.app.others["file.link"] = link
        self.assertEqual(self.call(me, "file.link", file=5), methods.Link("alice/5", 1))
        self.assertIs(self.refused(me, "file.link", file=0).code, Code.BAD_REQUEST)


class LoginTests(AccountsTests):
    def test_a_registration_makes_an_account_a_device_and_a_session(self) -> None:
        me, token = self.register("Alice")
        self.assertEqual((me.user.name, me.session), ("alice", 1))
        (device,) = self.app.do(self.app.storage.devices(me.user.id))
        self.assertEqual((device.id, device.label), (me.device, "phone"))
        again = self.app.do(self.accounts.login_with_token(token))
        self.assertEqual((again.device, again.session), (me.device, 2))
        self.assertEqual(self.app.do(self.accounts.authenticate(token)), again)

    def test_a_device_that_nobody_took_the_token_of_is_forgotten(self) -> None:
        me, token = self.register()
        self.app.do(self.accounts.forget(me.user.id, me.device))
        self.app.refusal(self.accounts.login_with_token(token), SessionRefused)

    def test_a_name_that_is_taken_costs_no_hash(self) -> None:
        self.register()
        self.app.pool.calls.clear()
        taken = self.accounts.login_with_password("ALICE", "other", "d", HOME, True)
        self.assertIs(self.app.refusal(taken, Refusal).code, Code.EXISTS)
        self.assertEqual(self.app.pool.calls, [])

    def test_of_two_that_register_one_name_at_once_one_gets_it(self) -> None:
        self.app.storage.held.add("find_user")
        both = [
            Deferred.fromCoroutine(self.accounts.login_with_password("alice", "x", "d", HOME, True))
            for _ in range(2)
        ]
        self.app.storage.answer()
        self.app.turn()
        self.app.storage.answer()
        self.assertEqual(self.successResultOf(both[0])[0].user.name, "alice")
        self.assertIs(self.failureResultOf(both[1], Refusal).value.code, Code.EXISTS)

    def test_bad_names_passwords_and_labels_are_refused(self) -> None:
        for name, password, label in (
            ("", "x", "d"),
            ("a b", "x", "d"),
            ("a" * 33, "x", "d"),
            ("admin\r\nfoo", "x", "d"),
            ("alice", "", "d"),
            ("alice", "ü" * 513, "d"),
            ("alice", "nul\0", "d"),
            ("alice", "x", "a\u202eb"),
        ):
            login = self.accounts.login_with_password(name, password, label, HOME, True)
            self.assertIs(self.app.refusal(login, Refusal).code, Code.BAD_REQUEST)

    def test_an_unknown_name_and_a_wrong_password_are_the_same_answer_at_the_same_cost(
        self,
    ) -> None:
        self.register()
        answers = []
        for name in ("alice", "nobody", "no name at all", "a" * 33):
            self.app.pool.calls.clear()
            refusal = self.refused_login(name, "wrong")
            answers.append((refusal.code, refusal.message, type(refusal), self.app.pool.calls[:]))
        self.assertEqual(answers[0][3], ["_verify"])
        self.assertEqual(answers[0][0], Code.UNAUTHORIZED)
        self.assertEqual(answers, [answers[0]] * 4)

    def test_an_unknown_name_is_locked_like_one_that_exists(self) -> None:
        self.register()
        answers = []
        for name in ("alice", "nobody"):
            codes = [self.refused_login(name, "wrong").code for _ in range(FAILURES + 1)]
            answers.append(codes)
        self.assertEqual(answers[0], [Code.UNAUTHORIZED] * FAILURES + [Code.LOCKED])
        self.assertEqual(answers[0], answers[1])

    def test_a_lock_costs_no_hash_holds_for_the_right_password_and_ends(self) -> None:
        self.register()
        for _ in range(FAILURES):
            self.refused_login(password="wrong")
        self.app.pool.calls.clear()
        self.assertIs(self.refused_login().code, Code.LOCKED)
        self.assertEqual(self.app.pool.calls, [])
        self.app.clock.advance(FIRST_LOCK)
        self.assertEqual(self.login()[0].user.name, "alice")
        self.assertIs(self.refused_login(password="wrong").code, Code.UNAUTHORIZED)

    def test_a_hash_of_another_cost_is_made_anew_at_the_next_login(self) -> None:
        me, _ = self.register()
        cheap = self.app.do(self.app.storage.password_of("alice"))[1]
        self.accounts._logins._passwords = Passwords(self.app.pool, 16, 1)
        self.login()
        dear = self.app.do(self.app.storage.password_of("alice"))[1]
        self.assertNotEqual(cheap, dear)
        self.assertFalse(self.accounts._logins._passwords.is_outdated(dear))
        self.login()
        self.assertEqual(self.app.do(self.app.storage.password_of("alice"))[1], dear)
        self.assertEqual(len(self.app.do(self.app.storage.devices(me.user.id))), 3)

    def test_an_unknown_token_ends_the_session_4501(self) -> None:
        for login in (self.accounts.login_with_token, self.accounts.authenticate):
            refusal = self.app.refusal(login("no such token"), SessionRefused)
            self.assertIs(refusal.close, Close.BAD_CREDENTIALS)

    def test_a_disabled_account_is_let_in_by_no_way_and_in_again_later(self) -> None:
        me, token = self.register()
        self.app.do(self.app.storage.set_disabled(me.user.id, True))
        for login in (
            self.accounts.login_with_token(token),
            self.accounts.authenticate(token),
            self._login("alice", "secret", HOME),
        ):
            self.assertIs(self.app.refusal(login, SessionRefused).close, Close.DISABLED)
        self.assertIs(self.refused_login(password="wrong").code, Code.UNAUTHORIZED)
        self.app.do(self.app.storage.set_disabled(me.user.id, False))
        self.assertEqual(self.app.do(self.accounts.authenticate(token)).device, me.device)

    def test_one_device_too_many_is_refused_while_all_are_in_use(self) -> None:
        self.make(devices=2)
        self.register()
        self.login()
        self.assertIs(self.refused_login().code, Code.LIMIT)

    def test_a_device_that_was_not_seen_for_long_gives_way_and_its_session_ends(self) -> None:
        self.make(devices=2)
        old, token = self.register()
        listener = self.listen(old)
        self.app.sources.now += DAY
        self.login()
        self.app.sources.now = WALL + RETIRE_AFTER
        self.assertIs(self.refused_login().code, Code.LIMIT)
        self.app.sources.now += 1
        new, _ = self.login()
        self.app.turn()
        self.assertIs(listener.closed, Close.BAD_CREDENTIALS)
        self.app.refusal(self.accounts.login_with_token(token), SessionRefused)
        devices = [device.id for device in self.app.do(self.app.storage.devices(new.user.id))]
        self.assertEqual((len(devices), old.device in devices), (2, False))


class LimitsTests(AccountsTests):
    def test_logins_from_one_address_are_limited_and_those_from_elsewhere_are_not(self) -> None:
        self.make(logins_per_minute=3)
        self.register()
        for _ in range(3):
            self.login()
        refusal = self.refused_login()
        self.assertIs(refusal.code, Code.LIMIT)
        self.assertAlmostEqual(refusal.retry_after or 0, 20)
        self.login(address="192.0.2.2")
        self.app.clock.advance(20)
        self.login()

    def test_logins_by_token_are_not_limited(self) -> None:
        self.make(logins_per_minute=1)
        _, token = self.register()
        for _ in range(20):
            self.app.do(self.accounts.login_with_token(token))

    def test_all_addresses_of_one_ipv6_network_are_one(self) -> None:
        self.make(logins_per_minute=2)
        self.register()
        self.login(address="2001:db8:0:1::1")
        self.login(address="2001:db8:0:1::2")
        self.assertIs(self.refused_login(address="2001:db8:0:1:ffff::3").code, Code.LIMIT)
        self.login(address="2001:db8:0:2::1")

    def test_new_accounts_from_one_address_are_limited(self) -> None:
        self.make(registrations_per_hour=2)
        self.register("a")
        self.register("b")
        over = self.accounts.login_with_password("c", "x", "d", HOME, True)
        self.assertIs(self.app.refusal(over, Refusal).code, Code.LIMIT)
        self.assertIs(
            self.refused(None, "account.register", user="c", password="x").code, Code.LIMIT
        )
        self.register("c", address="192.0.2.2")
        self.app.clock.advance(1800)
        self.register("d")

    def test_trusted_addresses_are_not_limited(self) -> None:
        self.make(
            logins_per_minute=1,
            registrations_per_hour=1,
            trusted_addresses=("192.0.2.0/24", "2001:db8::/32"),
        )
        for n, address in enumerate((HOME, "192.0.2.77", "2001:db8::1", "")):
            self.register(f"user{n}", address)
            for _ in range(3):
                self.login(f"user{n}", address=address)
        self.register("last", "127.0.0.1")
        self.login("last", address="127.0.0.1")
        self.assertIs(self.refused_login("last", address="127.0.0.1").code, Code.LIMIT)

    def test_look_ups_by_one_user_are_limited_also_those_that_find_nobody(self) -> None:
        self.make(finds_per_minute=2)
        me, _ = self.register()
        other, _ = self.register("bob")
        self.assertEqual(self.call(me, "user.find", user="BOB").user, other.user.id)
        self.assertIs(self.refused(me, "user.find", user="nobody").code, Code.NOT_FOUND)
        self.assertIs(self.refused(me, "user.find", user="bob").code, Code.LIMIT)
        self.assertEqual(self.call(other, "user.find", user=me.user.id).name, "alice")
        self.app.clock.advance(30)
        self.call(me, "user.find", user="bob")


class MethodsTests(AccountsTests):
    def test_methods_that_do_not_exist_need_a_token_or_are_for_http_are_refused(self) -> None:
        me, _ = self.register()
        for who, method, code in (
            (me, "no.method", Code.NOT_FOUND),
            (None, "no.method", Code.NOT_FOUND),
            (None, "account.get", Code.UNAUTHORIZED),
            (None, "friend.list", Code.UNAUTHORIZED),
            (me, "account.login", Code.BAD_REQUEST),
            (me, "account.register", Code.BAD_REQUEST),
        ):
            self.assertIs(self.refused(who, method).code, code)

    def test_parameters_that_are_not_what_they_have_to_be_are_named(self) -> None:
        me, _ = self.register()
        for params in (b"[]", b'{"x":1}', b'{"display":5}', b"{", b'{"display":"a","display":"b"}'):
            call = self.accounts.call(me, "account.update", params, HOME)
            refusal = self.app.refusal(call, Refusal)
            self.assertIs(refusal.code, Code.BAD_REQUEST)
            self.assertTrue(refusal.message.startswith("params: "), refusal.message)

    def test_friend_methods_are_in_the_same_table(self) -> None:
        me, _ = self.register()
        self.assertEqual(self.call(me, "friend.list").items, [])

    def test_over_http_one_registers_and_logs_in_to_get_a_token(self) -> None:
        first = self.call(None, "account.register", user="Alice", password="secret")
        second = self.call(None, "account.login", user="alice", password="secret", device="cli")
        self.assertEqual(first.user, second.user)
        self.assertNotEqual(first.token, second.token)
        me = self.app.do(self.accounts.authenticate(second.token))
        self.assertEqual(me.device, second.device)
        labels = [item.label for item in self.call(me, "device.list").items]
        self.assertEqual(labels, ["http", "cli"])

    def test_the_account_is_read_as_it_is_now(self) -> None:
        me, _ = self.register()
        self.call(me, "account.update", display="Alice  L.")
        account = self.call(me, "account.get")
        expected = (me.user.id, "alice", me.device, "Alice  L.")
        self.assertEqual((account.user, account.name, account.device, account.display), expected)
        self.assertEqual(self.call(me, "account.update").display, "Alice  L.")
        self.assertEqual(self.call(me, "account.update", display="").display, "")
        self.assertIs(self.refused(me, "account.update", display="a\nb").code, Code.BAD_REQUEST)

    def test_logging_out_deletes_the_device_and_ends_its_session_after_the_answer(self) -> None:
        me, token = self.register()
        listener = self.listen(me)
        self.call(me, "account.logout")
        self.assertIsNone(listener.closed)
        self.app.turn()
        self.assertIs(listener.closed, Close.BAD_CREDENTIALS)
        self.app.refusal(self.accounts.authenticate(token), SessionRefused)

    def test_a_revoked_device_is_told_to_the_others_and_closed_and_nobody_else_is(self) -> None:
        me, token = self.register()
        lost, lost_token = self.login()
        bob, _ = self.register("bob")
        mine, gone, others = self.listen(me), self.listen(lost), self.listen(bob)
        self.assertIs(self.refused(bob, "device.revoke", device=lost.device).code, Code.NOT_FOUND)
        self.assertIs(self.refused(me, "device.revoke", device=99).code, Code.NOT_FOUND)
        self.call(me, "device.revoke", device=lost.device)
        self.app.turn()
        event = {"type": "event", "name": "device.revoked", "data": {"device": lost.device}}
        self.assertEqual(mine.notified, [event])
        self.assertEqual(others.notified, [])
        self.assertEqual(
            (mine.closed, gone.closed, others.closed), (None, Close.BAD_CREDENTIALS, None)
        )
        self.app.refusal(self.accounts.authenticate(lost_token), SessionRefused)
        self.app.do(self.accounts.authenticate(token))

    def test_a_new_password_logs_all_other_devices_out(self) -> None:
        me, token = self.register()
        phone, laptop = self.login()[0], self.login()[0]
        here, *gone = [self.listen(identity) for identity in (me, phone, laptop)]
        self.call(me, "account.password", old="secret", new="better")
        self.app.turn()
        self.assertIsNone(here.closed)
        self.assertEqual([listener.closed for listener in gone], [Close.BAD_CREDENTIALS] * 2)
        revoked = {event["data"]["device"] for event in here.notified}
        self.assertEqual(revoked, {phone.device, laptop.device})
        self.app.do(self.accounts.authenticate(token))
        self.assertIs(self.refused_login().code, Code.UNAUTHORIZED)
        self.login(password="better")

    def test_the_password_stays_when_the_old_one_is_wrong_or_the_new_one_is_none(self) -> None:
        me, _ = self.register()
        for old, new, code in (
            ("wrong", "better", Code.UNAUTHORIZED),
            ("secret", "nul\0", Code.BAD_REQUEST),
            ("secret", "", Code.BAD_REQUEST),
        ):
            refusal = self.refused(me, "account.password", old=old, new=new)
            self.assertIs(refusal.code, code)
        self.login()

    def test_the_devices_of_the_account_show_which_one_asks(self) -> None:
        me, _ = self.register()
        other, _ = self.login()
        items = self.call(other, "device.list").items
        self.assertEqual(
            [(item.device, item.current) for item in items],
            [(me.device, False), (other.device, True)],
        )
