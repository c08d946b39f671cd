"""People chat: real terminals, a real server, and what goes wrong between them."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet.threads import deferToThread

from imd.client import Client
from tests.process import Server
from tests.shell import PATIENCE
from tests.terminal import Terminal, imd, terminal_environment


@pytest_twisted.async_yield_fixture()
async def server() -> AsyncIterator[Server]:
    running = Server()
    await running.start()
    yield running
    await running.close()


class People:
    """Terminals that are closed at the end of a test; each person has a home."""

    def __init__(self, server: Server, top: Path) -> None:
        self._server = server
        self._top = top
        self._terminals: list[Terminal] = []

    def home(self, name: str) -> Path:
        home = self._top / name
        home.mkdir(exist_ok=True)
        (home / "password").write_text(f"secret of {name}\n")
        return home

    def options(self, name: str) -> list[str]:
        password = str(self.home(name) / "password")
        return ["--url", self._server.url, "--user", name, "--password-file", password]

    def chat(self, name: str, *more: str, term: str = "xterm", columns: int = 100) -> Terminal:
        command = imd("chat", *more, *self.options(name), "--register")
        terminal = Terminal(command, self.home(name), term, columns)
        self._terminals.append(terminal)
        return terminal

    def client(self, name: str) -> Client:
        return Client(self._server.url, name, f"secret of {name}")

    def start(self, name: str, *arguments: str) -> Terminal:
        terminal = Terminal(imd(*arguments), self.home(name))
        self._terminals.append(terminal)
        return terminal

    async def friends(self) -> tuple[Terminal, Terminal]:
        """Alice and Bob at their terminals, with their conversation open."""
        alice, bob = self.chat("alice"), self.chat("bob")
        await alice.shows("online │ alice")
        await bob.shows("online │ bob")
        alice.enter("/add bob hello from me")
        await bob.shows("alice asks for friendship: “hello from me”")
        bob.enter("/accept alice")
        await alice.shows("you and bob are friends")
        await bob.shows("you and alice are friends")
        alice.enter("/to bob")
        bob.enter("/to alice")
        await alice.shows("online │ alice → bob")
        await bob.shows("online │ bob → alice")
        return alice, bob

    def close(self) -> None:
        for terminal in self._terminals:
            terminal.close()


@pytest.fixture
def people(server: Server, tmp_path: Path) -> Iterator[People]:
    these = People(server, tmp_path)
    yield these
    these.close()


async def test_two_people_become_friends_talk_and_see_how_far_it_got(people: People) -> None:
    alice, bob = await people.friends()
    alice.enter("good morning")
    await bob.shows("alice: good morning")
    await alice.shows("me: good morning", "last message: ✓✓ read")
    bob.enter("//to is no command")
    await alice.shows("bob: /to is no command")
    bob.type("\x04")
    assert await bob.ends() == 0
    alice.enter("are you gone?")
    await alice.shows("me: are you gone?")
    bob = people.chat("bob")
    await bob.shows("alice (1 unread): are you gone?", "unread: alice 1")
    await alice.shows("last message: ✓✓")
    assert "✓✓ read" not in alice.lines()[-1]
    bob.enter("/to alice")
    await bob.shows("alice: good morning", "me: /to is no command  ✓✓ read")
    await alice.shows("last message: ✓✓ read")
    await bob.hides("unread: alice")


async def test_the_server_dies_and_nothing_is_lost_or_doubled(
    people: People, server: Server
) -> None:
    alice, bob = await people.friends()
    await server.kill(signal.SIGKILL)
    await alice.shows("offline, trying again")
    alice.enter("written while it was down")
    alice.type("half a li")
    await alice.shows("last message: …", "1 waiting to be sent", "bob> half a li")
    await server.start()
    await bob.shows("alice: written while it was down")
    await alice.shows("online", "last message: ✓✓ read", "bob> half a li")
    alice.type("ne\r")
    await bob.shows("alice: half a line")
    assert bob.text.count("written while it was down") == 1
    assert alice.text.count("written while it was down") == 1


async def test_what_a_killed_client_could_not_send_goes_out_at_the_next_start(
    people: People, server: Server
) -> None:
    alice, bob = await people.friends()
    await server.kill(signal.SIGKILL)
    await alice.shows("offline")
    alice.enter("kept on disk")
    await alice.shows("1 waiting")
    alice.kill()
    assert await alice.ends() == -signal.SIGKILL
    alice = people.chat("alice", "bob")
    await alice.shows("me: kept on disk  …", "1 waiting")
    await server.start()
    await bob.shows("alice: kept on disk")
    await alice.shows("last message: ✓✓ read")


async def test_a_refused_message_is_told(people: People) -> None:
    alice, bob = await people.friends()
    bob.enter("/block alice")
    await bob.shows("alice: blocked")
    alice.enter("do you hear me?")
    await alice.shows("NOT SENT to bob: forbidden", "do you hear me?")
    bob.enter("/unblock alice")
    await bob.shows("no longer blocked")


async def test_hostile_text_does_not_reach_the_terminal(people: People, server: Server) -> None:
    alice, _ = await people.friends()
    evil = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202egnp.exe\n12:00 alice: forged\r\x08" + "\u0300" * 40
    mallory = Client(server.url, "bob", "secret of bob")
    mallory.start()
    await mallory.ready()
    await mallory.send(mallory.conversation_with("alice") or 0, evil)
    await mallory.stop()
    await alice.shows(
        r"bob: \x1b]0;owned\x07\x1b[2J\x9b31m\u202egnp.exe", r"       12:00 alice: forged\x0d\x08"
    )
    for sequence in (b"\x1b]0;owned", b"\x9b31m", "\u202e".encode(), "\u0300".encode() * 5):
        assert sequence not in alice.raw
    assert not any(line.startswith("12:00") for line in alice.lines())


async def test_keys_tab_control_c_and_a_narrow_window(people: People) -> None:
    alice, bob = await people.friends()
    alice.type("/fri\t")
    await alice.shows("bob> /friends")
    alice.type("\x03")
    await alice.hides("/friends")
    alice.type("/to b\t")
    await alice.shows("bob> /to bob")
    alice.type("\x03")
    alice.resize(40)
    alice.enter("a long message that does not fit into one line of this window")
    await alice.shows("me: a long message that does not\n       fit into one line of this\n")
    await bob.shows("alice: a long message that does not fit into one line of this window")
    alice.enter("/nonsense")
    await alice.shows("/nonsense: no such command")


async def test_devices_password_and_logout(people: People, server: Server) -> None:
    alice, bob = await people.friends()
    second = people.chat("alice", "--instance", "second")
    await second.shows("online │ alice")
    alice.enter("/display Alice A.")
    await alice.shows("others see “Alice A.”")
    bob.enter("/who alice")
    await bob.shows("alice            friend, “Alice A.”")
    alice.enter("/devices")
    await alice.shows("chat on", "second on", "this one")
    alice.enter("/password")
    for prompt, word in (("old", "secret of alice"), ("new", "new one"), ("once more", "new one")):
        await alice.shows(f"{prompt}")
        alice.enter(word)
    await alice.shows("the password was changed")
    assert await second.ends() == 77
    assert "this device was logged out" in second.text
    alice.enter("/logout")
    assert await alice.ends() == 0
    again = people.chat("alice")
    assert await again.ends() == 77
    assert b"new one" not in alice.raw


async def test_two_processes_do_not_share_a_state(people: People) -> None:
    alice = people.chat("alice")
    await alice.shows("online")
    second = people.chat("alice")
    assert await second.ends() == 75
    assert f"is in use by process {alice.pid}" in second.text.replace("\n", "")


async def test_the_token_is_kept_for_the_owner_only(people: People) -> None:
    alice = people.chat("alice")
    await alice.shows("online")
    alice.type("\x04")
    assert await alice.ends() == 0
    state = people.home("alice") / ".local" / "state" / "imd"
    files = [path for path in state.rglob("*") if path.is_file()]
    assert {path.name for path in files} >= {"chat.db", "chat.lock"}
    assert all(path.stat().st_mode & 0o077 == 0 for path in files)
    (people.home("alice") / "password").unlink()
    url = people.options("alice")[:4]
    again = people.start("alice", "chat", *url)
    await again.shows("online │ alice")
    again.kill(signal.SIGTERM)
    assert await again.ends() == 0


async def test_a_password_is_asked_for_and_not_shown(people: People) -> None:
    url = people.options("alice")[:4]
    alice = people.start("alice", "chat", "--register", *url)
    await alice.shows("password of alice:")
    alice.enter("typed secret")
    await alice.shows("once more:")
    alice.enter("typed secret")
    await alice.shows("online │ alice")
    assert b"typed secret" not in alice.raw


async def test_a_dumb_terminal_gets_lines_and_no_escape(people: People) -> None:
    alice, bob = await people.friends()
    bob.type("\x04")
    await bob.ends()
    bob = people.chat("bob", "alice", term="dumb")
    await bob.shows("-- online", "-- conversation with alice")
    bob.enter("from a teletype")
    await alice.shows("bob: from a teletype")
    await bob.shows("-- (read)")
    bob.type("half\x03whole\r")
    await alice.shows("bob: whole")
    assert b"\x1b" not in bob.raw
    bob.type("\x04")
    assert await bob.ends() == 0


async def test_lines_from_a_pipe_are_carried_out_one_after_the_other(people: People) -> None:
    alice, _ = await people.friends()
    command = imd("chat", "--instance", "pipe", *people.options("bob"))
    ended = await deferToThread(
        subprocess.run,
        command,
        input="/to alice\nthrough a pipe\n/history 5\n/nonsense\n",
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env=terminal_environment(people.home("bob")),
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "-- conversation with alice\n" in ended.stdout
    assert "me: through a pipe" in ended.stdout
    assert "-- /nonsense: no such command" in ended.stdout
    await alice.shows("bob: through a pipe")


async def test_a_file_is_sent_and_saved_and_nothing_is_overwritten(people: People) -> None:
    alice, bob = await people.friends()
    alices, bobs = people.home("alice"), people.home("bob")
    for each in (alice, bob):
        each.resize(250)
    (alices / "my notes.txt").write_text("notes")
    (alices / "empty").mkdir()
    alice.type("/file ~/my\t")
    await alice.shows("bob> /file ~/my notes.txt")
    alice.type("\r")
    await alice.shows("me: [file 1: my notes.txt, 5 bytes, text/plain]", "✓✓ read")
    await bob.shows("alice: [file 1: my notes.txt, 5 bytes, text/plain]")
    bob.enter("/save 1 ~")
    await bob.shows("my notes.txt was saved as")
    assert (bobs / "my notes.txt").read_text() == "notes"
    (bobs / "my notes.txt").write_text("other")
    bob.enter("/save 1 ~/my notes.txt")
    await bob.shows("File exists")
    bob.enter("/save 1 ~")
    await bob.shows("my notes (2).txt")
    bob.enter("/save 2")
    await bob.shows("there is no file 2")
    assert (bobs / "my notes.txt").read_text() == "other"
    for path, why in (("~/none", "No such file"), ("~/empty", "Is a directory")):
        alice.enter(f"/file {path}")
        await alice.shows(why)


async def test_a_file_of_a_hostile_name_is_shown_and_saved_as_a_harmless_one(
    people: People, tmp_path: Path
) -> None:
    alice, _ = await people.friends()
    (tmp_path / "x").write_bytes(b"x")
    mallory = people.client("bob")
    mallory.start()
    body = await mallory.files.upload(tmp_path / "x", name="../.\x1b[2J\u202egnp.sh")
    await mallory.send_file(mallory.conversation_with("alice") or 0, body)
    await mallory.stop()
    await alice.shows(r"bob: [file 1: ../.\x1b[2J\u202egnp.sh, 1 bytes")
    alice.enter("/save 1 ~")
    await alice.shows("was saved as")
    assert (people.home("alice") / "__._[2J_gnp.sh").read_bytes() == b"x"


async def test_who_quits_while_a_file_is_on_its_way_is_told(people: People, server: Server) -> None:
    alice, _ = await people.friends()
    (people.home("alice") / "big.bin").write_bytes(b"content")
    os.kill(server.pid, signal.SIGSTOP)
    alice.enter("/file ~/big.bin")
    await alice.shows("│ big.bin …")
    alice.type("\x04")
    assert await alice.ends() == 0
    await alice.shows("big.bin was not sent; the server deletes what it has of it")
