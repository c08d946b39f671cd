"""Runs a client and one coroutine beside it; the coroutine's result is the exit code."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ReactorNotRunning
from twisted.logger import (
    FilteringLogObserver,
    ILogObserver,
    LogEvent,
    Logger,
    LogLevel,
    LogLevelFilterPredicate,
    formatEvent,
    globalLogBeginner,
)
from zope.interface import implementer

from imd.client import Client, ClientError, Disconnected, LoginFailed, Refused, StoreError
from imd.errors import Close, Code
from imd.terminal.codes import Ending, Exit
from imd.terminal.escapes import visible
from imd.terminal.options import Access
from imd.terminal.passwords import password
from imd.terminal.places import Place, account_directory, state_home

#: What a program does once its client has started; the result is the exit code.
Begin = Callable[[], Coroutine[Any, Any, int]]
#: Gets everything ready, callbacks above all, before the client starts.
Prepare = Callable[[Client], Begin]

_log = Logger()


class Program:
    """One run: the client, the work, and how it ended."""

    def __init__(self, client: Client, begin: Begin) -> None:
        self._client = client
        self._work = begin
        self._reactor = client.reactor
        self._running: Deferred[int] | None = None
        self._over: Deferred[None] = Deferred()
        #: How it ended; interrupted, unless the work says otherwise.
        self.ending = Ending(Exit.TEMPORARY, "interrupted", interrupted=True)

    def run(self) -> None:
        """Run the reactor until the work is done, or a signal comes."""
        self._reactor.addSystemEventTrigger(
            "before", "shutdown", lambda: Deferred.fromCoroutine(self._shut_down())
        )
        self._reactor.callWhenRunning(self._begin)
        self._reactor.run()

    def _begin(self) -> None:
        self._client.start()
        self._running = Deferred.fromCoroutine(self._work())
        self._running.addCallbacks(self._done, self._broke)
        self._running.addErrback(lambda failure: _log.failure("the program failed", failure))

    def _done(self, code: int) -> None:
        self.ending = Ending(Exit(code))
        self._stop()

    def _broke(self, failure: Any) -> None:
        error = failure.value
        if not isinstance(error, CancelledError):
            self.ending = ending(error)
            if self.ending.code is Exit.STATE and not isinstance(error, ClientError | Ending):
                _log.failure("the program failed", failure)
        self._stop()

    def _stop(self) -> None:
        self._over.callback(None)
        with contextlib.suppress(ReactorNotRunning):
            self._reactor.stop()

    async def _shut_down(self) -> None:
        if self._running is not None:
            self._running.cancel()
            await self._over
        await self._client.stop()


def ending(error: BaseException) -> Ending:
    """The exit code for what was raised, and the line that explains it."""
    if isinstance(error, Ending):
        return error
    if isinstance(error, LoginFailed):
        return Ending(Exit.REFUSED, _why_not(error))
    if isinstance(error, Refused):
        too_much = error.code in (Code.TOO_LARGE, Code.BAD_REQUEST)
        return Ending(Exit.DATA if too_much else Exit.REFUSED, f"refused: {error}")
    if isinstance(error, Disconnected):
        return Ending(Exit.TEMPORARY, str(error))
    if isinstance(error, BrokenPipeError):
        return Ending(Exit.BROKEN_PIPE)
    if isinstance(error, OSError):
        return Ending(Exit.OUTPUT, f"the output cannot be written: {error.strerror}")
    return Ending(Exit.STATE, str(error) or type(error).__name__)


def _why_not(error: LoginFailed) -> str:
    reasons: dict[str, str] = {
        Code.UNAUTHORIZED: "wrong name or password, or this device was logged out",
        Code.LIMIT: "too many devices; /devices and /revoke in imd chat make room",
        Code.EXISTS: "the name is taken",
    }
    closes: dict[int, str] = {
        Close.BAD_CREDENTIALS: "this device was logged out",
        Close.REPLACED: "the same device has logged in elsewhere",
        Close.DISABLED: "the account is disabled",
    }
    reason = reasons.get(error.code) or closes.get(error.close) or visible(str(error))
    return f"the server does not let us in: {reason}"


def run_client(access: Access, place: Place, prepare: Prepare, **options: Any) -> Ending:
    """Log in as ``access`` says, with the state of ``place``, and run what is prepared."""
    client = _client(access, place, options)
    program = Program(client, prepare(client))
    program.run()
    failure = client.failure
    if isinstance(failure, LoginFailed) and failure.close == Close.BAD_CREDENTIALS:
        place.forget_token()
    return ending(failure) if failure is not None else program.ending


def _client(access: Access, place: Place, options: dict[str, Any]) -> Client:
    store = place.open()
    try:
        known = store.load().account.token is not None
        secret = password(access, known, os.environ)
        label = f"{access.instance} on {os.uname().nodename}"[:64]
        return Client(
            access.url,
            access.user,
            secret,
            store=store,
            register=access.register,
            device=label,
            ca=access.ca,
            **options,
        )
    except (ValueError, OSError) as error:
        store.close()
        raise Ending(Exit.USAGE, str(error)) from error
    except StoreError as error:
        raise Ending(Exit.STATE, str(error)) from error


def report_kept(client: Client) -> None:
    """Log it if a message that an earlier run has left in the outbox is refused now."""
    for entry in client.store.load().outbox:
        # What has this id is in the outbox already; this asks how it ends.
        sending = client.send(entry.conversation, "", id=entry.id)
        sending.addErrback(_not_sent, entry.id)


def _not_sent(failure: Any, id: str) -> None:
    error = failure.value
    if isinstance(error, Refused):
        _log.warn("{id}, kept by an earlier run, was refused: {error}", id=id, error=error)


def place_of(access: Access) -> Place:
    """The place of this account and instance.  Raises ``Ending``."""
    home = state_home(os.environ)
    return Place(account_directory(home, access.url, access.user), access.instance)


@implementer(ILogObserver)
class _Lines:
    """Log events as single harmless lines."""

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write

    def __call__(self, event: LogEvent) -> None:
        self._write(visible(formatEvent(event)))
        if "log_failure" in event:
            self._write(visible(event["log_failure"].getErrorMessage()))


def log_to(write: Callable[[str], object]) -> None:
    """Hand warnings, and worse, to ``write`` as lines."""
    predicate = LogLevelFilterPredicate(LogLevel.warn)
    # It says why it stopped, which is what ``report`` says.
    predicate.setLogLevelForNamespace("imd.client.client", LogLevel.critical)
    observer = FilteringLogObserver(_Lines(write), [predicate])
    globalLogBeginner.beginLoggingTo([observer], redirectStandardIO=False)


def guarded(program: str, run: Callable[[], Ending]) -> int:
    """Run a program, and explain its end on standard error; returns the exit code."""
    try:
        end = run()
    except Ending as early:
        end = early
    except KeyboardInterrupt:
        end = Ending(Exit.TEMPORARY, "interrupted")
    if end.message:
        sys.stderr.write(f"{program}: {visible(end.message)}\n")
    return int(end.code)
