"""``imd send`` and ``imd tail`` in scripts: what they print, keep, and exit with."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from tests.process import Server, reactor
from tests.shell import PATIENCE, Shell

#: Seconds in which a receipt that nobody sends is waited for: the server is to be reached in them.
IN_VAIN = "15"
ID = "0191AAAA-0000-7000-8000-0000000000FF"


@pytest_twisted.async_yield_fixture()
async def server() -> AsyncIterator[Server]:
    running = Server()
    await running.start()
    yield running
    await running.close()


@pytest.fixture
def processes(server: Server, tmp_path: Path) -> Iterator[Shell]:
    shell = Shell(server, tmp_path)
    yield shell
    shell.close()


@pytest_twisted.async_yield_fixture()
async def shell(processes: Shell) -> AsyncIterator[Shell]:
    """Alice and bob are friends, and ``imd tail`` of bob knows alice."""
    await processes.friends()
    yield processes


async def test_a_message_is_sent_once_and_printed_once(shell: Shell) -> None:
    assert await shell.run("alice", "send", "bob", "hello") == (0, "", "")
    assert await shell.run("alice", "send", "bob", input="from\nstdin\n") == (0, "", "")
    code, out, err = await shell.run("bob", "tail", "--once")
    lines = [line[20:] for line in out.splitlines()]
    assert (code, lines, err) == (0, ["alice: hello", "alice: from", " stdin"], "")
    assert await shell.texts("bob") == []
    (shell.home("alice") / "password").unlink()
    assert (await shell.run("alice", "send", "Bob", "-", input="by token"))[0] == 0
    assert await shell.texts("bob") == ["by token"]


async def test_every_line_is_a_message(shell: Shell) -> None:
    lines = "".join(f"line {n}\n" for n in range(300)) + "\n\nlast, without an end"
    assert await shell.run("alice", "send", "bob", "--lines", input=lines) == (0, "", "")
    expected = [f"line {n}" for n in range(300)] + ["last, without an end"]
    assert await shell.texts("bob") == expected


async def test_run_again_with_the_same_id_is_one_message(shell: Shell) -> None:
    for text in ("once", "once"):
        assert await shell.run("alice", "send", "bob", text, "--id", ID) == (0, "", "")
    code, _, err = await shell.run("alice", "send", "bob", "other", "--id", ID.lower())
    assert (code, "conflict" in err) == (77, True)
    for _ in range(2):
        assert (await shell.run("alice", "send", "bob", "--lines", "--id", ID, input="a\nb\n"))[
            0
        ] == 0
    assert await shell.texts("bob") == ["once", "a", "b"]


async def test_the_receipt_that_was_asked_for_decides(shell: Shell) -> None:
    code, _, err = await shell.run(
        "alice", "send", "bob", "hi", "--wait", "delivered", "--timeout", IN_VAIN
    )
    assert (code, "not delivered in time" in err) == (75, True)
    waiting = shell.start("alice", "send", "bob", "ho", "--wait", "read", "--timeout", "60")
    tail = shell.start("bob", "tail", "--json", "--mark-read")
    assert await deferToThread(waiting.wait, PATIENCE) == 0
    assert tail.stdout is not None
    heard = [json.loads(tail.stdout.readline())["text"] for _ in range(2)]
    assert heard == ["hi", "ho"]
    tail.send_signal(signal.SIGTERM)
    assert await deferToThread(tail.wait, PATIENCE) == 0


async def test_a_message_is_kept_while_the_server_is_away(shell: Shell) -> None:
    assert (await shell.run("alice", "send", "bob", "first"))[0] == 0
    await shell.server.kill()
    code, _, err = await shell.run("alice", "send", "bob", "kept", "--timeout", "1")
    assert (code, "not reached in time; kept" in err) == (69, True)
    assert (await shell.run("bob", "tail", "--once", "--timeout", "1"))[0] == 69
    await shell.server.start()
    assert (await shell.run("alice", "send", "bob", "second"))[0] == 0
    assert await shell.texts("bob") == ["first", "kept", "second"]


async def test_each_reason_of_the_server_has_its_exit_code(shell: Shell, tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    bad.write_text("wrong")
    codes = {
        ("send", "nobody", "hi"): 67,
        ("send", "bob", "x" * 70_000): 65,
        ("send", "bob", "hi", "--password-file", str(bad), "--instance", "x"): 77,
        ("send", "bob", "hi", "--password-file", "/nonexistent", "--instance", "x"): 66,
        ("tail", "--once", "nobody"): 67,
    }
    for arguments, expected in codes.items():
        code, out, err = await shell.run("alice", *arguments)
        assert (code, out) == (expected, ""), (arguments, err)
        assert "Traceback" not in err


async def test_a_line_that_was_not_written_comes_again(shell: Shell) -> None:
    assert await shell.texts("bob") == []
    assert (await shell.run("alice", "send", "bob", "--lines", input="one\ntwo\n"))[0] == 0
    with open("/dev/full", "w") as full:
        code, _, err = await shell.run("bob", "tail", "--once", stdout=full)
    assert (code, "No space left" in err) == (74, True)
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as broken:
        code, _, err = await shell.run("bob", "tail", stdout=broken)
    assert (code, err) == (141, "")
    code, _, err = await shell.run(
        "alice", "send", "bob", "three", "--wait", "delivered", "--timeout", IN_VAIN
    )
    assert code == 75
    assert await shell.texts("bob") == ["one", "two", "three"]


async def test_who_stops_reading_does_not_lose_what_comes(shell: Shell) -> None:
    """The pipe is full: the program waits, and what was not written was not delivered."""
    big = "".join(f"{n} {'x' * 1000}\n" for n in range(200))
    assert (await shell.run("alice", "send", "bob", "--lines", input=big))[0] == 0
    tail = shell.start("bob", "tail", "--json")
    assert tail.stdout is not None
    first = json.loads(await deferToThread(tail.stdout.readline))["text"]
    tail.kill()
    # By the same reader, which has read more than the one line.
    rest = await deferToThread(tail.stdout.read)
    await deferToThread(tail.communicate)
    seen = {int(first.split()[0])} | {
        int(json.loads(line)["text"].split()[0]) for line in rest.splitlines() if line[-1:] == "}"
    }
    again = {int(text.split()[0]) for text in await shell.texts("bob")}
    assert seen | again == set(range(200))
    assert 199 in again


async def test_others_wait_for_a_run_that_wants_them(shell: Shell) -> None:
    carol, bob = shell.client("carol"), shell.client("bob")
    for client in (carol, bob):
        client.start()
        await client.ready()
    await carol.friends.add("bob")
    conversation = (await bob.friends.accept("carol"))["conv"]
    await bob.stop()
    sent = await carol.send(conversation, "from carol")
    assert (await shell.run("alice", "send", "bob", "from alice"))[0] == 0
    assert await shell.texts("bob", "alice") == ["from alice"]
    assert carol.status(sent) == "sent"
    assert await shell.texts("bob") == ["from carol"]
    await carol.stop()


async def test_two_senders_at_once_take_turns(shell: Shell) -> None:
    patient = ("--timeout", str(PATIENCE))
    started = [shell.start("alice", "send", "bob", f"number {n}", *patient) for n in range(4)]
    for process in started:
        assert (await deferToThread(process.communicate, "", PATIENCE))[1] == ""
        assert process.returncode == 0
    assert sorted(await shell.texts("bob")) == [f"number {n}" for n in range(4)]
    slow = shell.start("alice", "send", "bob", "--lines")
    tail = shell.start("bob", "tail")
    assert slow.stdin is not None
    assert tail.stdout is not None
    slow.stdin.write("it is there\n")
    slow.stdin.flush()
    assert (await deferToThread(tail.stdout.readline)).endswith("alice: it is there\n")
    code, _, err = await shell.run("alice", "send", "bob", "busy", "--timeout", "0.2")
    assert (code, f"in use by process {slow.pid}" in err) == (75, True)
    assert (await shell.run("alice", "send", "bob", "x", "--instance", "other"))[0] == 0


def _has_open(pid: int, path: Path) -> bool:
    for file in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            if file.readlink() == path.resolve():
                return True
    return False


async def test_an_interrupt_while_it_waits_is_no_accident(shell: Shell) -> None:
    waiting = shell.start("alice", "send", "bob", "--lines", "--wait", "read", "--timeout", "60")
    assert waiting.stdin is not None
    waiting.stdin.write("kept or sent\n")
    waiting.stdin.flush()
    tail = shell.start("bob", "tail")
    assert tail.stdout is not None
    assert "kept or sent" in await deferToThread(tail.stdout.readline)
    second = shell.start("alice", "send", "bob", "second", "--timeout", "60")
    lock = next(shell.home("alice").rglob("send.lock"))
    assert lock.read_text() == f"{waiting.pid}\n"
    while not _has_open(second.pid, lock):
        await deferLater(reactor, 0.02, lambda: None)
    for process in (second, waiting):
        process.send_signal(signal.SIGINT)
        _, err = await deferToThread(process.communicate)
        assert (process.returncode, err) == (75, "imd send: interrupted\n")


async def test_a_credential_of_systemd_is_a_password(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "imd-password").write_text("secret")
    options = ["--config", os.devnull, "--url", shell.server.url, "--user", "alice"]
    code, _, err = await shell.run("alice", "send", "bob", "hi", *options)
    assert (code, "nobody to ask" in err) == (77, True)
    env = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert await shell.run("alice", "send", "bob", "hi", *options, env=env) == (0, "", "")


async def test_what_was_kept_and_is_refused_later_is_told(shell: Shell) -> None:
    assert (await shell.run("alice", "send", "bob", "first"))[0] == 0
    await shell.server.kill()
    assert (await shell.run("alice", "send", "bob", "kept", "--timeout", "1"))[0] == 69
    await shell.server.start()
    bob = shell.client("bob")
    bob.start()
    await bob.friends.remove("alice")
    await bob.stop()
    code, _, err = await shell.run("alice", "send", "bob", "second")
    assert code == 77
    assert "kept by an earlier run, was refused: forbidden" in err
