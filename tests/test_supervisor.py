"""What the service manager is told, at a real socket, by a process whose clock is a test's."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from imd.errors import ConfigError
from imd.ops.supervisor import EVERY, MORE_TIME, MOST_LAG, Supervisor, notify, watchdog_seconds

WAIT = f"EXTEND_TIMEOUT_USEC={MORE_TIME * 1_000_000}"


class Manager:
    """The socket of a service manager."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.bind(f"\0{address[1:]}" if address.startswith("@") else address)

    def heard(self) -> list[str]:
        """All datagrams since the last look."""
        found = []
        with contextlib.suppress(BlockingIOError):
            while True:
                found.append(self._socket.recv(4096).decode())
        return found

    def close(self) -> None:
        """Go away."""
        self._socket.close()


class Woken(MemoryReactorClock):
    """A reactor that a signal can wake."""

    def callFromThread(self, call: Callable[[], None]) -> None:
        self.callLater(0, call)


class SupervisorTests(SynchronousTestCase):
    def setUp(self) -> None:
        top = tempfile.TemporaryDirectory()
        self.addCleanup(top.cleanup)
        self.manager = Manager(str(Path(top.name) / "notify"))
        self.addCleanup(self.manager.close)
        self.reactor = Woken()
        self.supervisor = Supervisor(self.manager.address, 20.0, self.reactor)
        self.addCleanup(signal.signal, signal.SIGHUP, signal.getsignal(signal.SIGHUP))
        self.why: str | None = "starting"
        self.supervisor.unready = lambda: self.why

    def heard(self, seconds: float = 0.0) -> list[str]:
        """What is said after some time."""
        self.reactor.advance(seconds)
        return self.manager.heard()

    def test_ready_is_said_once_and_only_when_it_is_so(self) -> None:
        self.supervisor.start()
        self.assertEqual(self.heard(), ["WATCHDOG=1", WAIT, "STATUS=starting"])
        self.why = "PostgreSQL: refused\nby the\tserver"
        said = "STATUS=PostgreSQL: refused by the server"
        self.assertEqual(self.heard(EVERY), ["WATCHDOG=1", WAIT, said])
        self.why = None
        self.assertEqual(self.heard(EVERY), ["WATCHDOG=1", "READY=1", "STATUS=ready"])
        self.assertEqual(self.heard(EVERY), ["WATCHDOG=1"])

    def test_who_was_ready_and_is_not_says_why_and_asks_for_no_time(self) -> None:
        self.why = None
        self.supervisor.start()
        self.heard()
        self.why = "PostgreSQL: away"
        self.assertEqual(self.heard(EVERY), ["WATCHDOG=1", "STATUS=PostgreSQL: away"])
        self.why = None
        self.assertEqual(self.heard(EVERY), ["WATCHDOG=1", "STATUS=ready"])

    def test_a_reactor_that_is_late_is_not_alive(self) -> None:
        self.why = None
        self.supervisor.start()
        self.heard()
        self.assertEqual(self.heard(EVERY + MOST_LAG), [])
        self.assertEqual(self.heard(EVERY + MOST_LAG - 0.01), ["WATCHDOG=1"])

    def test_a_short_watchdog_is_fed_often_enough(self) -> None:
        self.supervisor = Supervisor(self.manager.address, 2.0, self.reactor)
        self.supervisor.start()
        self.heard()
        self.assertEqual(self.heard(0.5), ["WATCHDOG=1"])

    def test_while_it_ends_it_lives_and_is_not_ready_again(self) -> None:
        self.supervisor.start()
        self.heard()
        self.supervisor.ending()
        self.assertEqual(self.heard(), ["STOPPING=1\nSTATUS=stopping"])
        self.why = None
        self.assertEqual(self.heard(EVERY), ["WATCHDOG=1"])
        self.supervisor.stop()
        self.supervisor.stop()
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_sighup_reads_all_certificates_and_a_bad_one_does_not_keep_others_old(self) -> None:
        read: list[str] = []

        def bad() -> None:
            raise ConfigError("listen", "no PEM")

        self.supervisor.renewals += [bad, lambda: read.append("good")]
        self.why = None
        self.supervisor.start()
        self.heard(7.5)
        errors = io.StringIO()
        with contextlib.redirect_stderr(errors):
            os.kill(os.getpid(), signal.SIGHUP)
            said = self.heard()
        self.assertEqual(read, ["good"])
        self.assertIn("imd: listen: no PEM; what was read before stays in use", errors.getvalue())
        self.assertEqual(said, ["RELOADING=1\nMONOTONIC_USEC=7500000", "READY=1"])

    def test_a_manager_in_the_abstract_namespace_is_reached(self) -> None:
        manager = Manager(f"@imd-test-{os.getpid()}")
        self.addCleanup(manager.close)
        notify(manager.address, "READY=1", "STATUS=ready")
        self.assertEqual(manager.heard(), ["READY=1\nSTATUS=ready"])

    def test_nobody_there_is_no_failure(self) -> None:
        notify(f"{self.manager.address}-gone", "READY=1")
        silent = Supervisor.of({}, self.reactor)
        silent.start()
        silent.ending()
        self.assertEqual(self.heard(EVERY), [])


class WatchdogTests(SynchronousTestCase):
    def test_the_environment_says_how_long_silence_may_be_and_for_which_process(self) -> None:
        for environ, seconds in (
            ({}, 0.0),
            ({"WATCHDOG_USEC": "20000000"}, 20.0),
            ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": "7"}, 20.0),
            ({"WATCHDOG_USEC": "20000000", "WATCHDOG_PID": "8"}, 0.0),
            ({"WATCHDOG_USEC": "soon"}, 0.0),
        ):
            self.assertEqual(watchdog_seconds(environ, 7), seconds)
