"""Logs: one line an event, whatever is in it; nothing waits; no secret is ever there."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import deferLater
from twisted.logger import LogLevel
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from imd.ops.logs import BURST, MOST_BYTES, Fields, JournalSink, JsonSink, Lines, clean
from tests.process import FAST, Server, reactor
from tests.raw import login, pair, post


class Kept:
    """A sink that takes what it is allowed to."""

    def __init__(self) -> None:
        self.taken: list[Fields] = []
        self.open = True

    def write(self, fields: Fields) -> bool:
        if self.open:
            self.taken.append(fields)
        return self.open


def event(text: str = "hello", level: LogLevel = LogLevel.info, **fields: Any) -> dict[str, Any]:
    return {"log_format": text, "log_level": level, "log_time": 1.5, **fields}


class LinesTests(SynchronousTestCase):
    """From an event to fields."""

    def setUp(self) -> None:
        self.sink = Kept()
        self.now = 0.0
        self.lines = Lines(self.sink, "here#1", lambda: self.now)

    def test_names_and_the_form_of_the_time_are_stable(self) -> None:
        self.lines(event("{user} left", event="session", user=7, log_namespace="imd.x"))
        self.assertEqual(
            self.sink.taken,
            [
                {
                    "time": "1970-01-01T00:00:01.500+00:00",
                    "level": "info",
                    "event": "session",
                    "node": "here#1",
                    "message": "7 left",
                    "user": 7,
                }
            ],
        )

    def test_what_somebody_wrote_stays_on_its_line_and_is_short(self) -> None:
        evil = "admin\r\n\x1b[31mfoo\u202e\u2028\u200b\x7f\x9b"
        self.lines(event("{name}", name=evil, long="x" * 1000))
        (fields,) = self.sink.taken
        for value in (fields["name"], fields["message"]):
            self.assertTrue(str(value).isascii(), value)
            self.assertTrue(str(value).isprintable(), value)
        self.assertEqual(fields["long"], "x" * 256 + "…")
        self.assertEqual(clean("Zoë 😀"), "Zoë 😀")

    def test_debug_is_not_written_and_failures_have_their_traceback(self) -> None:
        self.lines(event(level=LogLevel.debug))
        try:
            raise ValueError("why\n")
        except ValueError:
            self.lines(event(level=LogLevel.critical, log_failure=Failure()))
        (fields,) = self.sink.taken
        self.assertEqual(fields["error"], "ValueError")
        self.assertIn("test_logs.py", str(fields["traceback"]))
        self.assertNotIn("\n", str(fields["traceback"]))

    def test_a_flood_is_cut_told_of_and_does_not_hide_errors(self) -> None:
        for _ in range(int(BURST) + 5):
            self.lines(event())
        self.assertEqual((len(self.sink.taken), self.lines.dropped), (BURST, 5))
        self.lines(event("bad", LogLevel.error))
        self.assertEqual(self.sink.taken[-1]["dropped_before"], 5)
        self.now += 1
        self.lines(event())
        self.assertNotIn("dropped_before", self.sink.taken[-1])

    def test_what_a_sink_does_not_take_is_counted(self) -> None:
        self.sink.open = False
        self.lines(event())
        self.sink.open = True
        self.lines(event())
        self.assertEqual(self.sink.taken[0]["dropped_before"], 1)


def test_a_pipe_that_nobody_reads_never_blocks() -> None:
    end, begin = os.pipe()
    lines = Lines(JsonSink(begin), "here", lambda: 0.0)
    for _ in range(1000):
        lines(event(long="ä" * 250, other="😀" * 256))
    assert lines.dropped > 0
    kept = os.read(end, 1 << 20).splitlines()
    assert len(kept) + lines.dropped == 1000
    assert all(json.loads(line)["node"] == "here" for line in kept)
    os.close(end)
    lines(event())
    os.close(begin)


def test_a_line_is_never_longer_than_a_pipe_takes_at_once() -> None:
    end, begin = os.pipe()
    JsonSink(begin).write({"time": "x"} | {f"f{n}": "😀" * 256 for n in range(20)})
    line = os.read(end, 1 << 20)
    assert 0 < len(line) <= MOST_BYTES
    assert json.loads(line)["time"] == "x"
    os.close(end)
    os.close(begin)


def test_the_journal_gets_fields_of_its_own_and_a_full_one_is_not_waited_for(
    tmp_path: Path,
) -> None:
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(path)
        lines = Lines(JournalSink(path), "here", lambda: 0.0)
        lines(event("{user} left", user=7))
        got = journal.recv(65536).decode().splitlines()
        assert {"MESSAGE=7 left", "PRIORITY=6", "SYSLOG_IDENTIFIER=imd", "IMD_USER=7"} <= set(got)
        for _ in range(1000):
            lines(event())
        assert lines.dropped > 0
    with pytest.raises(OSError, match="No such file"):
        JournalSink(str(tmp_path / "missing"))


@pytest.mark.parametrize("log", ["text", "json"])
async def test_a_session_is_one_line_and_no_secret_is_in_the_log(log: str) -> None:
    server = Server(config=f'log = "{log}"\n' + FAST)
    await server.start()
    try:
        secrets = ["canary-password-1", "canary-body-2", "canary-label-3"]
        fields = {"password": secrets[0], "device": secrets[2]}
        alice, _, conversation = await pair(server.port)
        carol = await login(server.port, "carol", **fields)
        alice.text(conversation, secrets[1])
        await alice.hear("ack")
        await post(server.port, "/v1/device.list", token="canary-token-4")
        await post(server.port, "/v1/no.such?canary-query-5")
        await post(
            server.port, "/v1/user.find", {"user": "canary-name-6\n\x1b"}, alice.welcome["token"]
        )
        for raw in (alice, carol):
            raw.sendClose(1000)
            await raw.closed
        # What is printed comes by a way of its own, and perhaps in pieces.
        while (output := server.output.rpartition("\n")[0]).count(" ended after ") < 2:
            await deferLater(reactor, 0.02, lambda: None)
        lines = [line for line in output.splitlines() if " ended after " in line]
        assert len(lines) == 2, output
        user, device = carol.welcome["user"]["id"], carol.welcome["device"]
        assert [f"user {user}, device {device}," in line for line in lines].count(True) == 1
        assert "canary" not in output
        for raw in (alice, carol):
            assert raw.welcome["token"] not in output
        if log == "json":
            told = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
            ended = [line for line in told if line["event"] == "session"]
            assert [line["code"] for line in ended] == [1000, 1000]
            assert max(line["frames_in"] for line in ended) >= 3
    finally:
        await server.close()
