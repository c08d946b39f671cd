"""Blocking work in a thread, in order, with its results on the reactor."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys

import pytest
from twisted.internet.threads import deferToThread

from imd.terminal.worker import Lines, Worker, write_all
from tests.process import ROOT, reactor
from tests.shell import PATIENCE


async def test_jobs_are_done_in_order_and_their_results_come_back() -> None:
    worker, done = Worker(reactor), []
    jobs = [worker.do(lambda n=n: done.append(n) or n) for n in range(20)]  # type: ignore[misc,func-returns-value]
    assert [await job for job in jobs] == done == list(range(20))


async def test_what_a_job_raises_is_the_failure_of_its_result() -> None:
    worker = Worker(reactor)
    with pytest.raises(ZeroDivisionError):
        await worker.do(lambda: 1 // 0)
    assert await worker.do(lambda: "and it goes on") == "and it goes on"


async def test_all_is_written_also_to_a_full_pipe_that_does_not_block() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    size = fcntl.fcntl(writing, fcntl.F_GETPIPE_SZ)
    data = bytes(range(256)) * (size // 64)
    writer = Worker(reactor)
    written = writer.do(lambda: write_all(writing, data))
    got = b""
    while len(got) < len(data):
        got += await deferToThread(os.read, reading, 65536)
    await written
    assert got == data
    os.close(reading)
    os.close(writing)


def test_lines_come_one_by_one_with_what_is_left_at_the_end() -> None:
    reading, writing = os.pipe()
    lines = Lines(reading)
    os.write(writing, b"one\ntwo\n" + b"x" * 10)
    assert [lines.next(100), lines.next(2), lines.next(100)] == [b"one\n", b"tw", b"o\n"]
    os.write(writing, b"\ny")
    os.close(writing)
    assert [lines.next(100) for _ in range(3)] == [b"x" * 10 + b"\n", b"y", b""]
    os.close(reading)


def test_a_program_that_ends_while_it_waits_for_a_line_is_not_aborted() -> None:
    program = (
        "import sys, time; from twisted.internet import reactor;"
        "from imd.terminal.worker import Lines, Worker;"
        "lines = Lines(sys.stdin.fileno()); Worker(reactor).do(lambda: lines.next(100));"
        "print('waits', flush=True); time.sleep(0.2)"
    )
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, cwd=ROOT) as process:
        assert process.wait(PATIENCE) == 0
