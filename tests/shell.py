"""Commands of ``imd`` that are run as a script would run them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from twisted.internet.threads import deferToThread

from imd.client import Client
from tests.process import Server
from tests.terminal import imd, terminal_environment

#: Seconds for a command to end: many more than any needs, however busy the machine is.
PATIENCE = 100.0


class Shell:
    """Runs commands of alice and bob, whose homes are below ``top``."""

    def __init__(self, server: Server, top: Path) -> None:
        self.server = server
        self._top = top
        self._started: list[subprocess.Popen[str]] = []

    def home(self, name: str) -> Path:
        home = self._top / name
        if not home.exists():
            (home / ".config" / "imd").mkdir(parents=True)
            (home / "password").write_text("secret\n")
            (home / ".config" / "imd" / "chat.toml").write_text(
                f'url = "{self.server.url}"\nuser = "{name}"\n'
                f'password-file = "{home / "password"}"\n'
            )
        return home

    def start(self, name: str, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        """Start a command; it is killed at the end of the test."""
        process = subprocess.Popen(
            imd(*arguments),
            stdin=subprocess.PIPE,
            stdout=options.get("stdout", subprocess.PIPE),
            stderr=subprocess.PIPE,
            text=True,
            env=terminal_environment(self.home(name)) | options.get("env", {}),
            start_new_session=True,
        )
        self._started.append(process)
        return process

    async def run(
        self, name: str, *arguments: str, input: str = "", **options: Any
    ) -> tuple[int, str, str]:
        """Run a command to its end: the exit code, standard output, standard error."""
        process = self.start(name, *arguments, **options)
        out, err = await deferToThread(process.communicate, input, PATIENCE)
        return process.returncode, out, err

    async def texts(self, name: str, *arguments: str) -> list[str]:
        """What ``imd tail --once`` prints."""
        code, out, err = await self.run(name, "tail", "--once", "--json", *arguments)
        assert (code, err) == (0, "")
        return [json.loads(line)["text"] for line in out.splitlines()]

    def client(self, name: str) -> Client:
        return Client(self.server.url, name, "secret", register=True)

    def close(self) -> None:
        for process in self._started:
            process.kill()
            process.communicate()

    async def friends(self) -> None:
        """Alice and Bob get accounts, and are friends."""
        alice, bob = self.client("alice"), self.client("bob")
        for client in (alice, bob):
            client.start()
            await client.ready()
        await alice.friends.add("bob")
        await bob.friends.accept("alice")
        await alice.stop()
        await bob.stop()
