"""A client of ``/v1/files``: whole requests over ``http.client``, each in a thread."""

from __future__ import annotations

import hashlib
import http.client
from typing import Any, NamedTuple

from twisted.internet.threads import deferToThread

from tests.process import PATIENCE
from tests.raw import post


class Reply(NamedTuple):
    """What the server said."""

    status: int
    headers: dict[str, str]
    content: bytes


async def ask(
    port: int, method: str, path: str, content: bytes | None = None, **headers: str | None
) -> Reply:
    """One request; underscores in names of headers are dashes, and None leaves one out."""
    given = {k.replace("_", "-"): v for k, v in headers.items() if v is not None}
    return await deferToThread(_ask, port, method, path, content, given)


def _ask(port: int, method: str, path: str, content: bytes | None, headers: Any) -> Reply:
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        link.request(method, path, content, headers)
        answer = link.getresponse()
        return Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
    finally:
        link.close()


def bearer(token: str) -> str:
    """The value of ``Authorization``."""
    return f"Bearer {token}"


async def slot(port: int, token: str, content: bytes, **changes: Any) -> Any:
    """The answer to ``file.slot`` for some bytes."""
    digest = hashlib.sha256(content).hexdigest()
    declared = {"size": len(content), "sha256": digest, "name": "a.txt", "mime": "text/plain"}
    return await post(port, "/v1/file.slot", declared | changes, token)


async def new_slot(port: int, token: str, content: bytes, **changes: Any) -> int:
    """The id of a file that may be uploaded."""
    status, answer = await slot(port, token, content, **changes)
    assert status == 200, answer
    assert answer["put"] == f"/v1/files/{answer['file']}"
    file: int = answer["file"]
    return file


async def put(port: int, token: str, file: int, content: bytes, **headers: str | None) -> Reply:
    """Upload a file as a whole."""
    return await ask(
        port, "PUT", f"/v1/files/{file}", content, Authorization=bearer(token), **headers
    )


async def patch(port: int, token: str, file: int, content: bytes, offset: int) -> Reply:
    """Upload some of it, as tus does."""
    return await ask(
        port,
        "PATCH",
        f"/v1/files/{file}",
        content,
        Authorization=bearer(token),
        Tus_Resumable="1.0.0",
        Upload_Offset=str(offset),
        Content_Type="application/offset+octet-stream",
    )


async def get(port: int, token: str, file: int, method: str = "GET", **headers: str) -> Reply:
    """Read it."""
    return await ask(port, method, f"/v1/files/{file}", Authorization=bearer(token), **headers)


def body_of(file: int, content: bytes, **changes: Any) -> dict[str, Any]:
    """The body of a message that carries it."""
    digest = hashlib.sha256(content).hexdigest()
    return {
        "file": file,
        "name": "a.txt",
        "size": len(content),
        "mime": "text/plain",
        "sha256": digest,
    } | changes
