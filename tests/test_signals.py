"""Signals at odd moments, to real processes: they end in time, in order, without a traceback."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from tests.outages import until
from tests.process import Server, free_port
from tests.raw import Raw, login, pair

#: Seconds within which a process has to be gone, whatever it was doing.
GONE = 60.0
#: Messages that are on their way when the signal comes.
MESSAGES = 50


async def say(server: Server, number: int, raw: Raw, conversation: int) -> list[str]:
    """Send texts and a signal behind them; the ids that are acknowledged before the goodbye."""
    ids = [raw.text(conversation, str(n)) for n in range(MESSAGES)]
    await raw.hear("ack", id=ids[0])
    os.kill(server.pid, number)
    await raw.hear("bye")
    return [ids[0], *(frame["id"] for frame in raw.heard("ack"))]


async def test_signals_while_it_stops_change_nothing_and_what_was_stored_was_acknowledged() -> None:
    server = Server()
    child = await server.start()
    alice, bob, conversation = await pair(server.port, "alice", "bob")
    stored = 0
    for number, others in (
        (signal.SIGTERM, (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)),
        (signal.SIGINT, (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)),
    ):
        # It does not read the goodbye, so the server waits for it.
        bob.transport.pauseProducing()
        acked = await say(server, number, alice, conversation)
        for other in others:
            os.kill(server.pid, other)
        await until(lambda: child.ended.called, GONE)  # noqa: B023
        assert await child.ended == -number
        assert b"Traceback" not in child.output, child.output.decode()
        child = await server.start()
        alice, bob = [await login(server.port, name, register=None) for name in ("alice", "bob")]
        alice.say({"type": "fetch", "req": 1, "conv": conversation, "limit": 200})
        found = (await alice.hear("msgs", req=1))["items"]
        assert [item["id"] for item in found[stored:]] == acked
        stored = len(found)
    await server.close()


async def test_a_start_can_be_ended_before_anything_is_ready() -> None:
    nobody = free_port()
    config = f'store = "postgresql://imd@127.0.0.1:{nobody}/imd"\n'
    config += f'status = "redis://127.0.0.1:{nobody}/0"\n'
    server = Server("--role=connector", "--transfer=unix:/nowhere", config=config)
    for told in ("", "PostgreSQL cannot be used"):
        child = server.begin()
        # Until then it is a fork of this process, with the handlers of this process.
        command = Path(f"/proc/{server.pid}/cmdline")
        await until(lambda: b"--pidfile=" in command.read_bytes())  # noqa: B023
        await until(lambda: told in server.output)  # noqa: B023
        os.kill(server.pid, signal.SIGTERM)
        await until(lambda: child.ended.called, GONE)  # noqa: B023
        assert await child.ended == -signal.SIGTERM
        assert b"Traceback" not in child.output, child.output.decode()
    await server.close()
