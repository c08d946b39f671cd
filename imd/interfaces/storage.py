"""The durable state: messages, accounts, friends and what is known of files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from imd.model import (
    Appended,
    Cursor,
    CursorChange,
    Device,
    Erased,
    Expired,
    File,
    Friend,
    HeadPage,
    History,
    Identity,
    NewMessage,
    Place,
    User,
)


class AppendResult(Struct, frozen=True):
    """What a commit did, in batch order.

    ``token`` covers this commit and all before it; None where other nodes commit as well, so
    that only a ``Feed`` can tell what is covered.
    """

    decisions: tuple[Appended, ...]
    token: str | None


class AdvanceResult(Struct, frozen=True):
    """The cursors that really grew; ``token`` as in ``AppendResult``."""

    changes: tuple[CursorChange, ...]
    token: str | None


class FriendshipResult(Struct, frozen=True):
    """Both views of a friendship after a change.  ``None``: no longer in that user's list.

    ``changed`` is false when the request found everything as it asked; ``noticed`` says that
    the other side's list changed.
    ``opened`` says that sending in ``conversation`` became possible by this change.
    """

    changed: bool
    noticed: bool
    mine: Friend | None
    theirs: Friend | None
    conversation: int | None
    opened: bool
    token: str | None


class MessageStorage(Protocol):
    """The log: conversations, messages, cursors.  Everything returned is committed and durable."""

    async def append(self, batch: Sequence[NewMessage], at: int) -> AppendResult:
        """Commit a batch in one transaction; see storage rules in ``docs/design.rst``.

        Per conversation the new messages get the next contiguous seqs in batch order.
        A message whose (conversation, sender, id) is stored already, or stands earlier in
        the batch, is DUPLICATE with the first seq and time if kind and body are equal,
        else CONFLICT.  Who is not a member, or has no open friendship, gets FORBIDDEN,
        also for an id that is stored (nothing is revealed) unless it is a member's own.
        What is not stored yet and came by a session older than the newest of its device is
        REPLACED and never stored: the newer one may have been told that it was refused.
        That of a device which does not exist (any more) is REVOKED and never stored.
        ``at`` is the time of all new messages.
        """

    async def advance(self, cursors: Sequence[Cursor], at: int) -> AdvanceResult:
        """Merge cursors by maximum, in one transaction.

        ``read`` carries ``delivered`` with it.  A cursor above the last seq, of no member
        or that grows nothing is ignored; several for one (conversation, user) are merged.
        """

    async def history(
        self,
        user: int,
        conversation: int,
        *,
        after: int | None = None,
        before: int | None = None,
        limit: int,
        max_bytes: int,
    ) -> History:
        """Read a run of the log as one member: the first ``limit`` messages above ``after``,
        or the last ``limit`` below ``before`` (neither: the newest), ascending.

        At most ``max_bytes`` of bodies, but always one message if there is one; what does
        not fit is cut off at the far end (``more``).  Raises ``Refusal(NOT_FOUND)`` for a
        conversation that does not exist or the user is no member of.
        """

    async def heads(
        self,
        user: int,
        *,
        since: str | None = None,
        after: int = 0,
        limit: int = 200,
        only: Sequence[int] | None = None,
    ) -> HeadPage:
        """Heads of the user's conversations with id > ``after``, ascending by id.

        With ``since`` only those changed after that token; a token of another epoch, or one
        that cannot be read, counts as none.  ``only`` restricts to the named conversations.
        Conversations of former friends are included: history stays readable.
        """

    async def epoch(self) -> str:
        """The epoch of the log; a new one means that rows may be gone (protocol §5 R6)."""


class AccountStorage(Protocol):
    """Accounts and devices."""

    async def create_user(self, user: int, name: str, password: str, at: int) -> User:
        """Create an account; ``password`` is already a hash.  Raises ``Refusal(EXISTS)``."""

    async def find_user(self, who: int | str) -> User | None:
        """Find an account by id or by exact login name."""

    async def password_of(self, name: str) -> tuple[User, str] | None:
        """The account of that name with its password hash."""

    async def set_password(
        self, user: int, password: str, keep_device: int | None, *, verified: str
    ) -> tuple[int, ...]:
        """Replace the hash and delete all devices but ``keep_device``; returns the deleted ones.

        ``verified`` is the hash that somebody's password was checked against.  Here and below,
        ``Refusal(UNAUTHORIZED)`` is raised when it is the stored one no longer: another node
        has changed the password meanwhile, and what was checked counts for nothing.
        """

    async def rehash_password(self, user: int, password: str, *, verified: str) -> None:
        """Replace the hash by one of the same password with today's cost; devices stay."""

    async def set_display(self, user: int, display: str) -> User:
        """Change the display name, and raise the version of each friend list that shows it.

        Raises ``Refusal(NOT_FOUND)`` if there is no such account.
        """

    async def set_disabled(self, user: int, disabled: bool) -> None:
        """Lock an account out, or let it in again; its devices stay."""

    async def users(self, after: str, limit: int) -> tuple[User, ...]:
        """Up to ``limit`` accounts whose names come after ``after``, by bytes of names."""

    async def add_device(
        self,
        device: Device,
        token_hash: bytes,
        *,
        verified: str,
        limit: int,
        retire_before: int,
    ) -> tuple[int, ...]:
        """Add a device.  At ``limit`` devices the one seen longest ago is deleted, and returned,
        if that was before ``retire_before``; otherwise raises ``Refusal(LIMIT)``.
        """

    async def open_session(self, token_hash: bytes, at: int) -> Identity | None:
        """The device of a token, its fencing counter raised by one and its ``seen`` set."""

    async def authenticate(self, token_hash: bytes) -> Identity | None:
        """The device of a token, with its present counter; changes nothing."""

    async def devices(self, user: int) -> tuple[Device, ...]:
        """All devices of a user, oldest first."""

    async def delete_device(self, user: int, device: int) -> bool:
        """Delete a device, and with it its token; false if that user has no such device."""


class FriendStorage(Protocol):
    """Friendships; what a verb does is decided by ``imd.friendship`` inside the transaction."""

    async def friends(self, user: int) -> tuple[int, tuple[Friend, ...]]:
        """The version of the friend list and its entries, by name."""

    async def befriend(
        self, user: int, peer: int, verb: str, *, note: str, conversation: int, at: int
    ) -> FriendshipResult:
        """Apply ``add accept decline remove block unblock`` in one transaction.

        Opens or closes the direct conversation with it; ``conversation`` is the id to use if
        one has to be created.  Raises ``Refusal`` where ``imd.friendship`` does.
        """


class Quota(Struct, frozen=True):
    """What files may take up.  ``since`` begins the day, in ms; a ``total`` of 0 is no limit."""

    since: int
    files: int
    bytes: int
    total: int


class FileStorage(Protocol):
    """What is known of files; their bytes are in ``Blobs``."""

    async def add_file(self, file: File, quota: Quota) -> None:
        """Enter a file before its first byte.  Raises ``Refusal(LIMIT)`` where its owner, or all
        users together, would have more than the quota.
        """

    async def own_file(self, user: int, file: int) -> File | None:
        """A file of that owner, complete or not."""

    async def complete_file(self, user: int, file: int, media: str) -> File | None:
        """All bytes are stored under the id of the file and are what was declared.

        From now on it can be sent.  Where equal bytes are stored already it shares those, and
        its own are to be deleted.  Nothing happens to a complete one; None if there is none.
        """

    async def fail_file(self, user: int, file: int) -> bool:
        """The bytes were not what was declared: forget the file, unless it is complete.

        Whether its bytes are unused now.
        """

    async def readable_file(self, user: int, device: int, file: int) -> File | None:
        """A complete file, if the device is one of the user, who is not locked out, and the user
        owns the file or is a member of an open conversation that holds it.
        """

    async def expire_files(self, *, incomplete: int, unsent: int, limit: int) -> int:
        """Forget up to ``limit`` files that no message carries: incomplete ones that were entered
        before ``incomplete``, others before ``unsent``.  How many those were.
        """

    async def unused_blobs(self, after: int, limit: int) -> tuple[int, ...]:
        """The first ids above ``after`` whose bytes no file needs any more, and none will."""

    async def forget_blob(self, blob: int) -> None:
        """The bytes of an unused blob are deleted."""

    async def link_secret(self) -> bytes:
        """What links to files are signed with, the same on all nodes."""


class ExpiryStorage(Protocol):
    """What is taken out again, in transactions of at most ``limit`` rows; all may be repeated."""

    async def claim(self, job: str, at: int, every: int) -> bool:
        """Whether this job is due: none of all nodes has claimed it in the last ``every`` ms."""

    async def expire_messages(
        self, *, after: int, cut: int, hard: int, limit: int
    ) -> Expired | None:
        """Delete old messages of the first conversation above ``after`` that begins before ``cut``.

        Those go that are older than ``cut`` and delivered to all members, or older than ``hard``;
        the floor rises by as much, and files that no message carries any more go too.  Only so
        many conversations are looked at: the result names the last of them where none was found.
        None if there is no conversation above ``after``.
        """

    async def expire_sent_files(self, *, before: int, limit: int) -> int:
        """Delete files that were declared before then, with all that refers to them but the
        messages; how many those were.
        """

    async def close_account(self, user: int) -> tuple[int, ...]:
        """Lock an account for ever: devices, friendships, the password and the display name go,
        its conversations are closed, its name stays taken.  Who has another friend list now.
        """

    async def erase_messages(self, user: int, after: Place, limit: int) -> Erased | None:
        """Replace messages of that user by ``erased`` ones of the same seq, time and id: those
        among the first ``limit`` of all messages behind ``after`` in one of the user's
        conversations.  None when there is no message behind it.
        """

    async def erase_files(self, user: int, limit: int) -> int:
        """Delete some files of that user; how many, 0 when none is left."""


class Storage(MessageStorage, AccountStorage, FriendStorage, FileStorage, ExpiryStorage, Protocol):
    """The whole of the durable state."""

    async def ping(self) -> None:
        """Prove that the engine answers."""

    async def touched(self) -> bool:
        """Whether another process has written since this was asked last.  False where a ``Feed``
        tells what others write.
        """
