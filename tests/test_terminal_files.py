"""Files from scripts: ``imd send --file`` and ``imd tail --save``, with one server for all."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.protocols import portforward

from imd.terminal.codes import Exit
from tests.process import Server, reactor
from tests.shell import Shell
from tests.terminal import Terminal, imd

ID = "0191aaaa-0000-7000-8000-0000000000aa"


@pytest_twisted.async_yield_fixture(scope="module")
async def running(tmp_path_factory: Any) -> AsyncIterator[Shell]:
    server = Server()
    await server.start()
    shell = Shell(server, tmp_path_factory.mktemp("homes"))
    await shell.friends()
    yield shell
    shell.close()
    await server.close()


@pytest.fixture
def shell(running: Shell) -> Iterator[Shell]:
    yield running
    running.close()


async def received(shell: Shell, *arguments: str) -> list[dict[str, Any]]:
    """What ``imd tail --once`` of Bob prints."""
    code, out, err = await shell.run("bob", "tail", "--once", "--json", *arguments)
    assert (code, err) == (0, "")
    return [json.loads(line) for line in out.splitlines()]


async def test_files_are_sent_and_saved_under_names_that_are_free(
    shell: Shell, tmp_path: Path
) -> None:
    one, two, there = tmp_path / "one.txt", tmp_path / "two.png", tmp_path / "there"
    one.write_bytes(b"first")
    two.write_bytes(os.urandom(6_000_000))
    there.mkdir()
    (there / "one.txt").write_bytes(b"mine!")
    arguments = ("send", "bob", "look", "--file", str(one), "--file", str(two))
    assert await shell.run("alice", *arguments) == (0, "", "")
    first, second = await received(shell, "--save", str(there))
    assert (first["kind"], first["body"]["text"]) == ("file", "look")
    assert first["text"] == "[file one.txt, 5 bytes, text/plain] look"
    assert first["saved"] == str(there / "one (2).txt")
    assert second["saved"] == str(there / "two.png")
    assert "text" not in second["body"]
    assert sorted(path.name for path in there.iterdir()) == ["one (2).txt", "one.txt", "two.png"]
    assert (there / "one.txt").read_bytes() == b"mine!"
    assert (there / "one (2).txt").read_bytes() == b"first"
    assert (there / "two.png").read_bytes() == two.read_bytes()


async def test_standard_input_is_a_file_with_a_name(shell: Shell, tmp_path: Path) -> None:
    arguments = ("send", "bob", "--file", "-", "--name", "../a\n\u202egnp.sh")
    assert await shell.run("alice", *arguments, input="from a pipe") == (0, "", "")
    code, out, err = await shell.run("bob", "tail", "--once", "--save", str(tmp_path))
    assert (code, err) == (0, "")
    assert r"[file ../a" in out
    assert r" \u202egnp.sh, 11 bytes" in out
    assert out.endswith(f" saved as {tmp_path}/__a__gnp.sh\n")
    (saved,) = tmp_path.iterdir()
    assert saved.read_bytes() == b"from a pipe"


async def test_run_again_with_the_same_id_is_one_message(shell: Shell, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"the same")
    arguments = ("send", "bob", "--id", ID, "--file", str(path))
    for _ in range(2):
        assert await shell.run("alice", *arguments) == (0, "", "")
    (one,) = await received(shell)
    assert one["id"] == ID
    path.write_bytes(b"another!")
    code, _, err = await shell.run("alice", *arguments)
    assert (code, "conflict" in err) == (Exit.REFUSED, True)


class _Choking(portforward.ProxyServer):  # type: ignore[misc]
    """Takes no more than so many bytes, and lets the rest wait for ever."""

    taken = 0

    def dataReceived(self, data: bytes) -> None:
        self.taken += len(data)
        if self.taken < 1_000_000:
            super().dataReceived(data)
        else:
            self.transport.pauseProducing()


@pytest_twisted.async_yield_fixture()
async def choked(shell: Shell) -> AsyncIterator[str]:
    """Where an upload comes to a halt."""
    factory = portforward.ProxyFactory("127.0.0.1", shell.server.port)
    factory.protocol = _Choking
    port = reactor.listenTCP(0, factory, interface="127.0.0.1")
    yield f"ws://127.0.0.1:{port.getHost().port}/ws"
    await port.stopListening()


async def test_an_interrupt_says_what_becomes_of_the_rest(
    shell: Shell, choked: str, tmp_path: Path
) -> None:
    path = tmp_path / "big \x1b[2J.bin"
    path.write_bytes(bytes(50_000_000))
    command = imd("send", "bob", "--url", choked, "--file", str(path))
    terminal = Terminal(command, shell.home("alice"), columns=250)
    try:
        await terminal.shows("% of 50.0 MB")
        terminal.kill(signal.SIGINT)
        assert await terminal.ends() == Exit.TEMPORARY
    finally:
        terminal.close()
    text = terminal.text.replace("\n", "")
    assert "interrupted" in text
    assert "was not sent, the server deletes what it has of it after 24 hours" in text
    assert b"\x1b[2J" not in terminal.raw
    assert await received(shell) == []


async def test_a_file_that_cannot_be_saved_is_not_marked(shell: Shell, tmp_path: Path) -> None:
    path, there = tmp_path / "a", tmp_path / "there"
    path.write_bytes(b"content")
    assert (await shell.run("alice", "send", "bob", "--file", str(path)))[0] == 0
    code, _, err = await shell.run("bob", "tail", "--once", "--save", str(there))
    assert (code, "not a directory" in err) == (Exit.OUTPUT, True)
    there.mkdir()
    (there / "a").symlink_to("nowhere")
    (saved,) = await received(shell, "--save", str(there))
    assert saved["saved"] == str(there / "a (2)")
    assert (there / "a").is_symlink()


async def test_a_line_that_was_not_printed_comes_again_and_its_file_is_there_once(
    shell: Shell, tmp_path: Path
) -> None:
    path, there = tmp_path / "a", tmp_path / "there"
    path.write_bytes(b"once")
    there.mkdir()
    assert (await shell.run("alice", "send", "bob", "--file", str(path)))[0] == 0
    with open("/dev/full", "w") as full:
        code, _, _ = await shell.run("bob", "tail", "--once", "--save", str(there), stdout=full)
    assert code == Exit.OUTPUT
    assert [p.name for p in there.iterdir()] == ["a"]
    (again,) = await received(shell, "--save", str(there))
    assert again["saved"] == str(there / "a")
    assert [p.name for p in there.iterdir()] == ["a"]


async def test_a_file_that_is_no_more_does_not_hold_up_what_follows(
    shell: Shell, tmp_path: Path
) -> None:
    path, there = tmp_path / "a", tmp_path / "there"
    path.write_bytes(b"gone")
    there.mkdir()
    assert (await shell.run("alice", "send", "bob", "--file", str(path)))[0] == 0
    assert (await shell.run("alice", "send", "bob", "after it"))[0] == 0
    alice = shell.client("alice")
    alice.start()
    await alice.friends.remove("bob")
    await alice.stop()
    code, out, err = await shell.run("bob", "tail", "--once", "--json", "--save", str(there))
    lines = [json.loads(line) for line in out.splitlines()]
    assert (code, lines[0]["saved"], lines[1]["text"]) == (0, None, "after it")
    assert "was not saved: not_found" in err
    assert list(there.iterdir()) == []
    await shell.friends()
