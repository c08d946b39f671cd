"""What every ``FileStorage`` has to do."""

from __future__ import annotations

from msgspec import structs

from imd.errors import Code
from imd.interfaces.storage import Quota, Storage
from imd.model import Device, NewMessage
from tests.contracts.storage_parts import (
    ALICE,
    BOB,
    CAROL,
    HIGHEST,
    NO_QUOTA,
    NOW,
    STRANGER,
    accounts,
    append,
    file,
    join,
    new,
    pair,
    put_file,
    refused,
    say,
    text,
    together,
)

#: Every kind of character that a name can have, and nothing that is a path to us.
NAMES = (
    "../x",
    "a\nb\r",
    "CON",
    "\u202egpj.exe",
    "'; DROP TABLE file; -- %s {}",
    "\U0001f600",
    "x" * 255,
)


def carrying(conversation: int, sender: int, id: int) -> NewMessage:
    """A message that carries a file."""
    return structs.replace(text(conversation, sender, id), kind="file", file=id)


async def device(storage: Storage, user: int) -> int:
    """A device of a user, of an id that follows from it."""
    made = Device(user + 100, user, "phone", NOW, NOW)
    token = user.to_bytes(32, "big")
    await storage.add_device(made, token, verified="hash", limit=9, retire_before=0)
    return made.id


class FilesContract:
    """Entering, completing and reading."""

    async def test_file_is_what_was_declared(self, storage: Storage) -> None:
        await accounts(storage, ALICE, BOB)
        for id, name in enumerate(NAMES, HIGHEST - 10):
            declared = structs.replace(file(id), name=name, mime='a/b;c="d"', size=2**52)
            await storage.add_file(declared, structs.replace(NO_QUOTA, bytes=2**62))
            assert await storage.own_file(ALICE, id) == declared
            assert await storage.own_file(BOB, id) is None
        assert await storage.own_file(ALICE, 1) is None

    async def test_entering_twice_is_entering_once(self, storage: Storage) -> None:
        await accounts(storage, ALICE, BOB)
        quota = structs.replace(NO_QUOTA, files=1)
        await storage.add_file(file(50), quota)
        await storage.add_file(file(50), quota)
        await refused(Code.EXISTS, storage.add_file(file(50, BOB), quota))

    async def test_day_has_a_number_of_files_and_of_bytes(self, storage: Storage) -> None:
        await accounts(storage, ALICE, BOB)
        quota = Quota(since=NOW, files=3, bytes=10, total=0)
        await storage.add_file(file(50, size=10, at=NOW - 1), quota)
        await storage.add_file(file(51, size=4), quota)
        await refused(Code.LIMIT, storage.add_file(file(52, size=7), quota))
        await storage.add_file(file(52, size=6), quota)
        await storage.add_file(file(53, size=0), quota)
        await refused(Code.LIMIT, storage.add_file(file(54, size=0), quota))
        await storage.add_file(file(55, BOB, size=10), quota)

    async def test_all_files_together_have_a_total(self, storage: Storage) -> None:
        await accounts(storage, ALICE, BOB)
        quota = structs.replace(NO_QUOTA, total=10)
        await storage.add_file(file(50, size=6), quota)
        await refused(Code.LIMIT, storage.add_file(file(51, BOB, size=5), quota))
        await storage.add_file(file(51, BOB, size=4), quota)
        assert await storage.expire_files(incomplete=NOW + 1, unsent=0, limit=9) == 2
        await refused(Code.LIMIT, storage.add_file(file(52, BOB, size=5), quota))
        for blob in await storage.unused_blobs(0, 9):
            await storage.forget_blob(blob)
        await storage.add_file(file(52, BOB, size=10), quota)

    async def test_quota_holds_for_files_entered_at_the_same_time(self, storage: Storage) -> None:
        await accounts(storage, ALICE)
        quota = structs.replace(NO_QUOTA, files=3)

        async def add(id: int) -> None:
            await storage.add_file(file(id), structs.replace(NO_QUOTA, files=100))

        await together(*(add(id) for id in range(50, 53)))
        await together(*(refused(Code.LIMIT, storage.add_file(file(i), quota)) for i in (60, 61)))

    async def test_complete_file_stays_complete_as_it_was(self, storage: Storage) -> None:
        await accounts(storage, ALICE, BOB)
        await storage.add_file(file(50), NO_QUOTA)
        assert await storage.complete_file(BOB, 50, "image/png") is None
        assert await storage.complete_file(ALICE, 51, "image/png") is None
        wanted = structs.replace(file(50), complete=True, media="image/png", blob=50)
        assert await storage.complete_file(ALICE, 50, "image/png") == wanted
        assert await storage.complete_file(ALICE, 50, "") == wanted
        assert await storage.own_file(ALICE, 50) == wanted
        assert await storage.unused_blobs(0, 9) == ()

    async def test_file_that_failed_is_gone_unless_it_is_complete(self, storage: Storage) -> None:
        await accounts(storage, ALICE, BOB)
        for id in (50, 51):
            await storage.add_file(file(id, bytes_=id), NO_QUOTA)
        await storage.complete_file(ALICE, 50, "")
        for id in (50, 51):
            assert not await storage.fail_file(BOB, id)
        assert await storage.own_file(ALICE, 51)
        assert [await storage.fail_file(ALICE, id) for id in (50, 51, 51, 52)] == [
            False,
            True,
            False,
            False,
        ]
        assert await storage.own_file(ALICE, 50)
        assert await storage.own_file(ALICE, 51) is None
        assert await storage.unused_blobs(0, 9) == (51,)

    async def test_members_of_an_open_conversation_that_holds_it_read_it(
        self, storage: Storage
    ) -> None:
        c = await pair(storage)
        await join(storage, BOB, CAROL, 8)
        at = {user: await device(storage, user) for user in (ALICE, BOB, CAROL)}

        async def readers() -> set[int]:
            found = {user: await storage.readable_file(user, at[user], 50) for user in at}
            return {user for user, file in found.items() if file is not None}

        assert await readers() == set()
        await storage.add_file(file(50), NO_QUOTA)
        assert await readers() == set()
        await storage.complete_file(ALICE, 50, "")
        assert await readers() == {ALICE}
        assert await append(storage, carrying(c, ALICE, 50)) == [new(1)]
        assert await readers() == {ALICE, BOB}
        await say(storage, BOB, "remove", ALICE)
        assert await readers() == {ALICE}
        await join(storage, ALICE, BOB, 9)
        assert await readers() == {ALICE, BOB}

    async def test_only_a_device_of_a_user_who_is_not_locked_out_reads(
        self, storage: Storage
    ) -> None:
        c = await pair(storage)
        phone, other = await device(storage, BOB), await device(storage, ALICE)
        await put_file(storage, 50, ALICE)
        await append(storage, carrying(c, ALICE, 50))
        assert await storage.readable_file(BOB, phone, 50)
        assert await storage.readable_file(BOB, other, 50) is None
        assert await storage.readable_file(BOB, STRANGER, 50) is None
        assert await storage.readable_file(BOB, phone, 51) is None
        await storage.set_disabled(BOB, True)
        assert await storage.readable_file(BOB, phone, 50) is None
        await storage.set_disabled(BOB, False)
        await storage.delete_device(BOB, phone)
        assert await storage.readable_file(BOB, phone, 50) is None

    async def test_message_that_is_refused_shows_nobody_the_file(self, storage: Storage) -> None:
        c = await pair(storage)
        phone = await device(storage, BOB)
        await put_file(storage, 50, ALICE)
        await append(storage, text(c, ALICE, 50))
        await append(storage, carrying(c, ALICE, 50))
        await say(storage, BOB, "block", ALICE)
        await append(storage, structs.replace(carrying(c, ALICE, 51), file=50))
        await say(storage, BOB, "unblock", ALICE)
        await join(storage, ALICE, BOB, 9)
        assert await storage.readable_file(BOB, phone, 50) is None

    async def test_file_may_be_carried_twice(self, storage: Storage) -> None:
        c, other = await pair(storage), await join(storage, ALICE, CAROL, 5)
        await put_file(storage, 50, ALICE)
        again = structs.replace(carrying(c, ALICE, 51), file=50)
        assert await append(storage, carrying(c, ALICE, 50), again) == [new(1), new(2)]
        assert await append(storage, carrying(other, ALICE, 50)) == [new(1, members=(ALICE, CAROL))]

    async def test_secret_of_links_is_one_and_long(self, storage: Storage) -> None:
        secret = await storage.link_secret()
        assert len(secret) == 32
        assert await storage.link_secret() == secret


class SharingContract:
    """Equal bytes are stored once."""

    async def test_equal_bytes_are_shared_and_the_second_ones_are_to_be_deleted(
        self, storage: Storage
    ) -> None:
        await accounts(storage, ALICE, BOB)
        for id, owner in ((50, ALICE), (51, BOB), (52, ALICE)):
            await storage.add_file(file(id, owner, bytes_=9), NO_QUOTA)
            found = await storage.complete_file(owner, id, "")
            assert found is not None
            assert found.blob == 50
        assert await storage.unused_blobs(0, 1) == (51,)
        assert await storage.unused_blobs(0, 9) == (51, 52)
        assert await storage.unused_blobs(51, 9) == (52,)
        await storage.forget_blob(51)
        await storage.forget_blob(51)
        await storage.forget_blob(50)
        assert await storage.unused_blobs(0, 9) == (52,)

    async def test_a53_bytes_stay_while_one_file_needs_them(self, storage: Storage) -> None:
        await accounts(storage, ALICE)
        for id, at in ((50, NOW), (51, NOW + 5)):
            await storage.add_file(file(id, at=at, bytes_=9), NO_QUOTA)
            await storage.complete_file(ALICE, id, "")
        await storage.forget_blob(51)
        assert await storage.expire_files(incomplete=0, unsent=NOW + 1, limit=9) == 1
        assert await storage.unused_blobs(0, 9) == ()
        found = await storage.own_file(ALICE, 51)
        assert found is not None
        assert found.blob == 50
        assert await storage.expire_files(incomplete=0, unsent=NOW + 6, limit=9) == 1
        assert await storage.unused_blobs(0, 9) == (50,)

    async def test_bytes_that_are_to_be_deleted_are_not_shared(self, storage: Storage) -> None:
        await accounts(storage, ALICE)
        await storage.add_file(file(50, bytes_=9), NO_QUOTA)
        await storage.complete_file(ALICE, 50, "")
        await storage.expire_files(incomplete=0, unsent=NOW + 1, limit=9)
        await storage.add_file(file(51, bytes_=9), NO_QUOTA)
        found = await storage.complete_file(ALICE, 51, "")
        assert found is not None
        assert found.blob == 51
        assert await storage.unused_blobs(0, 9) == (50,)

    async def test_equal_bytes_completed_at_the_same_time_are_shared(
        self, storage: Storage
    ) -> None:
        await accounts(storage, ALICE)
        ids = range(50, 60)
        for id in ids:
            await storage.add_file(file(id, bytes_=9), NO_QUOTA)
        found = await together(*(storage.complete_file(ALICE, id, "") for id in ids))
        (blob,) = {each.blob for each in found if each is not None}
        assert await storage.unused_blobs(0, 99) == tuple(id for id in ids if id != blob)


class ExpiryContract:
    """What no message carries is forgotten."""

    async def test_abandoned_files_are_forgotten_and_their_bytes_named(
        self, storage: Storage
    ) -> None:
        await accounts(storage, ALICE)
        for id, at in ((50, NOW - 2), (51, NOW - 1), (52, NOW)):
            await storage.add_file(file(id, at=at), NO_QUOTA)
        assert await storage.expire_files(incomplete=NOW, unsent=0, limit=1) == 1
        assert await storage.expire_files(incomplete=NOW, unsent=0, limit=9) == 1
        assert await storage.expire_files(incomplete=NOW, unsent=0, limit=9) == 0
        assert await storage.unused_blobs(0, 9) == (50, 51)
        assert await storage.own_file(ALICE, 50) is None
        assert await storage.complete_file(ALICE, 50, "") is None
        assert await storage.own_file(ALICE, 52) == file(52)

    async def test_complete_file_has_longer_and_a_sent_one_stays(self, storage: Storage) -> None:
        c = await pair(storage)
        for id in (50, 51):
            await put_file(storage, id, ALICE)
        await append(storage, carrying(c, ALICE, 50))
        assert await storage.expire_files(incomplete=NOW + 1, unsent=NOW, limit=9) == 0
        assert await storage.expire_files(incomplete=NOW + 1, unsent=NOW + 1, limit=9) == 1
        assert await storage.own_file(ALICE, 50)
        assert await storage.unused_blobs(0, 9) == (51,)

    async def test_file_is_sent_or_forgotten_never_both(self, storage: Storage) -> None:
        c = await pair(storage)
        phone = await device(storage, BOB)
        ids = range(50, 70)
        for id in ids:
            await put_file(storage, id, ALICE)

        async def expire() -> None:
            for _ in ids:
                await storage.expire_files(incomplete=0, unsent=NOW + 1, limit=1)

        async def send() -> None:
            for id in reversed(ids):
                await append(storage, carrying(c, ALICE, id))

        await together(expire(), send())
        page = await storage.history(BOB, c, after=0, limit=99, max_bytes=10_000)
        sent = {int.from_bytes(item.id, "big") for item in page.items}
        readable = {id for id in ids if await storage.readable_file(BOB, phone, id)}
        assert sent == readable
        assert set(await storage.unused_blobs(0, 99)) == set(ids) - sent
