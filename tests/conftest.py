"""How tests run: coroutines on the reactor of pytest-twisted, and no failure in silence."""

from __future__ import annotations

import functools
import gc
import inspect
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from imd.ops import monotonic
from tests.s3_server import s3 as s3
from tests.servers import database as database
from tests.servers import empty_redis as empty_redis
from tests.servers import postgres as postgres
from tests.servers import redis as redis
from tests.servers import store_url as store_url
from tests.servers import template as template

monotonic.install()
# A shell ignores it for what runs in the background, and so would all that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
pytest.register_assert_rewrite("tests.contracts")

#: Seconds a coroutine may take, unless it is marked with a longer ``limit``: many more than any
#: needs, so that only one that hangs is ended, however busy the machine is.
LIMIT = 300.0
#: What the workers have left running.
LEFT = pytest.StashKey[list[str]]()

#: Every run tries the same examples, however long it takes to make them; but those of
#: ``IMD_TEST_EXPLORE`` are new ones.
hypothesis.settings.register_profile(
    "imd",
    deadline=None,
    derandomize=not os.environ.get("IMD_TEST_EXPLORE"),
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
    print_blob=True,
)
hypothesis.settings.load_profile("imd")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that may take longest come first: no worker is alone with one of them at the end."""
    items.sort(key=lambda item: -_marked(item))


def _marked(item: pytest.Item) -> float:
    mark = item.get_closest_marker("limit")
    return float(mark.args[0]) if mark else 0.0


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> None:
    """Give every coroutine a time limit that leaves the reactor alive."""
    test = pyfuncitem.obj
    if not inspect.iscoroutinefunction(test):
        return
    seconds = max(LIMIT, _marked(pyfuncitem))

    @functools.wraps(test)
    def limited(*args: Any, **kwargs: Any) -> Any:
        from twisted.internet import defer, reactor

        return defer.ensureDeferred(test(*args, **kwargs)).addTimeout(seconds, reactor)  # type: ignore[arg-type]

    pyfuncitem.obj = limited


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Take back what pytest-twisted puts into a test of hypothesis: two classes that inherit
    the test share it, and the second would run what was made for the first.
    """
    given = getattr(getattr(item, "obj", None), "hypothesis", None)
    inner = getattr(given, "inner_test", None)
    try:
        yield
    finally:
        if given is not None:
            given.inner_test = inner


@pytest.fixture(autouse=True)
def _nothing_fails_in_silence(request: pytest.FixtureRequest) -> Iterator[None]:
    """A failure that was only logged fails the test, unless the test has looked at it."""
    from twisted.trial import unittest
    from twisted.trial._synctest import _logObserver

    if request.instance is not None and isinstance(request.instance, unittest.SynchronousTestCase):
        # trial looks for itself.
        yield
        return
    _logObserver._add()
    try:
        yield
        gc.collect(0)
        errors = _logObserver.getErrors()
        _logObserver.flushErrors()
    finally:
        _logObserver._remove()
    assert not errors, "\n".join(failure.getTraceback() for failure in errors)


def children() -> list[str]:
    """The command lines of the processes that this one has started."""
    mine = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    return [Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode() for pid in mine]


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Processes that outlive the tests are a failure: those of this process, and, where tests
    run in several workers, those that a worker has told of.
    """
    left = [line for line in children() if line.strip()]
    told: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if told is not None:
        told["left"] = left
        return
    left += session.config.stash.get(LEFT, [])
    if left:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        print("left running:", *left, sep="\n  ")


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """A worker has ended: keep what it has left running."""
    left = getattr(node, "workeroutput", {}).get("left", [])
    node.config.stash.setdefault(LEFT, []).extend(left)
