"""The table of methods: what each takes, and what it does not."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from msgspec import UNSET
from twisted.trial.unittest import SynchronousTestCase

from imd import methods
from imd.decoding import BadValue, decode_strict
from imd.methods import METHODS
from imd.wire import UserRef, encode

#: Parameters with everything in them, by method; the keys that may be left out stand behind.
FULL: dict[str, tuple[dict[str, Any], set[str]]] = {
    "account.register": ({"user": "a", "password": "p", "device": "d"}, {"device"}),
    "account.login": ({"user": "a", "password": "p", "device": "d"}, set()),
    "account.logout": ({}, set()),
    "account.password": ({"old": "a", "new": "b"}, set()),
    "account.get": ({}, set()),
    "account.update": ({"display": "A"}, {"display"}),
    "device.list": ({}, set()),
    "device.revoke": ({"device": 5}, set()),
    "user.find": ({"user": "a"}, set()),
    "friend.list": ({}, set()),
    "friend.add": ({"user": "a", "note": "hi"}, {"note"}),
    "friend.accept": ({"user": 5}, set()),
    "friend.decline": ({"user": 5}, set()),
    "friend.remove": ({"user": 5}, set()),
    "friend.block": ({"user": 5}, set()),
    "friend.unblock": ({"user": 5}, set()),
    "file.slot": ({"size": 5, "sha256": "0" * 64, "name": "a", "mime": "text/plain"}, set()),
    "file.link": ({"file": 5}, set()),
}


def decoded(method: str, params: Any) -> Any:
    return decode_strict(METHODS[method].decoder, json.dumps(params).encode())


class MethodTests(SynchronousTestCase):
    """Each row of the table."""

    def refused(self, method: str, params: Any) -> None:
        with self.assertRaises(BadValue, msg=f"{method} {params}"):
            decoded(method, params)

    def test_the_table_is_that_of_the_protocol(self) -> None:
        self.assertEqual(set(METHODS), set(FULL))
        public = {name for name, method in METHODS.items() if method.public}
        self.assertEqual(public, {"account.register", "account.login"})

    def test_every_method_takes_its_parameters(self) -> None:
        for name, (params, _) in FULL.items():
            found = decoded(name, params)
            self.assertIs(type(found), METHODS[name].params)
            self.assertEqual(msgspec.to_builtins(found), params)

    def test_no_parameter_may_be_missing_unless_it_is_optional(self) -> None:
        for name, (params, optional) in FULL.items():
            for key in params:
                less = {k: v for k, v in params.items() if k != key}
                if key in optional:
                    decoded(name, less)
                else:
                    self.refused(name, less)

    def test_no_parameter_may_be_more_or_null(self) -> None:
        for name, (params, _) in FULL.items():
            for more in [{"role": "admin"}, {"id": 5}, {"roster": 1}]:
                self.refused(name, params | more)
            for key in params:
                self.refused(name, params | {key: None})
            for other in [None, [], "x", 5, [params]]:
                self.refused(name, other)

    def test_parameters_are_bounded(self) -> None:
        for name, key, values in [
            ("account.register", "user", ["", "x" * 257, 5]),
            ("account.login", "password", ["", "x" * 8193, 5]),
            ("account.login", "device", ["x" * 65, 5]),
            ("account.password", "old", ["", "x" * 1025]),
            ("account.password", "new", ["", "x" * 1025]),
            ("account.update", "display", ["x" * 257, 5]),
            ("device.revoke", "device", [0, -1, 2**53, "5", 5.0, True]),
            ("user.find", "user", ["", "x" * 257, 0, 2**53, 5.0, []]),
            ("friend.add", "note", ["x" * 201, 5]),
        ]:
            for value in values:
                self.refused(name, FULL[name][0] | {key: value})

    def test_parameters_are_as_strict_as_frames(self) -> None:
        for raw in [b'{"user":5,"user":6}', b'{"user":"a\\u0000"}', b'{"user":NaN}', b'{"user":']:
            with self.assertRaises(BadValue):
                decode_strict(METHODS["user.find"].decoder, raw)

    def test_an_account_that_is_registered_has_a_first_device(self) -> None:
        found = decoded("account.register", {"user": "a", "password": "p"})
        self.assertEqual(found.device, "http")


class ResultTests(SynchronousTestCase):
    """Results as the protocol spells them."""

    def test_who_is_no_friend_has_no_state_and_no_conversation(self) -> None:
        self.assertEqual(encode(methods.FriendItem(5, "bob")), b'{"user":5,"name":"bob"}')
        friend = methods.FriendItem(5, "bob", "accepted", 7)
        self.assertEqual(encode(friend), b'{"user":5,"name":"bob","state":"accepted","conv":7}')

    def test_results_come_back(self) -> None:
        for result in [
            methods.LoggedIn(UserRef(1, "a"), 2, "t"),
            methods.Account(1, "a", 2, 3, "A"),
            methods.Devices([methods.DeviceItem(1, "phone", 2, 3, True)]),
            methods.UserItem(1, "a"),
            methods.Friends(4, [methods.FriendItem(5, "b", UNSET, 7, "B", "hi")]),
            methods.Nothing(),
        ]:
            self.assertEqual(msgspec.json.decode(encode(result), type=type(result)), result)

    def test_every_method_has_a_result_and_a_sentence_about_it(self) -> None:
        for method in METHODS.values():
            self.assertTrue(issubclass(method.result, methods.Data | methods.Nothing))
            self.assertTrue(method.doc.endswith("."))
