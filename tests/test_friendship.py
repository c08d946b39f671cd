"""What the friend verbs do: every verb over every pair, and what nobody can bring about."""

from __future__ import annotations

from itertools import product

from twisted.trial.unittest import SynchronousTestCase

from imd.errors import Code, Refusal
from imd.friendship import FRIENDS, STRANGERS, VERBS, Pair, Word, apply, flip, view
from imd.model import FriendState

#: The words, by the letters in the table below.
LETTERS: dict[str, Word] = {
    "-": None,
    "r": FriendState.REQUESTED,
    "a": FriendState.ACCEPTED,
    "b": FriendState.BLOCKED,
}
#: What each verb makes of the pair (mine, theirs) at the head of its row;
#: ``?`` is not_found, ``!`` is conflict.
TABLE = """
pair add accept decline remove block unblock
--   r-  ?      ?       ?      b-    ?
-r   aa  aa     --      ?      b-    ?
-b   rb  ?      ?       ?      bb    ?
r-   r-  ?      ?       --     b-    ?
rb   rb  ?      ?       -b     bb    ?
aa   aa  aa     ?       --     b-    ?
b-   !   ?      ?       ?      b-    --
br   !   ?      ?       ?      b-    -r
bb   !   ?      ?       ?      bb    -b
"""
HEAD, *ROWS = [line.split() for line in TABLE.strip().splitlines()]


def pair(text: str) -> Pair:
    return Pair(LETTERS[text[0]], LETTERS[text[1]])


def said(verb: str, before: Pair) -> Pair | Code:
    """What comes of a verb: the pair after it, or the code of its refusal."""
    try:
        return apply(verb, before)
    except Refusal as refusal:
        return refusal.code


def reachable() -> set[Pair]:
    """All pairs that any sequence of verbs of both sides can lead to."""
    found, fresh = {STRANGERS}, [STRANGERS]
    while fresh:
        here = fresh.pop()
        nexts = [said(verb, here) for verb in VERBS]
        nexts += [flip(p) for verb in VERBS if isinstance(p := said(verb, flip(here)), Pair)]
        for there in nexts:
            if isinstance(there, Pair) and there not in found:
                found.add(there)
                fresh.append(there)
    return found


class VerbTests(SynchronousTestCase):
    """The table, and pairs that are in no table."""

    def test_every_verb_does_to_every_pair_what_the_table_says(self) -> None:
        self.assertEqual(set(HEAD[1:]), set(VERBS))
        marks = {"?": Code.NOT_FOUND, "!": Code.CONFLICT}
        for before, *cells in ROWS:
            for verb, cell in zip(HEAD[1:], cells, strict=True):
                expected = marks[cell] if cell in marks else pair(cell)
                self.assertEqual(said(verb, pair(before)), expected, f"{verb} over {before}")

    def test_the_table_has_every_pair_that_can_come_about(self) -> None:
        self.assertEqual({pair(row[0]) for row in ROWS}, reachable())

    def test_no_verb_makes_a_pair_that_is_not_in_the_table(self) -> None:
        known = reachable()
        for verb, here in product(VERBS, known):
            after = said(verb, here)
            if isinstance(after, Pair):
                self.assertIn(after, known)

    def test_repeating_a_verb_that_worked_changes_nothing_more(self) -> None:
        for verb, here in product(VERBS, reachable()):
            once = said(verb, here)
            if isinstance(once, Pair):
                again = said(verb, once)
                self.assertIn(again, (once, Code.NOT_FOUND), f"{verb} over {here}")

    def test_a_refusal_says_what_to_do(self) -> None:
        for verb, here, hint in [("add", "b-", "friend.unblock"), ("accept", "--", "friend.add")]:
            with self.assertRaises(Refusal) as caught:
                apply(verb, pair(here))
            self.assertIn(hint, caught.exception.message)


class InvariantTests(SynchronousTestCase):
    """What holds whatever both sides say."""

    def test_accepted_stands_on_both_sides_or_on_none(self) -> None:
        for mine, theirs in reachable():
            self.assertEqual(mine is FriendState.ACCEPTED, theirs is FriendState.ACCEPTED)

    def test_only_friends_may_send_and_both_may(self) -> None:
        for here in map(Pair._make, product(LETTERS.values(), repeat=2)):
            self.assertEqual(here.open, here == FRIENDS)
            self.assertEqual(here.open, flip(here).open)

    def test_nobody_becomes_a_friend_without_having_said_so(self) -> None:
        for verb, here in product(VERBS, reachable()):
            if said(verb, here) == FRIENDS:
                self.assertIn(verb, ("add", "accept"))
                self.assertIn(here, (FRIENDS, pair("-r")))

    def test_nobody_says_a_blocked_for_the_other(self) -> None:
        for verb, here in product(VERBS, reachable()):
            after = said(verb, here)
            if isinstance(after, Pair):
                blocked = FriendState.BLOCKED
                self.assertEqual(after.theirs is blocked, here.theirs is blocked)

    def test_a_block_looks_to_the_blocked_like_nothing(self) -> None:
        for verb, mine in product(VERBS, [word for word in LETTERS if word != "a"]):
            blocked, stranger = pair(mine + "b"), pair(mine + "-")
            self.assertEqual(view(blocked), view(stranger))
            seen, plain = said(verb, blocked), said(verb, stranger)
            if isinstance(seen, Pair) and isinstance(plain, Pair):
                seen, plain = Pair(seen.mine, None), Pair(plain.mine, None)
            self.assertEqual(seen, plain, f"{verb} tells {mine} of the block")

    def test_being_blocked_looks_like_being_removed_or_declined(self) -> None:
        for here, verb in [("aa", "remove"), ("-r", "decline")]:
            blocked = flip(apply("block", pair(here)))
            self.assertEqual(view(blocked), view(flip(apply(verb, pair(here)))))

    def test_a_request_to_who_blocked_me_is_pending_once_the_block_is_lifted(self) -> None:
        blocked = apply("block", STRANGERS)
        asked = flip(apply("add", flip(blocked)))
        self.assertEqual(view(asked), FriendState.BLOCKED)
        self.assertEqual(view(apply("unblock", asked)), FriendState.PENDING)


class ViewTests(SynchronousTestCase):
    """What stands in a friend list."""

    def test_every_pair_has_one_view(self) -> None:
        views = {"--": None, "-r": "pending", "-b": None, "r-": "requested", "rb": "requested"}
        views |= {"aa": "accepted", "b-": "blocked", "br": "blocked", "bb": "blocked"}
        self.assertEqual({row[0]: view(pair(row[0])) for row in ROWS}, views)

    def test_crossing_requests_make_friends(self) -> None:
        asked = apply("add", STRANGERS)
        self.assertEqual(apply("add", flip(asked)), FRIENDS)

    def test_both_sides_see_the_same_request(self) -> None:
        asked = apply("add", STRANGERS)
        self.assertEqual((view(asked), view(flip(asked))), ("requested", "pending"))
