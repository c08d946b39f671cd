"""What becomes of a batch, and of a password that was checked, by what is stored; no I/O."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from msgspec import Struct

from imd.errors import Code, Refusal
from imd.interfaces.storage import Quota
from imd.model import Appended, File, NewMessage, Outcome

#: What makes a message the same: conversation, sender, client message id.
Key = tuple[int, int, bytes]


class Log(Struct, frozen=True, gc=False):
    """A conversation as it is stored; ``open`` says whether its members may send."""

    last: int
    open: bool
    members: tuple[int, ...]


class Stored(Struct, frozen=True, gc=False):
    """A message as it is stored."""

    seq: int
    at: int
    kind: str
    body: bytes


def decide(
    batch: Sequence[NewMessage],
    logs: Mapping[int, Log],
    stored: Mapping[Key, Stored],
    files: Collection[tuple[int, int]],
    sessions: Mapping[int, int],
    at: int,
) -> tuple[Appended, ...]:
    """The decision about each message, in order (``imd.interfaces.storage.MessageStorage.append``).

    ``logs`` has the conversations of the batch that exist, ``stored`` the messages of it that
    are stored already, ``files`` the (file, owner) pairs that are complete, ``sessions`` the
    newest session of each device that exists.
    """
    last = {conversation: log.last for conversation, log in logs.items()}
    seen = dict(stored)
    decisions = []
    for message in batch:
        log = logs.get(message.conversation)
        newest = sessions.get(message.device)
        decision = _decide(message, log, last, seen, files, newest, at)
        if decision.outcome is Outcome.NEW:
            last[message.conversation] = decision.seq
            seen[_key(message)] = Stored(decision.seq, at, message.kind, message.body)
        decisions.append(decision)
    return tuple(decisions)


def _decide(
    message: NewMessage,
    log: Log | None,
    last: Mapping[int, int],
    seen: Mapping[Key, Stored],
    files: Collection[tuple[int, int]],
    newest: int | None,
    at: int,
) -> Appended:
    if log is None or message.sender not in log.members:
        return _FORBIDDEN
    old = seen.get(_key(message))
    if old is not None:
        if (old.kind, old.body) != (message.kind, message.body):
            return _CONFLICT
        return Appended(Outcome.DUPLICATE, old.seq, old.at)
    if newest is None:
        return _REVOKED
    if newest > message.session:
        return _REPLACED
    if not log.open:
        return _FORBIDDEN
    if message.file is not None and (message.file, message.sender) not in files:
        return _NO_FILE
    return Appended(Outcome.NEW, last[message.conversation] + 1, at, log.members)


def _key(message: NewMessage) -> Key:
    return message.conversation, message.sender, message.id


_FORBIDDEN = Appended(Outcome.FORBIDDEN)
_CONFLICT = Appended(Outcome.CONFLICT)
_NO_FILE = Appended(Outcome.NO_FILE)
_REPLACED = Appended(Outcome.REPLACED)
_REVOKED = Appended(Outcome.REVOKED)


def check_verified(stored: str | None, *allowed: str) -> None:
    """Raise ``Refusal(UNAUTHORIZED)`` unless the hash in storage is one of these."""
    if stored not in allowed:
        raise Refusal(Code.UNAUTHORIZED, "the password was changed meanwhile; log in with it again")


def check_quota(file: File, quota: Quota, count: int, used: int, total: int) -> None:
    """Raise ``Refusal(LIMIT)`` where a file is too much for its owner's day, or for all."""
    if count >= quota.files:
        raise Refusal(Code.LIMIT, f"you have sent {count} files in a day; try again tomorrow")
    if used + file.size > quota.bytes:
        left = max(quota.bytes - used, 0)
        raise Refusal(Code.LIMIT, f"you have {left} bytes left for files today; try again tomorrow")
    if quota.total and total + file.size > quota.total:
        raise Refusal(Code.LIMIT, "the server has no room left for files; ask its operator")


#: Conversations that are looked at in one transaction for one whose beginning is old.
LOOKED_AT = 1000
#: What stands in place of a message of a user who was erased.
ERASED_KIND = "erased"
ERASED_BODY = b"{}"


def new_floor(
    rows: Sequence[Sequence[int]], floor: int, delivered: int, cut: int, hard: int
) -> int:
    """Where history begins once what is too old is gone.

    ``rows`` are the first seqs and times of the log, ``delivered`` is what all members have.
    Only a prefix goes: what is older than ``cut`` and delivered, or older than ``hard``.
    """
    for seq, at in rows:
        if at >= cut or (seq > delivered and at >= hard):
            return seq
        floor = seq + 1
    return floor
