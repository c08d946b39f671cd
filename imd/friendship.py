"""What the friend verbs of protocol §7 do, as a function of what each side has said so far.

A friendship is two directed words: what I said about them and what they said about me.
Each word is ``None``, ``requested``, ``accepted`` or ``blocked``; ``accepted`` always
stands on both sides.  All else follows: they asked me (``pending``) when their word is
``requested`` and mine is none.  A block is never shown to the blocked: it looks like a
removal, and later requests look like requests that nobody answers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from imd.errors import Code, Refusal
from imd.model import FriendState

Word = FriendState | None

REQUESTED, ACCEPTED, BLOCKED = FriendState.REQUESTED, FriendState.ACCEPTED, FriendState.BLOCKED


class Pair(NamedTuple):
    """What I said of them, and they of me."""

    mine: Word
    theirs: Word

    @property
    def open(self) -> bool:
        """Whether messages may be sent: only between accepted friends."""
        return self.mine is ACCEPTED and self.theirs is ACCEPTED


STRANGERS = Pair(None, None)
FRIENDS = Pair(ACCEPTED, ACCEPTED)


def view(pair: Pair) -> FriendState | None:
    """The state in my friend list, or None if they are not in it."""
    if pair.mine is None and pair.theirs is REQUESTED:
        return FriendState.PENDING
    return pair.mine


def flip(pair: Pair) -> Pair:
    """The same pair from the other side."""
    return Pair(pair.theirs, pair.mine)


def apply(verb: str, pair: Pair) -> Pair:
    """The pair after I said ``verb`` (a method name of protocol §7 without ``friend.``).

    Raises ``Refusal``: ``not_found`` where there is nothing to act upon, ``conflict`` where
    my own block stands in the way.
    """
    return VERBS[verb](pair)


def _add(pair: Pair) -> Pair:
    if pair.mine is BLOCKED:
        raise Refusal(Code.CONFLICT, "you have blocked this user; call friend.unblock first")
    if pair.mine is None and pair.theirs is REQUESTED:
        return FRIENDS
    return pair if pair.open else Pair(REQUESTED, pair.theirs)


def _accept(pair: Pair) -> Pair:
    if pair.open:
        return pair
    if view(pair) is not FriendState.PENDING:
        raise Refusal(Code.NOT_FOUND, "this user has not asked you; call friend.add to ask")
    return FRIENDS


def _decline(pair: Pair) -> Pair:
    if view(pair) is not FriendState.PENDING:
        raise Refusal(Code.NOT_FOUND, "there is no request of this user to decline")
    return STRANGERS


def _remove(pair: Pair) -> Pair:
    if pair.open:
        return STRANGERS
    if pair.mine is not REQUESTED:
        raise Refusal(Code.NOT_FOUND, "this user is not in your friend list")
    return Pair(None, pair.theirs)


def _block(pair: Pair) -> Pair:
    return Pair(BLOCKED, pair.theirs if pair.theirs is BLOCKED else None)


def _unblock(pair: Pair) -> Pair:
    if pair.mine is not BLOCKED:
        raise Refusal(Code.NOT_FOUND, "you have not blocked this user")
    return Pair(None, pair.theirs)


#: One function a verb.
VERBS: dict[str, Callable[[Pair], Pair]] = {
    "add": _add,
    "accept": _accept,
    "decline": _decline,
    "remove": _remove,
    "block": _block,
    "unblock": _unblock,
}
