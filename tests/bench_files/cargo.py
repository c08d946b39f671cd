"""The bytes of one large file, and one user who moves them, whole or broken off on the way."""

from __future__ import annotations

import hashlib
import os
import random
import secrets
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from twisted.internet.threads import deferToThread

from tests.bench_files.places import Place
from tests.http_files import get
from tests.process import ROOT, Server, environment
from tests.raw import login, post

#: How much less of a processor than others they get who move bytes.
NICE = "5"
MIB = 1 << 20
#: What a peer says where it is to break off, and the answer while bytes of the connection before
#: are still being taken: what is there has to be asked for again.
_THERE, _BUSY = "there", "409"


class Cargo:
    """``size`` random bytes in ``directory``, made of ``seed``."""

    def __init__(self, place: Place, directory: Path, size: int, seed: int) -> None:
        self.place = place
        self.size = size
        self._path = directory / "up"
        self._copy = directory / "down"
        self.sha256 = _write(self._path, size, seed)
        self._token = ""

    async def login(self) -> None:
        """Become somebody."""
        raw = await login(self.place.up.port, f"carol-{secrets.token_hex(4)}")
        self._token = raw.welcome["token"]
        raw.sendClose()

    async def slot(self) -> int:
        """A new file to upload."""
        declared = {"size": self.size, "sha256": self.sha256, "name": "big", "mime": "a/b"}
        status, answer = await post(self.place.up.port, "/v1/file.slot", declared, self._token)
        assert status == 200, answer
        file: int = answer["file"]
        return file

    # -- as a whole

    async def upload(self, file: int) -> None:
        """Bring all of it."""
        said = await self._move("up", file, self._path, 0)
        assert said == "204", said

    async def fetch(self, file: int) -> None:
        """Get all of it, which is what was brought."""
        said = await self._move("down", file, "-", 0)
        assert said == self.sha256, said

    # -- broken off

    async def upload_in_pieces(self, file: int, breaks: Sequence[tuple[int, bool]]) -> None:
        """Bring it; each break is a point, and whether it is by ``kill -9`` of the server."""
        for until, kills in breaks:
            said = _BUSY
            while said == _BUSY and (offset := await self._stored(file)) < until:
                said = await self._break_off("up", file, self._path, (offset, until), kills)
        said = _BUSY
        while said == _BUSY:
            said = await self._move("up", file, self._path, await self._stored(file))
        assert said == "204", said

    async def fetch_in_pieces(self, file: int, breaks: Sequence[tuple[int, bool]]) -> str:
        """Get it, in the same way; the digest of what came."""
        self._copy.touch()
        for until, kills in breaks:
            offset = self._copy.stat().st_size
            said = await self._break_off("down", file, self._copy, (offset, until), kills)
            assert said == _THERE, said
        offset = self._copy.stat().st_size
        said = await self._move("down", file, self._copy, offset)
        assert said == "206", said
        return await deferToThread(_digest, self._copy)

    async def _stored(self, file: int) -> int:
        answer = await get(self.place.up.port, self._token, file, "HEAD")
        return int(answer.headers["upload-offset"])

    async def _move(self, verb: str, file: int, path: Path | str, offset: int) -> str:
        child = self._peer(verb, file, path, (offset, self.size))
        said, _ = await deferToThread(child.communicate)
        return said.strip()

    async def _break_off(
        self, verb: str, file: int, path: Path, span: tuple[int, int], kills: bool
    ) -> str:
        child = self._peer(verb, file, path, span)
        assert child.stdout is not None
        said = (await deferToThread(child.stdout.readline)).strip()
        server = self._server(verb)
        if kills:
            await server.kill()
        await deferToThread(child.communicate)
        if kills:
            await server.start()
        return said

    def _server(self, verb: str) -> Server:
        return self.place.up if verb == "up" else self.place.down

    def _peer(
        self, verb: str, file: int, path: Path | str, span: tuple[int, int]
    ) -> subprocess.Popen[str]:
        words = [str(word) for word in (verb, self._server(verb).port, file, path, *span)]
        return subprocess.Popen(
            ["nice", "-n", NICE, sys.executable, "-m", "tests.bench_files.peer", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env=environment() | {"IMD_TOKEN": self._token},
        )


def points(size: int, seed: int, count: int = 10) -> list[tuple[int, bool]]:
    """Where a transfer breaks, ascending, and whether by a kill: half of them are."""
    chance = random.Random(seed)
    kills = [n < count // 2 for n in range(count)]
    chance.shuffle(kills)
    return list(zip(sorted(chance.sample(range(1, size), count)), kills, strict=True))


def _write(path: Path, size: int, seed: int) -> str:
    chance, digest = random.Random(seed), hashlib.sha256()
    with path.open("wb") as file:
        for start in range(0, size, MIB):
            data = chance.randbytes(min(MIB, size - start))
            digest.update(data)
            file.write(data)
        file.flush()
        # Whoever is measured later shall not have to wait for these.
        os.fsync(file.fileno())
    return digest.hexdigest()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
