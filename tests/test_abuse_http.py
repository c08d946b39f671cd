"""What hostile peers do to the HTTP side of the port, by the ids of the list of abuses."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_twisted

from tests.hostile import Chat, first, hostile, resident, status
from tests.process import Server
from tests.raw import pair


@pytest_twisted.async_yield_fixture(scope="module")
async def chat() -> AsyncIterator[Chat]:
    """One server for all cases: what one of them breaks, the next ones notice."""
    server = Server()
    await server.start()
    yield Chat(server, *await pair(server.port))
    await server.close()


def post(*lines: str, body: bytes = b"", path: str = "/v1/account.login") -> bytes:
    """A POST whose framing is that of ``lines`` alone."""
    head = [f"POST {path} HTTP/1.1", "Host: x", "Content-Type: application/json", *lines, "", ""]
    return "\r\n".join(head).encode("latin-1") + body


CHUNKED = "Transfer-Encoding: chunked"
SMUGGLED = b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n"

FRAMING: dict[str, bytes] = {
    "length and chunks": post("Content-Length: 5", CHUNKED, body=b"0\r\n\r\n" + SMUGGLED),
    "chunks and length": post(CHUNKED, "Content-Length: 5", body=b"0\r\n\r\n" + SMUGGLED),
    "two lengths": post("Content-Length: 2", "Content-Length: 2", body=b"{}" + SMUGGLED),
    "two different lengths": post("Content-Length: 2", "Content-Length: 9", body=b"{}" + SMUGGLED),
    "two lengths in one line": post("Content-Length: 2, 2", body=b"{}" + SMUGGLED),
    "length +2": post("Content-Length: +2", body=b"{}" + SMUGGLED),
    "length 0x2": post("Content-Length: 0x2", body=b"{}" + SMUGGLED),
    "length -1": post("Content-Length: -1", body=b"{}" + SMUGGLED),
    "length 2_0": post("Content-Length: 2_0", body=b"{}" + SMUGGLED),
    "length empty": post("Content-Length:", body=b"{}" + SMUGGLED),
    "coding xchunked": post("Transfer-Encoding: xchunked", body=b"0\r\n\r\n" + SMUGGLED),
    "coding gzip, chunked": post("Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n" + SMUGGLED),
    "two codings": post(CHUNKED, "Transfer-Encoding: identity", body=b"0\r\n\r\n" + SMUGGLED),
    "chunk 0x3": post(CHUNKED, body=b"0x3\r\nabc\r\n0\r\n\r\n" + SMUGGLED),
    "chunk -3": post(CHUNKED, body=b"-3\r\nabc\r\n0\r\n\r\n" + SMUGGLED),
    "chunk +3": post(CHUNKED, body=b"+3\r\nabc\r\n0\r\n\r\n" + SMUGGLED),
    "chunk without end": post(CHUNKED, body=b"3\r\nabcd\r\n0\r\n\r\n" + SMUGGLED),
    "line feed in a chunk extension": post(CHUNKED, body=b"2;a\nb\r\n{}\r\n0\r\n\r\n" + SMUGGLED),
    "space before the colon": post("Content-Length : 2", body=b"{}" + SMUGGLED),
    "nul in a header": post("X: a\0b", "Content-Length: 2", body=b"{}" + SMUGGLED),
    "folded line": post("X: a", " b", "Content-Length: 2", body=b"{}" + SMUGGLED),
    "folded first line": post(" X: a", "Content-Length: 2", body=b"{}" + SMUGGLED),
    "line without colon": post("nonsense", "Content-Length: 2", body=b"{}" + SMUGGLED),
    "empty name": post(": x", "Content-Length: 2", body=b"{}" + SMUGGLED),
    "absolute uri": SMUGGLED.replace(b"/readyz", b"http://evil/readyz"),
    "no host": SMUGGLED.replace(b"Host: x\r\n", b""),
    "two hosts": SMUGGLED.replace(b"Host: x", b"Host: x\r\nHost: y"),
    "no version": b"GET /readyz\r\nHost: x\r\n\r\n",
    "version 1.2.3": SMUGGLED.replace(b"1.1", b"1.2.3"),
}


@pytest.mark.parametrize("name", FRAMING)
async def test_a29_a_request_that_can_be_read_in_two_ways_is_refused_and_closed(
    chat: Chat, name: str
) -> None:
    answer = await hostile(chat, FRAMING[name], upgrade=False)
    assert answer.count(b"HTTP/1.1 ") <= 1, answer
    assert b"ready" not in answer
    if answer:
        assert status(answer) in (400, 501, 505), answer


PATHS: dict[str, tuple[bytes, set[int]]] = {
    "trace": (b"TRACE / HTTP/1.1\r\nHost: x\r\nX: canary\r\n\r\n", {405, 501}),
    "options *": (b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", {400, 405}),
    "options": (b"OPTIONS /v1/account.get HTTP/1.1\r\nHost: x\r\n\r\n", {405}),
    "connect": (b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n", {400, 405}),
    "get of a method": (b"GET /v1/account.get HTTP/1.1\r\nHost: x\r\n\r\n", {405}),
    "method override": (
        b"GET /v1/account.get HTTP/1.1\r\nHost: x\r\nX-HTTP-Method-Override: POST\r\n\r\n",
        {405},
    ),
    "lower case get": (b"get / HTTP/1.1\r\nHost: x\r\n\r\n", {405, 501}),
    "//": (post("Content-Length: 2", body=b"{}", path="//v1/account.get"), {404}),
    "/v1//": (post("Content-Length: 2", body=b"{}", path="/v1//account.get"), {404}),
    "/./": (post("Content-Length: 2", body=b"{}", path="/v1/./account.get"), {404}),
    "/../": (post("Content-Length: 2", body=b"{}", path="/x/../v1/account.get"), {404}),
    "%2e%2e": (post("Content-Length: 2", body=b"{}", path="/x/%2e%2e/v1/account.get"), {404}),
    "%61": (post("Content-Length: 2", body=b"{}", path="/v1/%61ccount.get"), {404}),
    ";x": (post("Content-Length: 2", body=b"{}", path="/v1/account.get;x"), {404}),
    "trailing /": (post("Content-Length: 2", body=b"{}", path="/v1/account.get/"), {404}),
    "nul": (post("Content-Length: 2", body=b"{}", path="/v1/account.get%00"), {404}),
    "upper case": (post("Content-Length: 2", body=b"{}", path="/v1/Account.Get"), {404}),
    "latin": (post("Content-Length: 2", body=b"{}", path="/v1/\xe4"), {400, 404}),
    "private method": (post("Content-Length: 2", body=b"{}", path="/v1/__class__"), {404}),
}


@pytest.mark.parametrize("name", PATHS)
async def test_a47_a_path_is_spelled_in_one_way_and_takes_one_verb(chat: Chat, name: str) -> None:
    request, expected = PATHS[name]
    answer = await first(chat, request)
    assert status(answer) in expected, answer
    assert b"canary" not in answer


def typed(kind: str, body: bytes, *lines: str) -> bytes:
    """A POST of this content type."""
    head = ["POST /v1/account.login HTTP/1.1", "Host: x", f"Content-Type: {kind}", *lines]
    return "\r\n".join([*head, f"Content-Length: {len(body)}", "", ""]).encode() + body


JSON = "application/json"
BODIES: dict[str, tuple[bytes, set[int]]] = {
    "one byte too many": (typed(JSON, b" " * 65537), {413}),
    "one byte too many in chunks": (
        post(CHUNKED, body=(b"1000\r\n" + b" " * 4096 + b"\r\n") * 16 + b"1\r\n \r\n0\r\n\r\n"),
        {413},
    ),
    "length of 64 GiB": (post("Content-Length: 68719476736", body=b"x" * 1000), {413}),
    "gzip": (typed(JSON, b"\x1f\x8b\x08", "Content-Encoding: gzip"), {415}),
    "form": (typed("application/x-www-form-urlencoded", b"user=a&password=b"), {415}),
    "multipart without a boundary": (typed("multipart/form-data", b"--\r\n\r\n--"), {415}),
    "multipart": (typed("multipart/form-data; boundary=x", b"--x\r\n\r\n--x--"), {415}),
    "form of many fields": (typed("application/x-www-form-urlencoded", b"a&" * 30000), {415}),
    "no json": (typed(JSON, b"<xml/>"), {400}),
    "utf-16": (typed(JSON, "{}".encode("utf-16")), {400}),
    "array": (typed(JSON, b"[]"), {400}),
    "deep": (typed(JSON, b"[" * 60000), {400}),
    "many keys": (typed(JSON, b"{%b}" % b",".join(b'"%d":1' % n for n in range(5000))), {400}),
}


@pytest.mark.parametrize("name", BODIES)
async def test_a48_a_body_that_is_too_large_or_no_json_is_refused(chat: Chat, name: str) -> None:
    request, expected = BODIES[name]
    answer = await first(chat, request)
    assert status(answer) in expected, answer


async def test_a48_a_form_of_64_megabytes_costs_no_memory(chat: Chat) -> None:
    before = resident(chat.server)
    kind = "application/x-www-form-urlencoded"
    head = typed(kind, b"").replace(b"Length: 0", b"Length: 67108864")
    answer = await hostile(chat, head, *[b"a=b&" * 262144] * 64, upgrade=False)
    assert not answer or status(answer) == 413
    assert resident(chat.server) - before < 2048
