"""Files over HTTP, on a real server: uploading, going on, sending, reading, links."""

from __future__ import annotations

import http.client
import json
import os
import socket
import uuid
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import pytest
import pytest_twisted
from twisted.internet.threads import deferToThread

from tests.http_files import ask, bearer, body_of, get, new_slot, patch, put, slot
from tests.process import FAST, PATIENCE, Server
from tests.raw import Raw, login, pair, post

CONFIG = f"{FAST}\nfile_bytes = 3000000\nfiles_per_day = 10000\nfile_bytes_per_day = 1000000000\n"
PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 100
LOST = {"error": {"code": "not_found", "message": "there is no such file, or it is not for you"}}


class Chat(NamedTuple):
    """A server, two friends and their conversation, and somebody else."""

    server: Server
    alice: Raw
    bob: Raw
    conversation: int
    carol: Raw

    @property
    def port(self) -> int:
        """Where it is."""
        return self.server.port


@pytest_twisted.async_yield_fixture(scope="module")
async def chat() -> AsyncIterator[Chat]:
    """One server for all tests."""
    server = Server(config=CONFIG)
    await server.start()
    yield Chat(server, *await pair(server.port), await login(server.port, "carol"))
    await server.close()


def token(raw: Raw) -> str:
    """The token of a session."""
    found: str = raw.welcome["token"]
    return found


async def send(chat: Chat, file: int, content: bytes, **changes: Any) -> dict[str, Any]:
    """Send a file; the ``ack`` or ``nack``."""
    id = str(uuid.uuid4())
    body = body_of(file, content, **changes)
    frame = {"type": "send", "id": id, "conv": chat.conversation, "kind": "file", "body": body}
    chat.alice.say(frame)
    pending: dict[str, Any] = {}
    while not pending:
        for kind in ("ack", "nack"):
            for heard in chat.alice.heard(kind):
                if heard["id"] == id:
                    pending = await chat.alice.hear(kind, id=id)
        if not pending:
            await chat.alice.call("account.get")
    return pending


async def shared(chat: Chat, content: bytes, **changes: Any) -> int:
    """A file that Alice has sent to Bob."""
    file = await new_slot(chat.port, token(chat.alice), content, **changes)
    assert (await put(chat.port, token(chat.alice), file, content)).status == 201
    assert (await send(chat, file, content))["type"] == "ack"
    return file


async def test_file_is_uploaded_sent_and_read_by_the_other(chat: Chat) -> None:
    content = os.urandom(1_000_000)
    file = await new_slot(chat.port, token(chat.alice), content)
    assert (await send(chat, file, content))["code"] == "no_file"
    answer = await put(chat.port, token(chat.alice), file, content)
    assert (answer.status, answer.headers["upload-offset"]) == (201, "1000000")
    assert (await get(chat.port, token(chat.bob), file)).status == 404
    assert (await send(chat, file, content))["type"] == "ack"
    heard = await chat.bob.hear("msg", body=body_of(file, content))
    assert heard["kind"] == "file"
    answer = await get(chat.port, token(chat.bob), file)
    assert answer.status == 200
    assert answer.content == content
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment;")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "private, no-store"
    assert answer.headers["content-security-policy"].startswith("sandbox;")
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"


async def test_part_of_a_file_is_read_by_range(chat: Chat) -> None:
    content = os.urandom(5000)
    file, bob = await shared(chat, content), token(chat.bob)
    answer = await get(chat.port, bob, file, Range="bytes=100-199")
    assert (answer.status, answer.content) == (206, content[100:200])
    assert answer.headers["content-range"] == "bytes 100-199/5000"
    answer = await get(chat.port, bob, file, Range="bytes=-10")
    assert (answer.status, answer.content) == (206, content[-10:])
    answer = await get(chat.port, bob, file, Range="bytes=5000-")
    assert (answer.status, answer.headers["content-range"]) == (416, "bytes */5000")
    answer = await get(chat.port, bob, file, Range="bytes=0-1,5-9")
    assert (answer.status, answer.content) == (200, content)
    tag = answer.headers["etag"]
    answer = await get(chat.port, bob, file, Range="bytes=7-", If_Range=tag)
    assert (answer.status, answer.content) == (206, content[7:])
    answer = await get(chat.port, bob, file, Range="bytes=7-", If_Range='"other"')
    assert (answer.status, answer.content) == (200, content)
    answer = await get(chat.port, bob, file, "HEAD")
    assert (answer.status, answer.headers["content-length"]) == (200, "5000")


async def test_bytes_that_are_missing_break_the_connection(chat: Chat) -> None:
    content = os.urandom(2_000_000)
    file = await shared(chat, content)
    (path,) = (chat.server.directory / "data" / "files").glob(f"*/{file}")
    os.truncate(path, 1_000_000)
    with pytest.raises(http.client.IncompleteRead):
        await get(chat.port, token(chat.bob), file)
    assert f"files: file {file} ends at 1000000, before its end" in chat.server.output
    os.truncate(path, 0)
    lost = await get(chat.port, token(chat.bob), file)
    assert (lost.status, json.loads(lost.content)["error"]["code"]) == (503, "unavailable")
    assert "Traceback" not in chat.server.output


async def test_upload_goes_on_where_head_says(chat: Chat) -> None:
    content = os.urandom(300_000)
    alice = token(chat.alice)
    file = await new_slot(chat.port, alice, content)
    for start, end in ((0, 1000), (1000, 200_000), (200_000, 300_000)):
        answer = await get(chat.port, alice, file, "HEAD")
        assert answer.status == 200
        assert answer.headers["upload-offset"] == str(start)
        assert answer.headers["upload-length"] == "300000"
        assert answer.headers["tus-resumable"] == "1.0.0"
        answer = await patch(chat.port, alice, file, content[start:end], start)
        assert (answer.status, answer.headers["upload-offset"]) == (204, str(end))
    assert (await get(chat.port, alice, file)).content == content


async def test_upload_goes_on_by_content_range(chat: Chat) -> None:
    content = os.urandom(10_000)
    alice = token(chat.alice)
    file = await new_slot(chat.port, alice, content)
    answer = await put(chat.port, alice, file, content[:4000], Content_Range="bytes 0-3999/10000")
    assert (answer.status, answer.headers["upload-offset"]) == (202, "4000")
    answer = await put(chat.port, alice, file, b"x", Content_Range="bytes 3999-3999/10000")
    assert answer.status == 409
    answer = await put(chat.port, alice, file, b"xx", Content_Range="bytes 4000-9999/10000")
    assert answer.status == 400
    answer = await put(
        chat.port, alice, file, content[4000:], Content_Range="bytes 4000-9999/10000"
    )
    assert answer.status == 201
    assert (await get(chat.port, alice, file)).content == content


async def test_whole_upload_begins_anew_and_may_be_repeated(chat: Chat) -> None:
    content = os.urandom(200_000)
    alice = token(chat.alice)
    file = await new_slot(chat.port, alice, content)
    assert (await patch(chat.port, alice, file, b"other" * 1000, 0)).status == 204
    assert (await put(chat.port, alice, file, content)).status == 201
    assert (await put(chat.port, alice, file, content)).status == 201
    assert (await patch(chat.port, alice, file, b"", len(content))).status == 204
    assert (await patch(chat.port, alice, file, b"", 7)).status == 409
    assert (await get(chat.port, alice, file)).content == content


async def test_other_bytes_than_declared_are_refused_and_the_slot_is_gone(chat: Chat) -> None:
    alice = token(chat.alice)
    file = await new_slot(chat.port, alice, b"declared")
    answer = await put(chat.port, alice, file, b"otherwis")
    assert answer.status == 400
    assert json.loads(answer.content)["error"]["code"] == "bad_request"
    assert (await get(chat.port, alice, file, "HEAD")).status == 404
    assert (await send(chat, file, b"declared"))["code"] == "no_file"


async def test_empty_file_is_a_file(chat: Chat) -> None:
    file = await shared(chat, b"")
    answer = await get(chat.port, token(chat.bob), file)
    assert (answer.status, answer.content) == (200, b"")


@pytest.mark.parametrize(
    ("content", "media"),
    [
        (PNG, "image/png"),
        (b"<svg onload=alert(1)>", None),
        (b"GIF89a<script>alert(1)</script>", "image/gif"),
    ],
)
async def test_a51_only_what_the_first_bytes_prove_is_shown(
    chat: Chat, content: bytes, media: str | None
) -> None:
    content += uuid.uuid4().bytes
    file = await shared(chat, content, mime="image/png")
    answer = await get(chat.port, token(chat.bob), file)
    kind = answer.headers["content-disposition"].partition(";")[0]
    assert answer.headers["content-type"] == (media or "application/octet-stream")
    assert kind == ("inline" if media else "attachment")
    assert answer.headers["content-security-policy"].startswith("sandbox;")


@pytest.mark.parametrize(
    "name",
    ["../x", "a\r\nSet-Cookie: x=1", "CON", "\u202egpj.exe", '"; x="', "\U0001f600", "é/ü\\"],
)
async def test_a51_name_is_data(chat: Chat, name: str) -> None:
    content = uuid.uuid4().bytes
    file = await shared(chat, content, name=name)
    answer = await get(chat.port, token(chat.bob), file)
    assert answer.content == content
    assert "set-cookie" not in answer.headers
    assert answer.headers["content-disposition"].count('"') == 2
    assert answer.headers["content-disposition"].isascii()


@pytest.mark.parametrize("name", ["", "a\0b", "x" * 256])
async def test_a51_name_that_is_none_is_refused(chat: Chat, name: str) -> None:
    status, answer = await slot(chat.port, token(chat.alice), b"x", name=name)
    assert (status, answer["error"]["code"]) == (400, "bad_request")


async def test_a50_limit_is_the_limit(chat: Chat) -> None:
    alice = token(chat.alice)
    status, answer = await slot(chat.port, alice, b"", size=3_000_001)
    assert (status, answer["error"]["code"]) == (413, "too_large")
    content = os.urandom(3_000_000)
    file = await new_slot(chat.port, alice, content)
    assert (await put(chat.port, alice, file, content)).status == 201


def exchange(port: int, *parts: bytes) -> bytes:
    """Send some bytes, each part once the one before was answered; all answers, as heads."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as link:
        answer = b""
        for number, part in enumerate(parts, 1):
            link.sendall(part)
            while answer.count(b"\r\n\r\n") < number:
                answer += (more := link.recv(65536))
                assert more, answer
        return answer


def head(file: int, token: str, *lines: str, method: str = "PUT") -> bytes:
    """The head of an upload."""
    start = [f"{method} /v1/files/{file} HTTP/1.1", "Host: x", f"Authorization: Bearer {token}"]
    return "\r\n".join([*start, *lines, "", ""]).encode()


async def test_a50_length_is_needed_and_has_to_be_that_of_the_slot(chat: Chat) -> None:
    alice = token(chat.alice)
    file = await new_slot(chat.port, alice, b"12345")

    async def said(*lines: str, method: str = "PUT") -> bytes:
        raw = head(file, alice, *lines, method=method)
        return (await deferToThread(exchange, chat.port, raw))[9:12]

    assert await said("Transfer-Encoding: chunked") == b"411"
    assert await said("Content-Length: 6") == b"413"
    assert await said("Content-Length: 4") == b"400"
    assert await said("Content-Length: 99999999999999") == b"413"
    tus = "Content-Type: application/offset+octet-stream"
    assert await said("Content-Length: 5", "Upload-Offset: 1", tus, method="PATCH") == b"413"
    assert await said("Content-Length: 5", tus, method="PATCH") == b"400"
    assert await said("Content-Length: 5", "Upload-Offset: 0", method="PATCH") == b"415"
    assert await said("Content-Length: 5", "Tus-Resumable: 0.2", method="PATCH") == b"412"
    assert await said("Content-Length: 5", "Content-Encoding: gzip") == b"415"
    assert (await put(chat.port, alice, file, b"12345")).status == 201


async def test_body_is_asked_for_only_when_it_is_wanted(chat: Chat) -> None:
    alice = token(chat.alice)
    file = await new_slot(chat.port, alice, b"12345")
    lines = ("Content-Length: 5", "Expect: 100-continue")
    for wrong in (head(file, "nobody", *lines), head(file, token(chat.carol), *lines)):
        answer = await deferToThread(exchange, chat.port, wrong)
        assert answer[9:12] in (b"401", b"404")
        assert b"100 Continue" not in answer
    answer = await deferToThread(exchange, chat.port, head(file, alice, *lines))
    assert answer == b"HTTP/1.1 100 Continue\r\n\r\n"
    answer = await deferToThread(exchange, chat.port, head(file, alice, *lines), b"12345")
    assert b"HTTP/1.1 201 Created" in answer


async def test_upload_of_nobody_or_somebody_else_takes_no_byte(chat: Chat) -> None:
    content = os.urandom(2_000_000)
    file = await new_slot(chat.port, token(chat.alice), content)
    for other, status in (("nobody", 401), (token(chat.carol), 404), (token(chat.bob), 404)):
        answer = await put(chat.port, other, file, content)
        assert answer.status == status
        assert (await get(chat.port, other, file)).status == status
    answer = await get(chat.port, token(chat.alice), file, "HEAD")
    assert answer.headers["upload-offset"] == "0"


async def test_incomplete_file_is_read_by_nobody(chat: Chat) -> None:
    alice = token(chat.alice)
    file = await new_slot(chat.port, alice, b"12345")
    await patch(chat.port, alice, file, b"1234", 0)
    for who in (chat.alice, chat.bob):
        answer = await get(chat.port, token(who), file)
        assert (answer.status, json.loads(answer.content)) == (404, LOST)
    assert (await post(chat.port, "/v1/file.link", {"file": file}, alice))[0] == 404


async def link_to(chat: Chat, who: Raw, file: int) -> str:
    """The path of a link."""
    status, answer = await post(chat.port, "/v1/file.link", {"file": file}, token(who))
    assert status == 200, answer
    url: str = answer["url"]
    return url


async def test_link_needs_no_token(chat: Chat) -> None:
    content = PNG + uuid.uuid4().bytes
    file = await shared(chat, content)
    url = await link_to(chat, chat.bob, file)
    assert url.startswith(f"/v1/files/{file}?link=")
    answer = await ask(chat.port, "GET", url)
    assert (answer.status, answer.content) == (200, content)
    answer = await ask(chat.port, "HEAD", url)
    assert (answer.status, answer.headers["content-length"]) == (200, str(len(content)))


async def test_what_may_not_be_read_is_as_what_never_was(chat: Chat) -> None:
    file, other = await shared(chat, uuid.uuid4().bytes), await shared(chat, uuid.uuid4().bytes)
    url = await link_to(chat, chat.bob, file)
    signed = url.partition("=")[2]
    never = await get(chat.port, token(chat.carol), 4711)
    assert (never.status, json.loads(never.content)) == (404, LOST)
    answers = [
        await get(chat.port, token(chat.carol), file),
        await ask(chat.port, "GET", f"/v1/files/{other}?link={signed}"),
        await ask(chat.port, "GET", f"/v1/files/{file}?link={signed[:-2]}AA"),
        await ask(chat.port, "GET", f"/v1/files/{file}?link=x"),
        await ask(chat.port, "GET", f"/v1/files/{file}?link="),
        await ask(chat.port, "GET", f"/v1/files/4711?link={signed}"),
    ]
    for answer in answers:
        assert (answer.status, answer.content) == (404, never.content)
        assert answer.headers.keys() == never.headers.keys()
    for path in ("", "0", "01", "-1", "x", "1/2", "9" * 16, "%31", "../files/1"):
        for method in ("GET", "PUT"):
            answer = await ask(
                chat.port,
                method,
                f"/v1/files/{path}",
                b"x" if method == "PUT" else None,
                Authorization=bearer(token(chat.alice)),
            )
            assert answer.status == 404, path


async def test_link_ends_with_the_device_and_with_the_friendship(chat: Chat) -> None:
    a, b, conversation = await pair(chat.port, "dora", "emil")
    here = chat._replace(alice=a, bob=b, conversation=conversation)
    file = await shared(here, uuid.uuid4().bytes)
    second = await login(chat.port, "emil", register=None)
    first, other = await link_to(chat, b, file), await link_to(chat, second, file)
    assert (await ask(chat.port, "GET", other)).status == 200
    await b.call("device.revoke", device=second.welcome["device"])
    assert (await ask(chat.port, "GET", other)).status == 404
    assert (await get(chat.port, token(second), file)).status == 401
    assert (await ask(chat.port, "GET", first)).status == 200
    await a.call("friend.remove", user="emil")
    answer = await get(chat.port, token(b), file)
    assert (answer.status, json.loads(answer.content)) == (404, LOST)
    assert (await ask(chat.port, "GET", first)).status == 404
    assert (await get(chat.port, token(a), file)).status == 200


async def test_broken_upload_keeps_what_came(chat: Chat) -> None:
    content = os.urandom(1_000_000)
    alice = token(chat.alice)
    file = await new_slot(chat.port, alice, content)

    def break_off() -> None:
        with socket.create_connection(("127.0.0.1", chat.port), PATIENCE) as link:
            link.sendall(head(file, alice, "Content-Length: 1000000") + content[:700_000])

    await deferToThread(break_off)
    kept = 0
    while kept != 700_000:
        kept = int((await get(chat.port, alice, file, "HEAD")).headers["upload-offset"])
    assert (await patch(chat.port, alice, file, content[kept:], kept)).status == 204
    assert (await get(chat.port, alice, file)).content == content
