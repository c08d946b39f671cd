"""The friend methods, and who hears of what they change."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from imd.errors import Code
from imd.limits import Limits
from tests.application import Application, Client, Frame


class FriendsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.make()

    def make(self, **limits: Any) -> None:
        self.app = Application(self, Limits(**limits))
        self.alice, self.bob, self.mallory = map(self.app.login, ("alice", "bob", "mallory"))
        self.everyone = (self.alice, self.bob, self.mallory)

    def events(self, client: Client) -> list[tuple[str, Frame]]:
        return [(f["name"], f["data"]) for f in client.take("event")]

    def quiet(self) -> None:
        for client in self.everyone:
            client.take()

    def states(self, client: Client) -> dict[str, str]:
        items = client.call("friend.list")["data"]["items"]
        return {item["name"]: item["state"] for item in items}

    def who(self, client: Client) -> Frame:
        user = client.welcome["user"]
        return {"user": user["id"], "name": user["name"]}

    def test_a_request_is_told_to_the_one_who_is_asked_with_its_note(self) -> None:
        answer = self.alice.call("friend.add", user="Bob", note="  it is me ")
        self.assertEqual(answer["data"], self.who(self.bob) | {"state": "requested"})
        asked = self.who(self.alice) | {"note": "it is me"}
        self.assertEqual(self.events(self.bob), [("friend.requested", asked)])
        self.assertEqual(self.events(self.mallory), [])
        self.assertEqual(self.states(self.alice), {"bob": "requested"})
        self.assertEqual(self.states(self.bob), {"alice": "pending"})

    def test_a_request_twice_is_told_once(self) -> None:
        for _ in range(2):
            self.alice.call("friend.add", user="bob")
        self.assertEqual(len(self.events(self.bob)), 1)

    def test_both_hear_of_an_acceptance_on_all_devices_and_get_the_conversation(self) -> None:
        tablet = self.app.login("alice", register=False)
        self.alice.call("friend.add", user="bob")
        self.quiet()
        answer = self.bob.call("friend.accept", user="alice")
        conversation = answer["data"]["conv"]
        poke = {"type": "head", "conv": conversation, "last": 0}
        for client in (self.alice, tablet):
            frames = client.take()
            data = self.who(self.bob) | {"conv": conversation}
            self.assertIn({"type": "event", "name": "friend.accepted", "data": data}, frames)
            self.assertIn(poke, frames)
        self.assertEqual(self.events(self.mallory), [])

    def test_crossing_requests_make_friends(self) -> None:
        self.alice.call("friend.add", user="bob")
        self.quiet()
        answer = self.bob.call("friend.add", user="alice")
        self.assertEqual(answer["data"]["state"], "accepted")
        self.assertEqual([name for name, _ in self.events(self.alice)], ["friend.accepted"])

    def test_removal_is_told_to_both(self) -> None:
        self.app.befriend(self.alice, self.bob)
        self.quiet()
        params = {"user": "bob"}
        self.alice.say({"type": "call", "req": 1, "method": "friend.remove", "params": params})
        self.assertEqual(self.events(self.alice), [("friend.removed", self.who(self.bob))])
        self.assertEqual(self.events(self.bob), [("friend.removed", self.who(self.alice))])
        self.assertEqual(self.events(self.mallory), [])
        self.assertEqual((self.states(self.alice), self.states(self.bob)), ({}, {}))

    def test_another_display_name_is_told_to_friends_and_to_nobody_else(self) -> None:
        self.app.befriend(self.alice, self.bob)
        self.mallory.call("friend.add", user="alice")
        self.quiet()
        self.alice.call("account.update", display="Alice of the Library")
        self.assertEqual(self.events(self.bob), [("friend.changed", self.who(self.alice))])
        self.assertEqual(self.events(self.alice) + self.events(self.mallory), [])
        answer = self.bob.call("friend.list")
        self.assertEqual([f["display"] for f in answer["data"]["items"]], ["Alice of the Library"])

    def test_a_declined_or_withdrawn_request_is_gone_on_both_sides(self) -> None:
        for verb, who, user in (("decline", self.bob, "alice"), ("remove", self.alice, "bob")):
            self.alice.call("friend.add", user="bob")
            self.quiet()
            who.call(f"friend.{verb}", user=user)
            other = self.alice if who is self.bob else self.bob
            self.assertEqual([name for name, _ in self.events(other)], ["friend.removed"])
            self.assertEqual((self.states(self.alice), self.states(self.bob)), ({}, {}))

    def test_a_blocked_friend_sees_a_removal_and_nothing_else_from_then_on(self) -> None:
        self.app.befriend(self.alice, self.bob)
        self.quiet()
        answer = self.alice.call("friend.block", user="bob")
        self.assertEqual(answer["data"]["state"], "blocked")
        self.assertEqual(self.events(self.bob), [("friend.removed", self.who(self.alice))])
        self.assertEqual((self.states(self.alice), self.states(self.bob)), ({"bob": "blocked"}, {}))
        self.alice.call("friend.unblock", user="bob")
        self.alice.call("friend.block", user="bob")
        self.assertEqual(self.events(self.bob), [])

    def test_a_request_that_a_block_had_hidden_shows_when_the_block_is_lifted(self) -> None:
        self.alice.call("friend.block", user="bob")
        self.bob.call("friend.add", user="alice", note="hi")
        self.quiet()
        params = {"user": "bob"}
        self.alice.say({"type": "call", "req": 9, "method": "friend.unblock", "params": params})
        expected = [("friend.requested", self.who(self.bob) | {"note": "hi"})]
        self.assertEqual(self.events(self.alice), expected)
        self.assertEqual(self.events(self.bob), [])
        self.assertEqual(self.states(self.alice), {"bob": "pending"})

    def test_who_is_blocked_cannot_tell_from_the_answers_to_a_request(self) -> None:
        self.alice.call("friend.block", user="bob")
        self.quiet()
        to_alice = self.bob.call("friend.add", user="alice")
        to_mallory = self.bob.call("friend.add", user="mallory")
        self.assertEqual(to_alice["data"]["state"], to_mallory["data"]["state"])
        self.assertEqual(set(to_alice["data"]), set(to_mallory["data"]))
        self.assertEqual(self.events(self.alice), [])
        self.assertEqual(self.states(self.alice), {"bob": "blocked"})
        self.assertEqual(self.states(self.bob), {"alice": "requested", "mallory": "requested"})

    def test_a_stranger_who_is_blocked_hears_nothing(self) -> None:
        self.alice.call("friend.block", user="bob")
        self.assertEqual(self.events(self.bob), [])
        self.assertEqual(self.states(self.bob), {})

    def test_what_changes_nothing_is_told_to_nobody(self) -> None:
        self.app.befriend(self.alice, self.bob)
        self.quiet()
        self.alice.call("friend.add", user="bob")
        self.alice.call("friend.accept", user="bob")
        self.assertEqual(self.events(self.bob), [])

    def test_an_answer_without_an_entry_still_says_who_it_was(self) -> None:
        self.bob.call("account.update", display="Bob B.")
        self.alice.call("friend.add", user="bob")
        answer = self.alice.call("friend.remove", user="bob")
        self.assertEqual(answer["data"], self.who(self.bob) | {"display": "Bob B."})

    def test_verbs_that_do_not_fit_and_unknown_users_are_refused(self) -> None:
        for verb, user, code in (
            ("accept", "bob", Code.NOT_FOUND),
            ("decline", "bob", Code.NOT_FOUND),
            ("remove", "bob", Code.NOT_FOUND),
            ("unblock", "bob", Code.NOT_FOUND),
            ("add", "nobody", Code.NOT_FOUND),
            ("add", 12345, Code.NOT_FOUND),
            ("add", "alice", Code.BAD_REQUEST),
        ):
            answer = self.alice.call(f"friend.{verb}", user=user)
            self.assertEqual(answer["code"], code, (verb, user))
        note = self.alice.call("friend.add", user="bob", note="a\u202eb")
        self.assertEqual(note["code"], Code.BAD_REQUEST)
        self.assertEqual(self.events(self.bob), [])

    def test_the_list_has_a_version_that_grows_with_it(self) -> None:
        before = self.alice.call("friend.list")["data"]["version"]
        self.bob.call("friend.add", user="alice")
        after = self.alice.call("friend.list")["data"]["version"]
        self.assertGreater(after, before)
        again = self.app.resume(self.alice.welcome["token"])
        self.assertEqual(again.take("welcome")[0]["roster"], after)

    def test_requests_by_one_user_are_limited_whatever_becomes_of_them(self) -> None:
        self.make(friend_requests_per_hour=2)
        self.alice.call("friend.add", user="nobody")
        self.alice.call("friend.add", user="bob")
        refused = self.alice.call("friend.add", user="mallory")
        self.assertEqual(refused["code"], Code.LIMIT)
        self.assertEqual(self.events(self.mallory), [])
        self.assertEqual(self.bob.call("friend.accept", user="alice")["type"], "result")
        self.assertEqual(self.bob.call("friend.add", user="mallory")["type"], "result")
        self.app.clock.advance(1800)
        self.assertEqual(self.alice.call("friend.add", user="mallory")["type"], "result")

    def test_the_token_of_a_change_is_covered_once_its_pushes_are_out(self) -> None:
        conversation = self.app.befriend(self.alice, self.bob)
        self.alice.say({"type": "ping", "n": 1})
        (pong,) = self.alice.take("pong")
        self.alice.say({"type": "sync", "req": 3, "since": pong["since"]})
        self.assertEqual(self.alice.take("heads")[0]["items"], [])
        self.alice.say({"type": "sync", "req": 4})
        self.assertEqual(self.alice.take("heads")[0]["items"][0]["conv"], conversation)
