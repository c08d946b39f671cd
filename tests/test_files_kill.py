"""Servers that are killed while files are on their way, and connectors that share a store."""

from __future__ import annotations

import hashlib
import os
import random
import socket
import sqlite3
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest_twisted
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from imd.storage.database import NAME
from tests.cluster import Cluster
from tests.http_files import bearer, body_of, get, new_slot, patch, put
from tests.process import FAST, PATIENCE, Server, reactor
from tests.raw import Raw, login, pair, resume
from tests.s3_server import KEY, SECRET, S3Server
from tests.servers import Redis

SIZE = 24_000_000


@pytest_twisted.async_yield_fixture()
async def server() -> AsyncIterator[Server]:
    """One that may be killed."""
    running = Server(config=FAST)
    await running.start()
    yield running
    await running.close()


async def offset_of(port: int, token: str, file: int) -> int:
    """What is there, by HEAD."""
    return int((await get(port, token, file, "HEAD")).headers["upload-offset"])


def trickle(port: int, token: str, file: int, content: bytes, offset: int) -> None:
    """Send the rest of a file until it is all sent or the server is gone."""
    head = [
        f"PATCH /v1/files/{file} HTTP/1.1",
        *("Host: x", f"Authorization: {bearer(token)}", "Tus-Resumable: 1.0.0"),
        *("Content-Type: application/offset+octet-stream", f"Upload-Offset: {offset}"),
        *(f"Content-Length: {len(content) - offset}", "", ""),
    ]
    try:
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as link:
            link.sendall("\r\n".join(head).encode())
            link.sendall(content[offset:])
            link.recv(1000)
    except OSError:
        return


def rows(server: Server, sql: str) -> list[tuple[Any, ...]]:
    """What the database says behind the back of the server."""
    db = sqlite3.connect(server.directory / "data" / NAME)
    try:
        return db.execute(sql).fetchall()
    finally:
        db.close()


def stored(server: Server) -> list[Path]:
    """The files of the store."""
    return [p for p in (server.directory / "data" / "files").rglob("*") if p.is_file()]


async def test_upload_that_ten_kills_interrupt_is_whole_in_the_end(server: Server) -> None:
    content, chance = os.urandom(SIZE), random.Random(3)
    alice = await login(server.port, "alice")
    token = alice.welcome["token"]
    file = await new_slot(server.port, token, content)
    offset = 0
    for _ in range(10):
        sending = deferToThread(trickle, server.port, token, file, content, offset)
        await deferLater(reactor, chance.uniform(0.001, 0.05), lambda: None)
        await server.kill()
        await sending
        await server.start()
        if (await get(server.port, token, file)).status == 200:
            break
        kept = await offset_of(server.port, token, file)
        assert kept >= offset
        offset = kept
    else:
        assert (await patch(server.port, token, file, content[offset:], offset)).status == 204
    answer = await get(server.port, token, file)
    assert hashlib.sha256(answer.content).digest() == hashlib.sha256(content).digest()
    assert [p.name for p in stored(server)] == [str(file)]
    assert rows(server, "SELECT id, files FROM blob") == [(file, 1)]


async def test_killed_between_rename_and_row_it_cannot_be_sent_and_is_mended(
    server: Server,
) -> None:
    content = os.urandom(100_000)
    alice = await login(server.port, "alice")
    token = alice.welcome["token"]
    file = await new_slot(server.port, token, content)
    await patch(server.port, token, file, content[:-1], 0)
    await server.kill()
    (part,) = stored(server)
    with part.open("ab") as opened:
        opened.write(content[-1:])
    part.rename(part.with_suffix(""))
    await server.start()
    assert (await get(server.port, token, file)).status == 404
    assert await offset_of(server.port, token, file) == len(content)
    assert (await put(server.port, token, file, content)).status == 201
    assert (await get(server.port, token, file)).content == content


async def send(raw: Raw, conversation: int, file: int, content: bytes) -> None:
    """Send a file, which is acknowledged."""
    id = str(uuid.uuid4())
    body = body_of(file, content)
    raw.say({"type": "send", "id": id, "conv": conversation, "kind": "file", "body": body})
    await raw.hear("ack", id=id)


async def across(cluster: Cluster) -> None:
    """A file goes from one connector to the other: bytes, message, receipt, link."""
    one, two = (connector.port for connector in cluster.connectors)
    content = os.urandom(7_000_000)
    a, b, conversation = await pair(one)
    there = await resume(two, b.welcome["token"])
    alice, bob = a.welcome["token"], there.welcome.get("token") or b.welcome["token"]
    file = await new_slot(one, alice, content)
    assert (await patch(one, alice, file, content[:6_000_000], 0)).status == 204
    assert await offset_of(two, alice, file) == 6_000_000
    assert (await patch(two, alice, file, content[6_000_000:], 6_000_000)).status == 204
    assert (await get(two, bob, file)).status == 404
    await send(a, conversation, file, content)
    heard = await there.hear("msg", conv=conversation)
    assert heard["body"]["sha256"] == hashlib.sha256(content).hexdigest()
    there.say({"type": "mark", "conv": conversation, "read": heard["seq"]})
    assert (await a.hear("receipt", read=heard["seq"]))["delivered"] == heard["seq"]
    assert (await get(two, bob, file)).content == content
    assert (await get(two, bob, file, Range="bytes=6000000-6000009")).content == (
        content[6_000_000:6_000_010]
    )
    link = (await there.call("file.link", file=file))["data"]["url"]
    answer = await deferToThread(_fetch, one, link)
    assert answer == content


def _fetch(port: int, path: str) -> bytes:
    import urllib.request

    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE) as answer:
        found: bytes = answer.read()
        return found


async def test_connectors_share_a_directory(
    store_url: str, empty_redis: Redis, tmp_path: Path
) -> None:
    cluster = Cluster(store_url, empty_redis, config=f'files = "{tmp_path / "files"}"\n')
    await cluster.start()
    try:
        await across(cluster)
    finally:
        await cluster.close()


async def test_connectors_share_a_bucket(store_url: str, empty_redis: Redis, s3: S3Server) -> None:
    bucket = f"imd-{uuid.uuid4().hex[:8]}"
    await s3.make_bucket(bucket)
    account = f'[s3]\nendpoint = "{s3.account.endpoint}"\nkey = "{KEY}"\nsecret = "{SECRET}"\n'
    cluster = Cluster(store_url, empty_redis, config=f'files = "s3://{bucket}/x"\n{account}')
    await cluster.start()
    try:
        await across(cluster)
    finally:
        await cluster.close()
