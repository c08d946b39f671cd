"""Starting in order, stopping in order, and failing with one line."""

from __future__ import annotations

import contextlib
import io
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from imd.errors import ConfigError
from imd.ops.lifecycle import ACCEPTS, EX_CONFIG, Listener, OrderedService, Step, fail
from imd.tasks import sleep
from tests.process import reactor


class LifecycleTests(SynchronousTestCase):
    @contextlib.contextmanager
    def fails(self) -> Iterator[list[str]]:
        """The process would end with ``EX_CONFIG`` and this one line."""
        errors, line = io.StringIO(), [""]
        with contextlib.redirect_stderr(errors), self.assertRaises(SystemExit) as caught:
            yield line
        self.assertEqual(caught.exception.code, EX_CONFIG)
        line[0] = errors.getvalue()
        self.assertTrue(line[0].startswith("imd: "), line[0])
        self.assertEqual(line[0].count("\n"), 1)

    def test_a_mistake_of_the_operator_is_one_line_that_names_the_key(self) -> None:
        with self.fails() as line:
            fail(ConfigError("data", "cannot be written; choose another"))
        self.assertEqual(line[0], "imd: data: cannot be written; choose another\n")


class StepTests(LifecycleTests):
    def test_a_step_begins_and_its_stop_fires_when_it_is_over(self) -> None:
        begun: list[int] = []
        over: Deferred[None] = Deferred()
        step = Step("x", lambda: begun.append(1), lambda: over)
        step.startService()
        self.assertEqual((begun, step.name, step.running), ([1], "x", True))
        stopped = step.stopService()
        self.assertNoResult(stopped)
        over.callback(None)
        self.successResultOf(stopped)
        self.assertFalse(step.running)

    def test_a_step_may_end_at_once(self) -> None:
        ended: list[int] = []
        step = Step("x", lambda: None, lambda: ended.append(1))
        step.startService()
        self.successResultOf(step.stopService())
        self.assertEqual(ended, [1])

    def test_what_an_operator_can_mend_ends_the_process_and_a_defect_does_not(self) -> None:
        with self.fails() as line:
            Step("x", self.raises(ConfigError("data", "is locked")), lambda: None).startService()
        self.assertIn("data: is locked", line[0])
        with self.assertRaises(LookupError):
            Step("x", self.raises(LookupError("defect")), lambda: None).startService()

    @staticmethod
    def raises(error: Exception) -> Callable[[], None]:
        def begin() -> None:
            raise error

        return begin


class Busy(MemoryReactorClock):
    """A reactor on which no port can be had."""

    error: Exception = OSError()

    def listenTCP(self, *args: Any, **kwargs: Any) -> Any:
        raise self.error


class ListenerTests(LifecycleTests):
    def test_the_port_is_bound_before_the_start_and_closed_at_the_stop(self) -> None:
        reactor = MemoryReactorClock()
        listener = Listener("tcp:8080:interface=127.0.0.1", Factory(), reactor)
        listener.privilegedStartService()
        ((port, _, _, interface),) = reactor.tcpServers
        self.assertEqual((port, interface), (8080, "127.0.0.1"))
        listener.startService()
        self.assertEqual(len(reactor.tcpServers), 1)
        self.successResultOf(listener.stopService())
        self.successResultOf(listener.stopService())

    def test_a_listener_that_never_started_can_be_stopped(self) -> None:
        listener = Listener("tcp:8080", Factory(), MemoryReactorClock())
        self.successResultOf(listener.stopService())

    def test_a_description_that_cannot_be_read_ends_the_process(self) -> None:
        for description in ("nonsense:1", "tcp:port", "tcp", ""):
            with self.fails() as line:
                Listener(description, Factory(), MemoryReactorClock()).privilegedStartService()
            self.assertIn(f"listen: {description}", line[0])

    def test_a_port_that_cannot_be_had_ends_the_process_with_the_reason(self) -> None:
        for error, reason in (
            (CannotListenError("", 8080, OSError(98, "Address in use")), "Address in use"),
            (CannotListenError("", 8080, "odd"), "odd"),
            (PermissionError("not here"), "not here"),
        ):
            reactor = Busy()
            reactor.error = error
            with self.fails() as line:
                Listener("tcp:8080", Factory(), reactor).privilegedStartService()
            self.assertIn("cannot listen on tcp:8080", line[0])
            self.assertIn(reason, line[0])


class Child(Service):
    """Writes down what it is told; its end waits if there is something to wait for."""

    def __init__(self, name: str, steps: list[str], ending: Callable[[], Any]) -> None:
        self.setName(name)
        self.steps = steps
        self.ending = ending

    def privilegedStartService(self) -> None:
        self.steps.append(f"bind {self.name}")

    def startService(self) -> None:
        self.steps.append(f"start {self.name}")

    def stopService(self) -> Any:
        self.steps.append(f"stop {self.name}")
        return self.ending()


class OrderTests(LifecycleTests):
    def test_all_bind_then_all_start_in_order(self) -> None:
        steps: list[str] = []
        service = OrderedService(tuple(Child(n, steps, lambda: None) for n in "ab"))
        service.privilegedStartService()
        service.startService()
        self.assertEqual(steps, ["bind a", "bind b", "start a", "start b"])

    def test_each_stops_when_the_one_after_it_is_over(self) -> None:
        steps: list[str] = []
        over: Deferred[None] = Deferred()
        endings = {"a": lambda: None, "b": lambda: over, "c": lambda: succeed(None)}
        service = OrderedService(tuple(Child(n, steps, endings[n]) for n in "abc"))
        service.startService()
        steps.clear()
        stopped = service.stopService()
        self.assertEqual(steps, ["stop c", "stop b"])
        over.callback(None)
        self.successResultOf(stopped)
        self.assertEqual(steps, ["stop c", "stop b", "stop a"])

    def test_one_that_does_not_stop_cleanly_does_not_keep_the_others_from_it(self) -> None:
        steps: list[str] = []

        def broken() -> None:
            raise LookupError("a defect")

        endings = {"a": lambda: None, "b": broken}
        service = OrderedService(tuple(Child(n, steps, endings[n]) for n in "ab"))
        service.startService()
        self.successResultOf(service.stopService())
        self.assertEqual(steps[-2:], ["stop b", "stop a"])
        self.assertEqual(len(self.flushLoggedErrors(LookupError)), 1)


class Crowd(Factory):
    """Counts who comes in each turn of the reactor."""

    def __init__(self) -> None:
        self.turn = 0
        self.came: Counter[int] = Counter()

    def buildProtocol(self, addr: IAddress) -> Protocol:
        self.came[self.turn] += 1
        return Protocol()


async def test_of_a_crowd_a_listener_takes_a_few_in_each_turn() -> None:
    crowd = Crowd()
    listener = Listener("tcp:0:interface=127.0.0.1", crowd, reactor)
    listener.privilegedStartService()
    try:
        with contextlib.ExitStack() as open_:
            address = ("127.0.0.1", listener._port.getHost().port)
            for _ in range(5 * ACCEPTS):
                # Nothing is taken yet: this does not give the reactor a turn.
                open_.enter_context(socket.create_connection(address))
            while crowd.came.total() < 5 * ACCEPTS:
                crowd.turn += 1
                await sleep(reactor, 0)
            assert max(crowd.came.values()) == ACCEPTS
    finally:
        await maybeDeferred(listener.stopService)
