"""Blocking reads and writes, in a thread that does not keep the process from ending."""

from __future__ import annotations

import os
import queue
import select
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

T = TypeVar("T")

#: A line of ``--lines`` that is longer cannot be a message (a server takes 16 KiB of text).
LINE_BYTES = 1 << 20


class Worker:
    """Does one thing after the other, in the order in which it was asked to.

    A pipe that nobody reads may hold it up for ever; the reactor goes on, and so does the end of
    the program: the thread is a daemon.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._jobs: queue.SimpleQueue[tuple[Callable[[], Any], Deferred[Any]]] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def do(self, job: Callable[[], T]) -> Deferred[T]:
        """Call ``job`` in the thread; its result, or what it raised, comes in the reactor's."""
        done: Deferred[T] = Deferred()
        self._jobs.put((job, done))
        return done

    def _work(self) -> None:
        while True:
            job, done = self._jobs.get()
            try:
                result: Any = job()
            except BaseException:
                result = Failure()
            self._reactor.callFromThread(done.callback, result)


class Lines:
    """Lines of a file, read past Python's buffers.

    Those have locks: a program that ends while a thread waits for input in one is aborted.
    """

    def __init__(self, file: int) -> None:
        self._file = file
        self._rest = b""

    def next(self, most: int) -> bytes:
        """The next line with its end, at most so many bytes of it; nothing at the end."""
        while b"\n" not in self._rest and len(self._rest) < most:
            more = self._read()
            if not more:
                break
            self._rest += more
        end = self._rest.find(b"\n", 0, most) + 1 or most
        line, self._rest = self._rest[:end], self._rest[end:]
        return line

    def _read(self) -> bytes:
        while True:
            try:
                return os.read(self._file, 65536)
            except BlockingIOError:
                select.select([self._file], [], [])


def write_all(file: int, data: bytes) -> None:
    """Hand all of ``data`` to the kernel; what is returned from was written."""
    while data:
        try:
            data = data[os.write(file, data) :]
        except BlockingIOError:
            # Whoever shares the terminal or pipe with us has made it non-blocking.
            select.select([], [file], [])
