"""``imd export``, of a store that is at rest and of one that is written to."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred

from imd.export import main
from imd.files.directory import DirectoryBlobs
from imd.interfaces.storage import Storage
from imd.model import Device, File, NewMessage
from imd.offline import Here
from imd.storage.sqlite import SqliteStorage
from tests.contracts.storage_parts import NO_QUOTA
from tests.inline import new_epoch
from tests.process import PATIENCE, environment

BYTES = b"the bytes of a file"


def message(number: int, sender: int = 1, file: int | None = None) -> NewMessage:
    """A message of conversation 7."""
    body = b'{"text":"%d \\u00e9"}' % number if file is None else b'{"file":%d}' % file
    kind = "text" if file is None else "file"
    return NewMessage(7, sender, 10 + sender, uuid.UUID(int=number).bytes, kind, body, file)


async def people(storage: Storage) -> None:
    """Alice (1) and Bob (2), friends in conversation 7."""
    for user, name in (1, "alice"), (2, "bob"):
        await storage.create_user(user, name, "hash-canary", 5)
        device = Device(10 + user, user, "phone", 5, 6)
        await storage.add_device(
            device, bytes([user]) * 32, verified="hash-canary", limit=9, retire_before=0
        )
    await storage.befriend(1, 2, "add", note="", conversation=7, at=5)
    await storage.befriend(2, 1, "accept", note="", conversation=7, at=5)


async def carry(storage: Storage, directory: Path) -> None:
    """A message with a file, whose bytes are there."""
    digest = hashlib.sha256(BYTES).hexdigest()
    await storage.add_file(File(77, 1, len(BYTES), digest, "a", "b/c", 5), NO_QUOTA)
    blobs = DirectoryBlobs(directory / "files", Here(), 0)
    upload = await blobs.resume(77, 0)
    await upload.write(BYTES)
    assert await upload.seal(digest)
    await upload.close()
    blobs.close()
    await storage.complete_file(1, 77, "")
    await storage.append([message(900, 1, 77), message(901, 1, 77)], 8)


def do(coro: Any) -> None:
    """Run what waits for nothing."""
    done: list[Any] = []
    Deferred.fromCoroutine(coro).addBoth(done.append)
    assert done == [None]


@pytest.fixture
def storage(tmp_path: Path) -> Any:
    """A store in use, as by a server."""
    opened = SqliteStorage.open(tmp_path / "data", new_epoch=new_epoch)
    do(people(opened))
    yield opened
    opened.close()


def records(text: str) -> Callable[[str], list[dict[str, Any]]]:
    """The lines of an export, by record."""
    lines = [json.loads(line) for line in text.splitlines()]
    return lambda record: [line for line in lines if line["record"] == record]


def test_everything_is_written_and_no_secret(
    storage: Storage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def write() -> None:
        for start in range(1, 451, 50):
            await storage.append([message(n) for n in range(start, start + 50)], 7)
        await storage.append([message(500, 2)], 7)

    do(write())
    do(carry(storage, tmp_path / "data"))
    folder = tmp_path / "out"
    places = [f"--data={tmp_path / 'data'}", f"--output={folder}"]
    assert main(["Alice", *places]) == 0
    assert capsys.readouterr().err.endswith("\nimd: 453 messages\n")
    text = (folder / "export.jsonl").read_text()
    assert "canary" not in text
    found = records(text)
    assert found("account") == [
        {"record": "account", "id": 1, "name": "alice", "display": "", "disabled": False}
    ]
    assert [d["label"] for d in found("device")] == ["phone"]
    assert [(f["name"], f["state"]) for f in found("friend")] == [("bob", "accepted")]
    (conversation,) = found("conversation")
    assert (conversation["last"], conversation["peers"]) == (453, [{"user": 2, "name": "bob"}])
    messages = found("message")
    assert [m["seq"] for m in messages] == list(range(1, 454))
    assert messages[0]["body"] == {"text": "1 é"}
    assert messages[450]["from"] == 2
    assert (folder / "files" / "77").read_bytes() == BYTES
    # A directory that is there already is left alone.
    assert main(["alice", *places]) == 1
    assert "File exists" in capsys.readouterr().err


def export(*arguments: str) -> subprocess.CompletedProcess[str]:
    """``imd export`` in a process of its own."""
    code = "import sys; from imd.cli import main; sys.exit(main(sys.argv[1:]))"
    return subprocess.run(
        [sys.executable, "-c", code, "export", *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env=environment(),
        check=False,
    )


def test_it_goes_on_while_others_write(storage: Storage, tmp_path: Path) -> None:
    do(carry(storage, tmp_path / "data"))
    reading = SqliteStorage.history
    count = 0

    async def history(self: SqliteStorage, *args: Any, **kwargs: Any) -> Any:
        nonlocal count
        page = await reading(self, *args, **kwargs)
        count += 1
        if count <= 3:
            await storage.append([message(1000 + count * 300 + n) for n in range(250)], 9)
        return page

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SqliteStorage, "history", history)
        folder = tmp_path / "out"
        assert main(["alice", f"--data={tmp_path / 'data'}", f"--output={folder}"]) == 0
    seqs = [m["seq"] for m in records((folder / "export.jsonl").read_text())("message")]
    assert seqs == list(range(1, len(seqs) + 1))
    assert len(seqs) >= 2


def test_no_store_is_made_to_export_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["alice", f"--data={tmp_path / 'data'}", f"--output={tmp_path / 'out'}"]) == 78
    assert "data: there is no" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_standard_output_of_a_store_of_postgresql(store_url: str) -> None:
    done = export("nobody", f"--store={store_url}")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith("\nimd: there is no such account\n")


def test_standard_output_has_the_lines_alone(storage: Storage, tmp_path: Path) -> None:
    done = export("bob", f"--data={tmp_path / 'data'}")
    assert (done.returncode, done.stderr.endswith("\nimd: 0 messages\n")) == (0, True)
    assert len(records(done.stdout)("account")) == 1


def test_the_bytes_in_s3_are_not_promised(
    storage: Storage, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "imd.toml"
    config.write_text('files = "s3://bucket"')
    places = [f"--config={config}", f"--data={tmp_path / 'data'}"]
    assert main(["alice", *places, f"--output={tmp_path / 'out'}"]) == 78
    assert "files: only a server reads those in S3" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
