"""What every ``FriendStorage`` has to do."""

from __future__ import annotations

from imd import friendship
from imd.errors import Code, Refusal
from imd.friendship import STRANGERS, Pair
from imd.interfaces.storage import FriendshipResult, Storage
from imd.model import Friend, FriendState, User
from tests.contracts.storage_parts import (
    ALICE,
    BOB,
    CAROL,
    DAVE,
    HIGHEST,
    NOW,
    STRANGER,
    accounts,
    append,
    join,
    name_of,
    new,
    pair,
    phone,
    refused,
    say,
    shown,
    text,
    together,
)

ACCEPTED, BLOCKED, PENDING, REQUESTED = (
    FriendState.ACCEPTED,
    FriendState.BLOCKED,
    FriendState.PENDING,
    FriendState.REQUESTED,
)

#: Who says what, one after the other.
Story = tuple[tuple[bool, str], ...]


def stories() -> dict[Pair, Story]:
    """For every pair that two people can get to, a shortest story that leads there."""
    found: dict[Pair, Story] = {STRANGERS: ()}
    waiting = [STRANGERS]
    for before in waiting:
        for mine in True, False:
            for verb in friendship.VERBS:
                after = _after(verb, before, mine)
                if after is not None and after not in found:
                    found[after] = (*found[before], (mine, verb))
                    waiting.append(after)
    return found


def _after(verb: str, pair: Pair, mine: bool = True) -> Pair | None:
    """The pair after one of the two said a verb; None if that is refused."""
    try:
        if mine:
            return friendship.apply(verb, pair)
        return friendship.flip(friendship.apply(verb, friendship.flip(pair)))
    except Refusal:
        return None


async def entry(storage: Storage, user: int, peer: int) -> Friend | None:
    """What a user's friend list says of another."""
    _, friends = await storage.friends(user)
    return next((friend for friend in friends if friend.user.id == peer), None)


async def state(storage: Storage, user: int, peer: int) -> FriendState | None:
    """As ``entry``, the state alone."""
    found = await entry(storage, user, peer)
    return None if found is None else found.state


async def version(storage: Storage, user: int) -> int:
    """The version of a friend list, which is also in the account."""
    number, _ = await storage.friends(user)
    found = await storage.find_user(user)
    assert found is not None
    assert found.roster == number
    return number


class VerbsContract:
    """Every verb in every situation."""

    async def test_every_verb_does_in_every_situation_what_friendship_says(
        self, storage: Storage
    ) -> None:
        place = 100
        for before, story in stories().items():
            for verb in friendship.VERBS:
                me, peer = place, place + 1
                place += 10
                await accounts(storage, me, peer)
                for mine, said in story:
                    user, other = (me, peer) if mine else (peer, me)
                    await say(storage, user, said, other, conversation=me)
                await _check(storage, me, peer, verb, before)

    async def test_conversation_is_made_once_and_opened_and_closed(self, storage: Storage) -> None:
        await accounts(storage, ALICE, BOB)
        asked = await say(storage, ALICE, "add", BOB, 7)
        assert (asked.conversation, asked.opened) == (None, False)
        accepted = await say(storage, BOB, "accept", ALICE, 8)
        assert (accepted.conversation, accepted.opened) == (8, True)
        again = await say(storage, BOB, "accept", ALICE, 9)
        assert (again.conversation, again.opened) == (8, False)
        removed = await say(storage, ALICE, "remove", BOB, 9)
        assert (removed.conversation, removed.opened) == (8, False)
        asked = await say(storage, BOB, "add", ALICE, 9)
        assert (asked.conversation, asked.mine.conversation, asked.opened) == (8, 8, False)
        accepted = await say(storage, ALICE, "add", BOB, 9)
        assert (accepted.conversation, accepted.opened) == (8, True)
        for user in (ALICE, BOB):
            await phone(storage, user)
        assert await append(storage, text(8, BOB, 1), text(8, ALICE, 1)) == [new(1), new(2)]

    async def test_requests_that_cross_make_friends(self, storage: Storage) -> None:
        await accounts(storage, ALICE, BOB)
        await say(storage, ALICE, "add", BOB, 7)
        result = await say(storage, BOB, "add", ALICE, 8)
        assert (result.mine.state, result.theirs.state) == (ACCEPTED, ACCEPTED)
        assert (result.changed, result.noticed, result.opened) == (True, True, True)

    async def test_requests_at_the_same_time_make_friends_with_one_conversation(
        self, storage: Storage
    ) -> None:
        pairs = [(low, low + 1) for low in range(100, 140, 2)]
        for both in pairs:
            await accounts(storage, *both)
        calls = []
        for low, high in pairs:
            calls += [say(storage, low, "add", high, low), say(storage, high, "add", low, high)]
        results = await together(*calls)
        assert sum(result.opened for result in results) == len(pairs)
        for low, high in pairs:
            mine, theirs = await entry(storage, low, high), await entry(storage, high, low)
            assert mine is not None
            assert theirs is not None
            assert (mine.state, theirs.state) == (ACCEPTED, ACCEPTED)
            assert mine.conversation == theirs.conversation
            assert mine.conversation in (low, high)

    async def test_nobody_befriends_himself_or_somebody_unknown(self, storage: Storage) -> None:
        await accounts(storage, ALICE)
        for verb in friendship.VERBS:
            await refused(Code.BAD_REQUEST, say(storage, ALICE, verb, ALICE))
            await refused(Code.NOT_FOUND, say(storage, ALICE, verb, STRANGER))
            await refused(Code.NOT_FOUND, say(storage, STRANGER, verb, ALICE))
        assert await storage.friends(ALICE) == (0, ())

    async def test_verbs_said_again_change_nothing_more(self, storage: Storage) -> None:
        place = 100
        for story in stories().values():
            me, peer = place, place + 1
            place += 10
            await accounts(storage, me, peer)
            for mine, verb in story:
                user, other = (me, peer) if mine else (peer, me)
                await say(storage, user, verb, other, me)
                lists = [await storage.friends(who) for who in (me, peer)]
                if verb in ("decline", "remove", "unblock"):
                    # There is nothing left to act upon.
                    await refused(Code.NOT_FOUND, say(storage, user, verb, other, me))
                else:
                    again = await say(storage, user, verb, other, me)
                    assert (again.changed, again.noticed, again.opened) == (False, False, False)
                assert [await storage.friends(who) for who in (me, peer)] == lists


async def _check(storage: Storage, me: int, peer: int, verb: str, before: Pair) -> None:
    """Say a verb, and compare everything with what ``imd.friendship`` says."""
    after = _after(verb, before)
    lists = [await storage.friends(user) for user in (me, peer)]
    versions = [await version(storage, user) for user in (me, peer)]
    if after is None:
        try:
            friendship.apply(verb, before)
        except Refusal as refusal:
            await refused(refusal.code, say(storage, me, verb, peer, me))
        assert [await storage.friends(user) for user in (me, peer)] == lists
        return
    result = await say(storage, me, verb, peer, me)
    where = f"{verb} at {before}"
    assert (result.changed, result.opened) == (after != before, after.open > before.open), where
    views = [(friendship.view(p), friendship.view(friendship.flip(p))) for p in (before, after)]
    assert result.noticed == (views[0][1] != views[1][1]), where
    assert await state(storage, me, peer) is views[1][0], where
    assert await state(storage, peer, me) is views[1][1], where
    await same(storage, result, me, peer)
    for old, now, *seen in zip(
        versions, [await version(storage, user) for user in (me, peer)], *views, strict=True
    ):
        assert (now > old) == (seen[0] != seen[1]), where


async def same(storage: Storage, result: FriendshipResult, me: int, peer: int) -> None:
    """Both views of a result are what the lists say."""
    assert shown(result.mine) == shown(await entry(storage, me, peer))
    assert shown(result.theirs) == shown(await entry(storage, peer, me))


class FriendListContract:
    """Friend lists, and what they do not tell."""

    async def test_list_has_everybody_by_name(self, storage: Storage) -> None:
        names = {BOB: "b_b", CAROL: "b.b", DAVE: "b-b", 5: "ba", 6: "b", 7: "b1"}
        await accounts(storage, ALICE)
        for user, name in names.items():
            await storage.create_user(user, name, "hash", NOW)
            await say(storage, ALICE, "add", user)
        await say(storage, BOB, "accept", ALICE, 70)
        await say(storage, ALICE, "block", CAROL)
        await say(storage, ALICE, "remove", DAVE)
        await say(storage, DAVE, "add", ALICE)
        _, friends = await storage.friends(ALICE)
        assert [(f.user.name, f.state, f.conversation) for f in friends] == [
            ("b", REQUESTED, None),
            ("b-b", PENDING, None),
            ("b.b", BLOCKED, None),
            ("b1", REQUESTED, None),
            ("b_b", ACCEPTED, 70),
            ("ba", REQUESTED, None),
        ]

    async def test_list_shows_friends_as_they_are_now(self, storage: Storage) -> None:
        c = await pair(storage)
        await storage.set_display(BOB, "Bob Ö.")
        await storage.set_disabled(BOB, True)
        friend = await entry(storage, ALICE, BOB)
        user = User(BOB, name_of(BOB), "Bob Ö.", True)
        assert shown(friend) == Friend(user, ACCEPTED, c)

    async def test_another_display_name_raises_the_version_of_lists_that_show_it(
        self, storage: Storage
    ) -> None:
        await pair(storage)
        await accounts(storage, DAVE)
        await say(storage, ALICE, "add", CAROL)
        before = {user: (await storage.friends(user))[0] for user in (ALICE, BOB, CAROL, DAVE)}
        await storage.set_display(ALICE, "Alice Ö.")
        after = {user: (await storage.friends(user))[0] for user in (ALICE, BOB, CAROL, DAVE)}
        grown = {user for user in before if after[user] > before[user]}
        assert grown == {BOB, CAROL}

    async def test_list_of_nobody_is_empty(self, storage: Storage) -> None:
        await accounts(storage, ALICE)
        assert await storage.friends(ALICE) == (0, ())
        assert await storage.friends(STRANGER) == (0, ())

    async def test_note_is_shown_to_the_one_who_was_asked_while_the_request_waits(
        self, storage: Storage
    ) -> None:
        await accounts(storage, ALICE, BOB)
        note = "Grüße '\"%s{}\\ \U0001f600" + "x" * 170
        result = await say(storage, ALICE, "add", BOB, note=note)
        assert (result.mine.note, result.theirs.note) == ("", note)
        await same(storage, result, ALICE, BOB)
        result = await say(storage, BOB, "accept", ALICE, 7)
        assert (result.mine.note, result.theirs.note) == ("", "")
        await same(storage, result, BOB, ALICE)

    async def test_request_that_waits_keeps_its_first_note(self, storage: Storage) -> None:
        await accounts(storage, ALICE, BOB)
        await say(storage, ALICE, "add", BOB, note="first")
        result = await say(storage, ALICE, "add", BOB, note="second")
        assert (result.changed, result.theirs.note) == (False, "first")
        await same(storage, result, ALICE, BOB)

    async def test_request_after_a_removal_has_a_note_of_its_own(self, storage: Storage) -> None:
        await accounts(storage, ALICE, BOB)
        await say(storage, ALICE, "add", BOB, note="first")
        await say(storage, ALICE, "remove", BOB)
        assert await entry(storage, BOB, ALICE) is None
        result = await say(storage, ALICE, "add", BOB)
        assert result.theirs.note == ""
        await same(storage, result, ALICE, BOB)

    async def test_block_looks_like_a_removal_to_the_blocked(self, storage: Storage) -> None:
        await pair(storage)
        removed = await say(storage, ALICE, "block", BOB)
        assert (removed.mine.state, removed.theirs) == (BLOCKED, None)
        before = await version(storage, ALICE)
        asked = await say(storage, BOB, "add", ALICE, note="please")
        assert (asked.mine.state, asked.noticed, asked.opened) == (REQUESTED, False, False)
        assert (asked.theirs.state, asked.theirs.note) == (BLOCKED, "")
        assert await version(storage, ALICE) == before
        await refused(Code.NOT_FOUND, say(storage, BOB, "accept", ALICE))
        await refused(Code.CONFLICT, say(storage, ALICE, "add", BOB))

    async def test_request_made_during_a_block_appears_with_its_note_after_it(
        self, storage: Storage
    ) -> None:
        await accounts(storage, ALICE, BOB)
        await say(storage, ALICE, "block", BOB)
        await say(storage, BOB, "add", ALICE, note="please")
        result = await say(storage, ALICE, "unblock", BOB)
        assert (result.mine.state, result.mine.note, result.noticed) == (PENDING, "please", False)
        await same(storage, result, ALICE, BOB)
        result = await say(storage, ALICE, "accept", BOB, HIGHEST)
        assert (result.opened, result.conversation) == (True, HIGHEST)

    async def test_both_may_block_and_neither_learns_of_it(self, storage: Storage) -> None:
        c = await pair(storage)
        await say(storage, ALICE, "block", BOB)
        result = await say(storage, BOB, "block", ALICE)
        assert (result.noticed, result.mine.state) == (False, BLOCKED)
        result = await say(storage, ALICE, "unblock", BOB)
        assert (result.mine, result.noticed) == (None, False)
        result = await say(storage, ALICE, "add", BOB)
        assert (result.mine.state, result.noticed) == (REQUESTED, False)
        await say(storage, BOB, "unblock", ALICE)
        assert await state(storage, BOB, ALICE) is PENDING
        assert await join(storage, BOB, ALICE, 99) == c

    async def test_block_of_a_stranger_is_seen_by_nobody_else(self, storage: Storage) -> None:
        await accounts(storage, ALICE, BOB)
        result = await say(storage, ALICE, "block", BOB)
        assert (result.changed, result.noticed, result.theirs) == (True, False, None)
        assert await storage.friends(BOB) == (0, ())
        assert (await storage.heads(ALICE)).items == ()
