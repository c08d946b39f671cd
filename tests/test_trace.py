"""``imd message trace`` against a server that runs."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator

import pytest
import pytest_twisted
from twisted.internet.threads import deferToThread

from imd.trace import main
from tests.outages import until
from tests.process import FAST, Server, environment
from tests.raw import Raw, login, pair


@pytest_twisted.async_yield_fixture()
async def server() -> AsyncIterator[Server]:
    """A server."""
    running = Server()
    await running.start()
    yield running
    await running.close()


async def trace(server: Server, id: str, code: int = 0) -> None:
    data = f"--data={server.directory / 'data'}"
    assert await deferToThread(main, ["trace", id, data]) == code


async def sent(alice: Raw, conversation: int) -> tuple[str, int]:
    """The id and the seq of a message."""
    id = alice.text(conversation, "body-canary")
    return id, (await alice.hear("ack", id=id))["seq"]


async def test_a_message_is_followed_to_each_member(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    alice, bob, conversation = await pair(server.port)
    id, seq = await sent(alice, conversation)
    await trace(server, id)
    by_id = capsys.readouterr().out
    assert f"message {id}: conversation {conversation}, seq {seq}" in by_id
    assert (
        f"from alice (user {alice.welcome['user']['id']}), device {alice.welcome['device']}"
        in by_id
    )
    assert "to bob" in by_id
    assert "delivered: not yet (up to seq 0)" in by_id
    assert "no session was opened since" in by_id
    await trace(server, f"{conversation}:{seq}")
    assert capsys.readouterr().out == by_id
    assert "canary" not in by_id
    bob.say({"type": "mark", "conv": conversation, "delivered": seq})
    await alice.hear("receipt", conv=conversation)
    await trace(server, id)
    assert "delivered: yes (up to seq 1)" in capsys.readouterr().out


async def test_a_client_that_came_back_and_does_not_confirm_is_told_apart(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    alice, _, conversation = await pair(server.port)
    id, _ = await sent(alice, conversation)
    await login(server.port, "bob", register=None, device="laptop")
    await trace(server, id)
    shown = capsys.readouterr().out
    assert "a client was there since and has not confirmed it" in shown
    assert '"laptop": last session opened' in shown


async def test_a_message_that_nobody_stored_is_said_to_be_with_its_sender(
    server: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    await trace(server, str(uuid.uuid4()), 1)
    assert "still has it" in capsys.readouterr().err
    await trace(server, "1:1", 1)


def test_mistakes_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trace", "1:1", "--data=/nowhere"]) == 78
    assert capsys.readouterr().err.startswith("imd: data: there is no ")
    with pytest.raises(SystemExit) as end:
        main(["trace", "no-id"])
    assert end.value.code == 2


def test_postgresql_knows_the_same(store_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trace", str(uuid.uuid4()), f"--store={store_url}"]) == 1
    assert "still has it" in capsys.readouterr().err
    assert main(["trace", "7:1", f"--store={store_url}"]) == 1


async def test_the_log_of_a_message_is_read_beside_its_story(
    capsys: pytest.CaptureFixture[str],
) -> None:
    server = Server(config='log = "json"\nlog-messages = true\n' + FAST)
    await server.start()
    try:
        alice, bob, conversation = await pair(server.port)
        id, seq = await sent(alice, conversation)
        bob.say({"type": "mark", "conv": conversation, "read": seq})
        await alice.hear("receipt", conv=conversation)
        await until(lambda: '"step":"read"' in server.output.replace(" ", ""))
        log = server.directory / "log"
        log.write_text(server.output)
        data = f"--data={server.directory / 'data'}"
        assert await deferToThread(main, ["trace", id, data, f"--log={log}"]) == 0
        shown = capsys.readouterr().out
        steps = [line.split()[2] for line in shown.splitlines() if f" {conversation}" not in line]
        walked = ["accepted", "committed", "pushed", "delivered", "read"]
        assert [step for step in steps if step in walked] == walked
        assert "canary" not in shown
        assert main(["trace", id, data, "--log=/no/log"]) == 78
        assert "imd: log: cannot read /no/log" in capsys.readouterr().err
    finally:
        await server.close()


async def test_a_log_may_come_from_standard_input(server: Server) -> None:
    alice, _, conversation = await pair(server.port)
    id, seq = await sent(alice, conversation)
    line = {"event": "message", "step": "pushed", "conversation": conversation, "seq": seq}
    arguments = ["message", "trace", id, f"--data={server.directory / 'data'}", "--log=-"]

    def run() -> str:
        command = [sys.executable, "-m", "imd", *arguments]
        given = json.dumps(line)
        return subprocess.run(
            command, input=given, capture_output=True, text=True, env=environment(), check=True
        ).stdout

    assert "pushed" in await deferToThread(run)
