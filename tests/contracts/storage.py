"""What every ``Storage`` has to do; the parts are in the modules beside this one.

A module of tests subclasses ``StorageContract`` (``class TestX(StorageContract)``) and has a
fixture ``storage``, a new and empty storage for each test.  The tests run on the real reactor.
"""

from __future__ import annotations

from imd.interfaces.storage import Storage
from tests.contracts.storage_accounts import DevicesContract, PasswordsContract, UsersContract
from tests.contracts.storage_expiry import ErasureContract, ExpiryOfMessagesContract
from tests.contracts.storage_files import ExpiryContract, FilesContract, SharingContract
from tests.contracts.storage_friends import FriendListContract, VerbsContract
from tests.contracts.storage_messages import AdvanceContract, AppendContract
from tests.contracts.storage_reads import HeadsContract, HistoryContract
from tests.contracts.storage_reference import ReferenceContract


class StorageContract(
    AppendContract,
    AdvanceContract,
    ReferenceContract,
    HistoryContract,
    HeadsContract,
    UsersContract,
    PasswordsContract,
    DevicesContract,
    VerbsContract,
    FriendListContract,
    FilesContract,
    SharingContract,
    ExpiryContract,
    ExpiryOfMessagesContract,
    ErasureContract,
):
    """All of it."""

    async def test_engine_answers(self, storage: Storage) -> None:
        await storage.ping()

    async def test_epoch_is_a_name_that_stays(self, storage: Storage) -> None:
        epoch = await storage.epoch()
        assert epoch
        assert await storage.epoch() == epoch
