"""What other nodes have committed."""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from imd.model import CursorChange


class FeedHead(Struct, frozen=True):
    """A conversation that has messages up to ``last``, or was opened or closed."""

    conversation: int
    last: int
    members: tuple[int, ...]


class FeedPage(Struct, frozen=True):
    """What was committed after a token; the newest of each kind, and some of it twice.

    ``token`` covers all of it, and what ``rest`` leads to: where more was committed than a page
    may hold, that is what to ask for next.  ``complete`` is false when what was asked for is
    older than what is kept: nobody can tell then what was missed.
    """

    heads: tuple[FeedHead, ...]
    cursors: tuple[CursorChange, ...]
    #: Users whose friend list, devices or account changed.
    accounts: tuple[int, ...]
    token: str
    complete: bool = True
    rest: str | None = None


class Feed(Protocol):
    """Storage that several nodes write to: what the others have committed.

    Written in the same transaction as the change itself, so that a change without its
    entry does not exist.
    """

    async def feed(self, since: str | None) -> FeedPage:
        """The first of what was committed after ``since``, and perhaps some of what came before.

        ``since`` is a token, or the ``rest`` of a page.  Without it there is nothing but a token
        to begin with.
        """

    async def purge(self) -> None:
        """Forget entries that are older than ten minutes."""
