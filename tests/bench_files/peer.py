"""One side of a transfer, as a process of its own, so that it takes no time from who measures.

    python -m tests.bench_files.peer up PORT FILE PATH OFFSET UNTIL
    python -m tests.bench_files.peer down PORT FILE PATH OFFSET UNTIL

``up`` sends PATH from OFFSET on; ``down`` appends to it what comes, or makes a digest of it if PATH
is ``-``.  At UNTIL, if that is not the end, they say ``there`` and break the connection as soon as
standard input ends, unless somebody else has broken it before.  At the end they say the status
of the answer, or the digest.  The token is in the environment, IMD_TOKEN.
"""

from __future__ import annotations

import hashlib
import os
import select
import socket
import struct
import sys

#: Bytes that are read and sent at once.
CHUNK = 1 << 18
#: Seconds without any progress after which it is given up.
PATIENCE = 300


def main(arguments: list[str]) -> None:
    """Move the bytes."""
    verb, path = arguments[0], arguments[3]
    port, file, offset, until = (int(arguments[n]) for n in (1, 2, 4, 5))
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as link:
        (_up if verb == "up" else _down)(link, file, path, offset, until)


def _up(link: socket.socket, file: int, path: str, offset: int, until: int) -> None:
    size = os.path.getsize(path)
    lines = ["Tus-Resumable: 1.0.0", "Content-Type: application/offset+octet-stream"]
    lines += [f"Upload-Offset: {offset}", f"Content-Length: {size - offset}"]
    link.sendall(_head("PATCH", file, lines))
    with open(path, "rb") as source:
        source.seek(offset)
        while (start := source.tell()) < until and not _is_answered(link):
            link.sendall(source.read(min(CHUNK, until - start)))
    if until < size and not _is_answered(link):
        _break(link)
    else:
        print(link.recv(CHUNK).split()[1].decode(), flush=True)


def _is_answered(link: socket.socket) -> bool:
    return bool(select.select([link], [], [], 0)[0])


def _down(link: socket.socket, file: int, path: str, offset: int, until: int) -> None:
    link.sendall(_head("GET", file, [f"Range: bytes={offset}-"]))
    digest = hashlib.sha256()
    with link.makefile("rb") as answer, open(os.devnull if path == "-" else path, "ab") as target:
        status = answer.readline().split()[1].decode()
        fields = dict(line.split(b": ", 1) for line in iter(answer.readline, b"\r\n"))
        end = offset + int(fields[b"Content-Length"])
        for start in range(offset, until, CHUNK):
            data = answer.read(min(CHUNK, until - start))
            (digest.update if path == "-" else target.write)(data)
    if until < end:
        _break(link)
    else:
        print(digest.hexdigest() if path == "-" else status, flush=True)


def _head(method: str, file: int, lines: list[str]) -> bytes:
    token = os.environ["IMD_TOKEN"]
    first = [f"{method} /v1/files/{file} HTTP/1.1", "Host: localhost"]
    return "\r\n".join([*first, f"Authorization: Bearer {token}", *lines, "", ""]).encode()


def _break(link: socket.socket) -> None:
    """Say that it is time, wait for the word, and abort."""
    print("there", flush=True)
    sys.stdin.read()
    link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


if __name__ == "__main__":
    main(sys.argv[1:])
