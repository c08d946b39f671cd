"""What files may take up, and that messages go on where files cannot."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator

import pytest
import pytest_twisted
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from tests.http_files import bearer, get, new_slot, put, slot
from tests.limited import limits
from tests.process import FAST, PATIENCE, Server, reactor
from tests.raw import pair

LIMITS = "files_per_day = 3\nfile_bytes_per_day = 1000\n"


@pytest_twisted.async_yield_fixture()
async def server(request: pytest.FixtureRequest) -> AsyncIterator[Server]:
    """A server with the limits that a test names."""
    running = Server(config=FAST + request.param)
    await running.start()
    yield running
    await running.close()


@pytest.mark.parametrize("server", [LIMITS], indirect=True)
@limits("files_per_day", "file_bytes_per_day")
async def test_a55_user_has_so_many_files_and_bytes_a_day(server: Server) -> None:
    a, b, _ = await pair(server.port)
    alice, bob = a.welcome["token"], b.welcome["token"]
    assert (await slot(server.port, alice, b"x" * 990))[0] == 200
    status, answer = await slot(server.port, alice, b"x" * 11)
    assert (status, answer["error"]["code"]) == (429, "limit")
    for _ in range(2):
        assert (await slot(server.port, alice, b"x"))[0] == 200
    status, answer = await slot(server.port, alice, b"")
    assert (status, answer["error"]["code"]) == (429, "limit")
    assert (await slot(server.port, bob, b"x"))[0] == 200
    answer = await a.call("file.slot", size=1, sha256="0" * 64, name="n", mime="m")
    assert answer["code"] == "limit"


@limits("file_reserve_bytes")
@pytest.mark.parametrize("server", [f"file_reserve_bytes = {2**52}\n"], indirect=True)
async def test_f31_full_disk_refuses_uploads_and_nothing_else(server: Server) -> None:
    a, b, conversation = await pair(server.port)
    alice = a.welcome["token"]
    file = await new_slot(server.port, alice, b"content")
    answer = await put(server.port, alice, file, b"content")
    assert answer.status == 507
    assert b'"unavailable"' in answer.content
    assert int(answer.headers["retry-after"]) > 0
    id = a.text(conversation, "still here")
    await a.hear("ack", id=id)
    await b.hear("msg", id=id)


def resident(server: Server) -> int:
    """Memory of the process in KiB."""
    with open(f"/proc/{server.pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


@pytest.mark.parametrize("server", ["downloads = 50\ndownloads_per_user = 50\n"], indirect=True)
async def test_clients_that_do_not_read_take_little_memory(server: Server) -> None:
    a, _, _ = await pair(server.port)
    alice = a.welcome["token"]
    content = os.urandom(30_000_000)
    file = await new_slot(server.port, alice, content)
    assert (await put(server.port, alice, file, content)).status == 201
    head = f"GET /v1/files/{file} HTTP/1.1\r\nHost: x\r\nAuthorization: {bearer(alice)}\r\n\r\n"
    before, links = resident(server), []
    for _ in range(50):
        link = socket.create_connection(("127.0.0.1", server.port), PATIENCE)
        link.sendall(head.encode())
        links.append(link)
    for link in links:
        assert await deferToThread(link.recv, 1, socket.MSG_PEEK)
    # What it would read ahead it has read by now, or soon.
    await deferLater(reactor, 2, lambda: None)
    assert resident(server) - before < 50 * 1024
    answer = await get(server.port, alice, file)
    assert answer.status == 429
    assert "etag" not in answer.headers
    for link in links:
        link.close()
    # Their places become free.
    while (await get(server.port, alice, file, "GET", Range="bytes=0-1")).status != 206:
        pass
