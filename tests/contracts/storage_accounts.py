"""What every ``AccountStorage`` has to do."""

from __future__ import annotations

import contextlib

from imd.errors import Code, Refusal
from imd.interfaces.storage import Storage
from imd.model import Device, Identity, User
from tests.contracts.storage_parts import (
    ALICE,
    BOB,
    HIGHEST,
    NOW,
    STRANGER,
    accounts,
    name_of,
    refused,
    together,
)


def device(id: int, user: int = ALICE, seen: int = NOW, created: int = NOW) -> Device:
    return Device(id, user, f"phone {id}", created, seen)


def token(id: int) -> bytes:
    """The hash of a device's token: any bytes."""
    return b"\x00%\xff'" + id.to_bytes(28, "big")


async def add(
    storage: Storage,
    added: Device,
    limit: int = 99,
    retire_before: int = 0,
    verified: str = "hash",
) -> tuple[int, ...]:
    """Add a device whose token follows from its id."""
    return await storage.add_device(
        added, token(added.id), verified=verified, limit=limit, retire_before=retire_before
    )


async def ids(storage: Storage, user: int = ALICE) -> list[int]:
    """The devices of a user."""
    return [found.id for found in await storage.devices(user)]


class UsersContract:
    """Accounts."""

    async def test_account_is_found_by_id_and_by_name(self, storage: Storage) -> None:
        user = User(HIGHEST, "a.b-c_1")
        assert await storage.create_user(HIGHEST, "a.b-c_1", "hash", NOW) == user
        assert await storage.find_user(HIGHEST) == user
        assert await storage.find_user("a.b-c_1") == user
        assert await storage.find_user(STRANGER) is None

    async def test_names_are_exact(self, storage: Storage) -> None:
        await storage.create_user(ALICE, "alice", "hash", NOW)
        for other in "Alice", "ALICE", "alice ", " alice", "alic", "alic_", "alic%", "1", "":
            assert await storage.find_user(other) is None
            assert await storage.password_of(other) is None

    async def test_name_is_given_once(self, storage: Storage) -> None:
        await storage.create_user(ALICE, "alice", "hash", NOW)
        await refused(Code.EXISTS, storage.create_user(BOB, "alice", "other", NOW))
        assert await storage.password_of("alice") == (User(ALICE, "alice"), "hash")
        assert await storage.find_user(BOB) is None

    async def test_account_that_is_made_again_stays_as_it_is(self, storage: Storage) -> None:
        await storage.create_user(ALICE, "alice", "hash", NOW)
        display = await storage.set_display(ALICE, "Alice")
        await refused(Code.EXISTS, storage.create_user(ALICE, "alice", "hash", NOW))
        await refused(Code.EXISTS, storage.create_user(ALICE, "bob", "hash", NOW))
        assert await storage.find_user(ALICE) == display
        assert await storage.find_user("bob") is None

    async def test_one_of_many_at_the_same_time_gets_a_name(self, storage: Storage) -> None:
        async def attempt(user: int) -> User | None:
            with contextlib.suppress(Refusal):
                return await storage.create_user(user, "alice", f"hash {user}", NOW)
            return None

        made = [user for user in await together(*(attempt(n) for n in range(1, 21))) if user]
        assert len(made) == 1
        assert await storage.password_of("alice") == (made[0], f"hash {made[0].id}")

    async def test_display_name_is_any_text(self, storage: Storage) -> None:
        await accounts(storage, ALICE, BOB)
        for display in "Alice Ä. \U0001f600", "'; DROP TABLE user; -- %s {}", "x" * 64, "":
            user = User(ALICE, name_of(ALICE), display)
            assert await storage.set_display(ALICE, display) == user
            assert await storage.set_display(ALICE, display) == user
            assert await storage.find_user(ALICE) == user
        assert await storage.find_user(BOB) == User(BOB, name_of(BOB))
        await refused(Code.NOT_FOUND, storage.set_display(STRANGER, "Nobody"))

    async def test_account_is_locked_out_and_let_in_again(self, storage: Storage) -> None:
        await accounts(storage, ALICE, BOB)
        await add(storage, device(11))
        for disabled in True, True, False, False:
            await storage.set_disabled(ALICE, disabled)
            user = User(ALICE, name_of(ALICE), disabled=disabled)
            assert await storage.find_user(ALICE) == user
            assert await storage.password_of(name_of(ALICE)) == (user, "hash")
            assert await storage.authenticate(token(11)) == Identity(user, 11, 0)
            assert await ids(storage) == [11]
        assert await storage.find_user(BOB) == User(BOB, name_of(BOB))

    async def test_accounts_are_listed_by_name(self, storage: Storage) -> None:
        for id, name in (1, "b"), (2, "a.b"), (3, "a-b"), (4, "a"), (5, "a_b"), (6, "0"):
            await storage.create_user(id, name, "hash", NOW)
        await storage.set_disabled(4, True)
        found = await storage.users("", 9)
        assert [user.name for user in found] == ["0", "a", "a-b", "a.b", "a_b", "b"]
        assert found[1] == User(4, "a", disabled=True)
        assert [user.name for user in await storage.users("a", 2)] == ["a-b", "a.b"]
        assert await storage.users("b", 9) == ()


class PasswordsContract:
    """Passwords, and what becomes of the devices."""

    async def test_new_password_deletes_all_devices_but_one(self, storage: Storage) -> None:
        await accounts(storage, ALICE, BOB)
        for id in 11, 12, 13:
            await add(storage, device(id))
        await add(storage, device(21, BOB))
        assert set(await storage.set_password(ALICE, "new", 12, verified="hash")) == {11, 13}
        assert await storage.password_of(name_of(ALICE)) == (User(ALICE, name_of(ALICE)), "new")
        assert await storage.set_password(ALICE, "new", 12, verified="hash") == ()
        assert await ids(storage) == [12]
        assert await storage.authenticate(token(11)) is None
        assert await storage.password_of(name_of(BOB)) == (User(BOB, name_of(BOB)), "hash")
        assert await ids(storage, BOB) == [21]

    async def test_new_password_deletes_all_devices(self, storage: Storage) -> None:
        await accounts(storage, ALICE, BOB)
        await add(storage, device(21, BOB))
        verified = "hash"
        for keep in None, STRANGER, 21:
            for id in 11, 12:
                await add(storage, device(id), verified=verified)
            gone = await storage.set_password(ALICE, f"for {keep}", keep, verified=verified)
            assert set(gone) == {11, 12}
            verified = f"for {keep}"
            assert await ids(storage) == []
        assert await ids(storage, BOB) == [21]

    async def test_better_hash_of_the_same_password_keeps_the_devices(
        self, storage: Storage
    ) -> None:
        await accounts(storage, ALICE, BOB)
        await add(storage, device(11))
        hash = "$argon2id$v=19$m=65536,t=3,p=4$c2FsdA$'%s{}é"
        for _ in range(2):
            await storage.rehash_password(ALICE, hash, verified="hash")
        assert await storage.password_of(name_of(ALICE)) == (User(ALICE, name_of(ALICE)), hash)
        assert await storage.password_of(name_of(BOB)) == (User(BOB, name_of(BOB)), "hash")
        assert await ids(storage) == [11]

    async def test_a_password_that_was_changed_since_it_was_checked_allows_nothing(
        self, storage: Storage
    ) -> None:
        await accounts(storage, ALICE, BOB)
        await add(storage, device(11))
        await storage.set_password(ALICE, "new", 11, verified="hash")
        await refused(Code.UNAUTHORIZED, add(storage, device(12)))
        await refused(Code.UNAUTHORIZED, storage.rehash_password(ALICE, "old", verified="hash"))
        await refused(Code.UNAUTHORIZED, storage.set_password(ALICE, "old", 11, verified="hash"))
        assert await storage.password_of(name_of(ALICE)) == (User(ALICE, name_of(ALICE)), "new")
        assert await ids(storage) == [11]
        await refused(Code.UNAUTHORIZED, add(storage, device(13, STRANGER)))
        await refused(Code.UNAUTHORIZED, storage.rehash_password(STRANGER, "x", verified="hash"))
        # A device whose addition is repeated is there already.
        assert await add(storage, device(11)) == ()
        assert await add(storage, device(12), verified="new") == ()

    async def test_a_login_beside_a_change_of_its_password_leaves_no_device(
        self, storage: Storage
    ) -> None:
        await accounts(storage, ALICE)
        verified = "hash"
        for n in range(10):
            change = storage.set_password(ALICE, f"new {n}", None, verified=verified)

            async def login(id: int, verified: str = verified) -> tuple[int, ...]:
                with contextlib.suppress(Refusal):
                    return await add(storage, device(id), verified=verified)
                return ()

            await together(login(20 + 2 * n), change, login(21 + 2 * n))
            assert await ids(storage) == []
            verified = f"new {n}"


class DevicesContract:
    """Devices and sessions."""

    async def test_devices_are_listed_oldest_first(self, storage: Storage) -> None:
        await accounts(storage, ALICE, BOB)
        added = [
            device(12, created=NOW),
            device(HIGHEST, created=NOW - 2),
            device(11, created=NOW - 1),
        ]
        for each in added:
            assert await add(storage, each) == ()
        await add(storage, device(21, BOB))
        assert await storage.devices(ALICE) == (added[1], added[2], added[0])
        assert await storage.devices(STRANGER) == ()

    async def test_at_the_limit_the_one_seen_longest_ago_makes_room(self, storage: Storage) -> None:
        await accounts(storage, ALICE, BOB)
        await add(storage, device(21, BOB, seen=1))
        await add(storage, device(11, seen=70, created=10))
        await add(storage, device(12, seen=50, created=20))
        await add(storage, device(13, seen=60, created=30))
        assert await add(storage, device(14), limit=3, retire_before=51) == (12,)
        assert await ids(storage) == [11, 13, 14]
        assert await storage.authenticate(token(12)) is None
        assert await ids(storage, BOB) == [21]
        assert await add(storage, device(15), limit=4, retire_before=NOW) == ()

    async def test_at_the_limit_nothing_makes_room_for_a_device_that_was_seen_of_late(
        self, storage: Storage
    ) -> None:
        await accounts(storage, ALICE)
        await add(storage, device(11, seen=50))
        await add(storage, device(12, seen=51))
        await refused(Code.LIMIT, add(storage, device(13), limit=2, retire_before=50))
        assert await ids(storage) == [11, 12]
        assert await storage.authenticate(token(13)) is None
        await storage.open_session(token(11), 60)
        await refused(Code.LIMIT, add(storage, device(13), limit=2, retire_before=51))
        assert await add(storage, device(13), limit=2, retire_before=52) == (12,)

    async def test_device_that_is_added_again_is_added_once_and_displaces_nothing(
        self, storage: Storage
    ) -> None:
        await accounts(storage, ALICE)
        await add(storage, device(11, seen=1, created=1))
        await add(storage, device(12, seen=2, created=2))
        assert await add(storage, device(13, seen=3), limit=2, retire_before=NOW) == (11,)
        await storage.open_session(token(13), NOW)
        assert await add(storage, device(13, seen=3), limit=2, retire_before=NOW) == ()
        assert await ids(storage) == [12, 13]
        found = await storage.authenticate(token(13))
        assert found is not None
        assert found.session == 1

    async def test_limit_holds_for_devices_that_are_added_at_the_same_time(
        self, storage: Storage
    ) -> None:
        await accounts(storage, ALICE)

        async def attempt(id: int) -> bool:
            with contextlib.suppress(Refusal):
                return await add(storage, device(id), limit=5) == ()
            return False

        added = await together(*(attempt(id) for id in range(11, 31)))
        assert sum(added) == len(await ids(storage)) == 5

    async def test_each_session_of_a_device_has_a_higher_counter(self, storage: Storage) -> None:
        await accounts(storage, ALICE)
        await add(storage, device(11, seen=1))
        await add(storage, device(12, seen=1))
        user = User(ALICE, name_of(ALICE))
        for session in 1, 2, 3:
            found = await storage.open_session(token(11), NOW + session)
            assert found == Identity(user, 11, session)
            assert [d.seen for d in await storage.devices(ALICE)] == [NOW + session, 1]
        assert await storage.open_session(token(12), NOW) == Identity(user, 12, 1)
        assert await storage.open_session(token(13), NOW) is None
        assert await storage.open_session(b"", NOW) is None

    async def test_sessions_opened_at_the_same_time_have_different_counters(
        self, storage: Storage
    ) -> None:
        await accounts(storage, ALICE)
        await add(storage, device(11))
        found = await together(*(storage.open_session(token(11), NOW) for _ in range(20)))
        assert sorted(i.session for i in found if i) == list(range(1, 21))

    async def test_authentication_changes_nothing(self, storage: Storage) -> None:
        await accounts(storage, ALICE)
        await add(storage, device(11, seen=1))
        user = User(ALICE, name_of(ALICE))
        assert await storage.authenticate(token(11)) == Identity(user, 11, 0)
        await storage.open_session(token(11), NOW)
        for _ in range(2):
            assert await storage.authenticate(token(11)) == Identity(user, 11, 1)
        assert await storage.devices(ALICE) == (device(11, seen=NOW),)
        assert await storage.authenticate(token(12)) is None

    async def test_deleted_device_takes_its_token_with_it(self, storage: Storage) -> None:
        await accounts(storage, ALICE, BOB)
        await add(storage, device(11))
        await add(storage, device(12))
        assert await storage.delete_device(BOB, 11) is False
        assert await storage.delete_device(ALICE, STRANGER) is False
        assert await ids(storage) == [11, 12]
        assert await storage.delete_device(ALICE, 11) is True
        assert await storage.delete_device(ALICE, 11) is False
        assert await ids(storage) == [12]
        assert await storage.authenticate(token(11)) is None
        assert await storage.open_session(token(11), NOW) is None
