"""Files of the Python client: up, sent, down, over breaks of any kind."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_twisted
from msgspec import structs
from twisted.internet.defer import CancelledError, Deferred, DeferredQueue
from twisted.trial.unittest import SynchronousTestCase

from imd import wire
from imd.client import Changed, Client, Damaged, Message, Refused
from imd.decoding import BadValue, decode_file
from imd.wire import FileBody
from tests.process import Server, reactor


@pytest_twisted.async_yield_fixture()
async def server() -> AsyncIterator[Server]:
    """A running server."""
    running = Server()
    await running.start()
    yield running
    await running.close()


async def friends(server: Server) -> tuple[Client, Client, int]:
    """Alice, Bob, their conversation."""
    alice, bob = (Client(server.url, name, "secret", register=True) for name in ("alice", "bob"))
    for client in (alice, bob):
        client.start()
        await client.ready()
    await alice.friends.add("bob")
    return alice, bob, (await bob.friends.accept("alice"))["conv"]


async def test_file_is_sent_and_fetched_and_its_name_is_no_path(
    server: Server, tmp_path: Path
) -> None:
    alice, bob, conversation = await friends(server)
    got: DeferredQueue[Message] = DeferredQueue()
    bob.on_message(got.put)
    for size in (0, 3_000_000):
        (tmp_path / "a.png").write_bytes(os.urandom(size))
        sent = await alice.send_file(conversation, tmp_path / "a.png")
        message = await got.get()
        assert message.seq == sent.seq
        body = decode_file(message.body)
        assert (body.name, body.mime, body.size) == ("a.png", "image/png", size)
        await bob.fetch_file(message, tmp_path / str(size))
        assert (tmp_path / str(size)).read_bytes() == (tmp_path / "a.png").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["0", "3000000", "a.png"]
    for client in (alice, bob):
        await client.stop()


class Seen:
    """How far a transfer got, again and again."""

    def __init__(self) -> None:
        self.done: list[int] = []
        self.begun: Deferred[None] = Deferred()

    def progress(self, done: int, size: int) -> None:
        self.done.append(done)
        if not self.begun.called:
            self.begun.callback(None)


@pytest.mark.limit(300)
async def test_upload_and_download_go_on_after_the_server_was_killed(
    server: Server, tmp_path: Path
) -> None:
    alice, bob, _ = await friends(server)
    content = os.urandom(60_000_000)
    (tmp_path / "a").write_bytes(content)
    up, down = Seen(), Seen()
    uploading = Deferred.fromCoroutine(alice.files.upload(tmp_path / "a", progress=up.progress))
    await up.begun
    await server.kill()
    await server.start()
    body = await uploading
    fetching = Deferred.fromCoroutine(
        alice.files.fetch(body, tmp_path / "b", progress=down.progress)
    )
    await down.begun
    await server.kill()
    await server.start()
    await fetching
    assert (tmp_path / "b").read_bytes() == content
    for seen in (up.done, down.done):
        assert seen[-1] == len(content)
        assert seen == sorted(seen)
    for client in (alice, bob):
        await client.stop()


async def test_what_is_refused_or_damaged_is_raised(server: Server, tmp_path: Path) -> None:
    alice, bob, _ = await friends(server)
    (tmp_path / "a").write_bytes(b"content")
    body = await alice.files.upload(tmp_path / "a", name="x", mime="a/b")
    assert (body.name, body.mime) == ("x", "a/b")
    with pytest.raises(Refused) as caught:
        await bob.files.fetch(body, tmp_path / "b")
    assert caught.value.code == "not_found"
    assert caught.value.message == "there is no such file, or it is not for you"
    with pytest.raises(FileExistsError):
        await alice.files.fetch(body, tmp_path / "a")
    (tmp_path / f".imd-{body.file}.part").symlink_to("a")
    with pytest.raises(OSError, match="symbolic"):
        await alice.files.fetch(body, tmp_path / "b")
    (tmp_path / f".imd-{body.file}.part").unlink()
    with pytest.raises(Damaged):
        await alice.files.fetch(structs.replace(body, sha256="0" * 64), tmp_path / "b")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    for client in (alice, bob):
        await client.stop()


async def test_file_that_is_shorter_than_its_sender_says_is_not_asked_for_for_ever(
    server: Server, tmp_path: Path
) -> None:
    alice, bob, _ = await friends(server)
    for content in b"", b"content":
        (tmp_path / "a").write_bytes(content)
        body = await alice.files.upload(tmp_path / "a")
        for sha256 in body.sha256, "0" * 64:
            lying = structs.replace(body, size=len(content) + 9, sha256=sha256)
            with pytest.raises(Damaged, match="shorter"):
                await alice.files.fetch(lying, tmp_path / "b")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    for client in (alice, bob):
        await client.stop()


async def test_what_an_earlier_run_has_left_torn_is_fetched_anew(
    server: Server, tmp_path: Path
) -> None:
    alice, bob, _ = await friends(server)
    (tmp_path / "a").write_bytes(b"content")
    body = await alice.files.upload(tmp_path / "a")
    for torn in b"c\0\0", b"\0" * 7, b"\0" * 9:
        (tmp_path / f".imd-{body.file}.part").write_bytes(torn)
        await alice.files.fetch(body, tmp_path / "b")
        assert (tmp_path / "b").read_bytes() == b"content"
        (tmp_path / "b").unlink()
    (tmp_path / f".imd-{body.file}.part").write_bytes(b"c")
    with pytest.raises(Damaged):
        await alice.files.fetch(structs.replace(body, sha256="0" * 64), tmp_path / "b")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    for client in (alice, bob):
        await client.stop()


@pytest.mark.limit(300)
async def test_upload_ends_when_it_is_cancelled_and_when_the_file_is_changed(
    server: Server, tmp_path: Path
) -> None:
    alice, bob, _ = await friends(server)
    path = tmp_path / "a"
    path.write_bytes(bytes(12_000_000))
    ended: list[int] = []

    def cancel(done: int, size: int) -> None:
        ended.append(done)
        if len(ended) == 1:
            reactor.callLater(0, uploading.cancel)

    uploading = Deferred.fromCoroutine(alice.files.upload(path, progress=cancel))
    with pytest.raises(CancelledError):
        await uploading
    assert ended[-1] < 12_000_000

    def shorten(done: int, size: int) -> None:
        os.truncate(path, 6_000_000)

    with pytest.raises(Changed):
        await alice.files.upload(path, progress=shorten)

    def overwrite(done: int, size: int) -> None:
        with path.open("r+b") as file:
            file.seek(-1, os.SEEK_END)
            file.write(b"x")
        os.utime(path, ns=(0, done))

    with pytest.raises(Changed):
        await alice.files.upload(path, progress=overwrite)

    def append(done: int, size: int) -> None:
        with path.open("ab") as file:
            file.write(b"more")

    body = await alice.files.upload(path, progress=append)
    assert body.size == 6_000_000
    for client in (alice, bob):
        await client.stop()


class DecodeTests(SynchronousTestCase):
    def test_body_of_a_later_version_is_understood(self) -> None:
        body = FileBody(file=1, name="n", size=2, mime="m", sha256="0" * 64)
        raw = wire.encode(body)
        self.assertEqual(decode_file(raw), body)
        self.assertEqual(decode_file(raw[:-1] + b',"later":[1]}'), body)

    def test_what_is_no_file_is_a_bad_value(self) -> None:
        for raw in b"", b"[]", b"{}", b'{"file":0}':
            with self.assertRaises(BadValue):
                decode_file(raw)
