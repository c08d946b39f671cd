"""Small parts for the contract of storage: people, friends, messages, calls at the same time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any, TypeVar

import pytest
from msgspec import structs
from twisted.internet.defer import Deferred, gatherResults

from imd.errors import Code, Refusal
from imd.interfaces.storage import Quota, Storage
from imd.model import Appended, Cursor, Device, File, Friend, NewMessage, Outcome

T = TypeVar("T")

ALICE, BOB, CAROL, DAVE = 1, 2, 3, 4
#: Nobody has this id.
STRANGER = 999
#: The greatest id.
HIGHEST = 2**52 - 1
#: When things happen, unless a test says otherwise.
NOW = 1_790_000_000_000
#: More bytes than any test reads.
PLENTY = 1 << 30
#: Calls that ``in_turns`` has under way.
WIDTH = 16

#: More files than any test sends.
NO_QUOTA = Quota(since=0, files=10_000, bytes=PLENTY, total=0)

FORBIDDEN, CONFLICT, NO_FILE, REPLACED, REVOKED = (
    Appended(outcome)
    for outcome in (
        Outcome.FORBIDDEN,
        Outcome.CONFLICT,
        Outcome.NO_FILE,
        Outcome.REPLACED,
        Outcome.REVOKED,
    )
)


def name_of(user: int) -> str:
    """The login name of a user of these tests."""
    return f"user{user:016}"


async def accounts(storage: Storage, *users: int) -> None:
    """Make accounts."""
    for user in users:
        await storage.create_user(user, name_of(user), "hash", NOW)


async def say(
    storage: Storage, user: int, verb: str, peer: int, conversation: int = HIGHEST, note: str = ""
) -> Any:
    """Apply a friend verb."""
    return await storage.befriend(user, peer, verb, note=note, conversation=conversation, at=NOW)


def token(device: int) -> bytes:
    """The hash of the token of a device."""
    return device.to_bytes(32, "little")


async def phone(storage: Storage, user: int, device: int | None = None) -> None:
    """Log a device in, the one that ``text`` names if none is given."""
    made = Device(10 + user if device is None else device, user, "phone", NOW, NOW)
    await storage.add_device(made, token(made.id), verified="hash", limit=9, retire_before=0)


async def join(storage: Storage, user: int, peer: int, conversation: int) -> int:
    """Make friends of two accounts, each with a device to send from; their conversation."""
    for one in (user, peer):
        await phone(storage, one)
    await say(storage, user, "add", peer, conversation)
    result = await say(storage, peer, "accept", user, conversation)
    found: int = result.conversation
    return found


async def pair(storage: Storage, conversation: int = 7) -> int:
    """Alice and Bob, who are friends, and Carol; the conversation."""
    await accounts(storage, ALICE, BOB, CAROL)
    return await join(storage, ALICE, BOB, conversation)


def text(conversation: int, sender: int, number: int, body: bytes | None = None) -> NewMessage:
    """A message whose id, and body unless given, follow from its number."""
    body = b'{"text":"%d"}' % number if body is None else body
    return NewMessage(conversation, sender, 10 + sender, number.to_bytes(16, "big"), "text", body)


def texts(conversation: int, sender: int, numbers: Iterable[int]) -> list[NewMessage]:
    """A batch of one sender."""
    return [text(conversation, sender, number) for number in numbers]


def new(seq: int, at: int = NOW, members: tuple[int, ...] = (ALICE, BOB)) -> Appended:
    """The decision about a message that was stored."""
    return Appended(Outcome.NEW, seq, at, members)


def known(seq: int, at: int = NOW) -> Appended:
    """The decision about a message that had been stored."""
    return Appended(Outcome.DUPLICATE, seq, at)


def file(id: int, owner: int = ALICE, size: int = 3, at: int = NOW, bytes_: int = 1) -> File:
    """A file that was declared; ``bytes_`` says which bytes it has."""
    return File(id, owner, size, f"{bytes_:064x}", f"{id}.txt", "text/plain", at)


async def put_file(storage: Storage, id: int, owner: int, complete: bool = True) -> None:
    """Enter a file, and its bytes, no two of these are equal."""
    await storage.add_file(file(id, owner, bytes_=id), NO_QUOTA)
    if complete:
        await storage.complete_file(owner, id, "")


async def append(storage: Storage, *batch: NewMessage, at: int = NOW) -> list[Appended]:
    """Append a batch; the decisions, with members in ascending order."""
    result = await storage.append(batch, at)
    return [structs.replace(d, members=tuple(sorted(d.members))) for d in result.decisions]


async def advance(storage: Storage, *cursors: Cursor) -> dict[Cursor, set[int]]:
    """Advance cursors; those that grew and who has to hear of it."""
    result = await storage.advance(cursors, NOW)
    return {change.cursor: set(change.members) for change in result.changes}


async def log(storage: Storage, user: int, conversation: int) -> list[int]:
    """The numbers of all messages; fails unless their seqs are 1, 2, 3 …"""
    page = await storage.history(user, conversation, after=0, limit=10_000, max_bytes=PLENTY)
    assert [item.seq for item in page.items] == list(range(1, len(page.items) + 1))
    assert not page.more
    return [int.from_bytes(item.id, "big") for item in page.items]


def together(*coroutines: Coroutine[Any, Any, T]) -> Deferred[list[T]]:
    """Start all before any has ended; all their results."""
    return gatherResults([Deferred.fromCoroutine(c) for c in coroutines], consumeErrors=True)


async def in_turns(calls: Sequence[Callable[[], Coroutine[Any, Any, object]]]) -> None:
    """Make many calls, some of them at the same time."""
    left = iter(calls)

    async def work() -> None:
        for call in left:
            await call()

    await together(*(work() for _ in range(WIDTH)))


async def refused(code: Code, call: Awaitable[object]) -> None:
    """Fail unless the call is refused with this code."""
    with pytest.raises(Refusal) as caught:
        await call
    assert caught.value.code is code


def shown(friend: Friend | None) -> Friend | None:
    """An entry without the version of the other one's list, which is nobody's business."""
    return friend and structs.replace(friend, user=structs.replace(friend.user, roster=0))
