"""Where ``imd chat`` talks to a person: a terminal that can be painted, or plain lines.

Both show lines that are harmless already (``imd.terminal.rendering``).
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.history import InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.patch_stdout import patch_stdout
from prompt_toolkit.utils import get_cwidth
from twisted.internet.defer import Deferred, succeed

from imd.terminal.codes import Ending
from imd.terminal.passwords import ask
from imd.terminal.rendering import PLAIN_TICKS, TICKS
from imd.terminal.worker import LINE_BYTES, Lines, Worker, write_all

STDIN, STDOUT = 0, 1
#: What a terminal shows faintly: everything that is no message.
_DIM, _NORMAL = "\x1b[2m", "\x1b[0m"


class Sources(Protocol):
    """What a screen asks for, whenever it paints."""

    def prompt(self) -> str:
        """What stands before the line that is being typed."""

    def status(self) -> str:
        """The line at the bottom."""

    def candidates(self, line: str) -> Sequence[str]:
        """How the last word of ``line`` may go on."""


class Screen(Protocol):
    """Shows lines and reads lines."""

    #: Nobody sits there: what was read is carried out before the next line is read.
    patient: bool
    #: There is a line for the status, which shows it all the time.
    painted: bool
    ticks: Mapping[str, str]

    @property
    def width(self) -> int:
        """Cells of a line; 0 if that does not matter."""

    def cells(self, text: str) -> int:
        """How many cells a text takes."""

    def read(self) -> Deferred[str | None]:
        """The next line; None at the end of the input, or after ``close``."""

    def ask(self, prompt: str) -> Deferred[str | None]:
        """A secret that is not shown while it is typed; None if it was not given."""

    def show(self, lines: Iterable[str], faint: bool = False) -> None:
        """Show lines, above the line that is being typed."""

    def flushed(self) -> Deferred[None]:
        """Fires when everything that was shown is written, or is safe to be."""

    def refresh(self) -> None:
        """What the sources say has changed."""

    def close(self) -> None:
        """End a ``read`` that is waiting."""


class PaintedScreen:
    """The terminal of a person: a line to type in that stays intact, and a status below."""

    patient, painted = False, True

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._task: asyncio.Future[str | None] | None = None
        self._session: PromptSession[str] = PromptSession(
            message=lambda: sources.prompt(),
            bottom_toolbar=lambda: " " + sources.status(),
            completer=_Completer(sources.candidates),
            complete_while_typing=False,
            history=InMemoryHistory(),
            key_bindings=_keys(),
            erase_when_done=True,
        )
        encoding = sys.stdout.encoding.lower().replace("-", "")
        self.ticks: Mapping[str, str] = TICKS if encoding == "utf8" else PLAIN_TICKS
        self._patch = patch_stdout(raw=True)
        self._patch.__enter__()

    @property
    def width(self) -> int:
        """See ``Screen``."""
        return self._session.app.output.get_size().columns

    def cells(self, text: str) -> int:
        """See ``Screen``."""
        return get_cwidth(text)

    def read(self) -> Deferred[str | None]:
        """See ``Screen``."""
        return self._prompted(self._session)

    def ask(self, prompt: str) -> Deferred[str | None]:
        """See ``Screen``."""
        # A session of its own: a secret must not be found among the lines typed before.
        secret: PromptSession[str] = PromptSession(prompt, is_password=True, erase_when_done=True)
        return self._prompted(secret)

    def _prompted(self, session: PromptSession[str]) -> Deferred[str | None]:
        async def prompted() -> str | None:
            try:
                # The reactor has the signals.
                return await session.prompt_async(handle_sigint=False)
            except (EOFError, KeyboardInterrupt, asyncio.CancelledError):
                return None

        self._task = asyncio.ensure_future(prompted())
        return Deferred.fromFuture(self._task)

    def show(self, lines: Iterable[str], faint: bool = False) -> None:
        """See ``Screen``."""
        before, after = (_DIM, _NORMAL) if faint else ("", "")
        sys.stdout.write("".join(f"{before}{line}{after}\n" for line in lines))
        sys.stdout.flush()

    def flushed(self) -> Deferred[None]:
        """See ``Screen``; ``leave`` does it."""
        return succeed(None)

    def refresh(self) -> None:
        """See ``Screen``."""
        self._session.app.invalidate()

    def close(self) -> None:
        """See ``Screen``."""
        if self._task is not None:
            self._task.cancel()

    def leave(self) -> None:
        """Paint no more; what was shown is written out."""
        self._patch.__exit__(None, None, None)


class PlainScreen:
    """A terminal that knows no more than lines, a pipe, or a file."""

    painted = False
    ticks: Mapping[str, str] = PLAIN_TICKS
    width = 0

    def __init__(self, reactor: Any, tty: bool) -> None:
        """``tty``: a person types."""
        self.patient = not tty
        self._input = Worker(reactor)
        self._output = Worker(reactor)
        self._lines = Lines(sys.stdin.fileno())
        self._reading: Deferred[str | None] | None = None
        self._failure: Any = None
        self._closed = False
        if tty:
            # The terminal has dropped the line that was typed; this is all that Ctrl-C is for.
            signal.signal(signal.SIGINT, lambda *_: None)

    def cells(self, text: str) -> int:
        """See ``Screen``."""
        return len(text)

    def read(self) -> Deferred[str | None]:
        """See ``Screen``."""
        return self._answered(self._line)

    def ask(self, prompt: str) -> Deferred[str | None]:
        """See ``Screen``."""
        return self._answered(self._line if self.patient else lambda: _asked(prompt))

    def _line(self) -> str | None:
        line = self._lines.next(LINE_BYTES)
        return line.decode("utf-8", "replace").rstrip("\r\n") if line else None

    def _answered(self, job: Callable[[], str | None]) -> Deferred[str | None]:
        reading = self._reading = Deferred()
        if self._failure is not None:
            reading.errback(self._failure)
        elif self._closed:
            reading.callback(None)
        else:
            self._input.do(job).addCallbacks(
                lambda line: self._end(reading.callback, line),
                lambda failure: self._end(reading.errback, failure),
            )
        return reading

    def _end(self, fire: Callable[[Any], None], value: Any) -> None:
        """End the ``read`` that waits; later answers to it are dropped."""
        if self._reading is not None and not self._reading.called:
            fire(value)

    def show(self, lines: Iterable[str], faint: bool = False) -> None:
        """See ``Screen``."""
        before = "-- " if faint else ""
        text = "".join(f"{before}{line}\n" for line in lines)
        data = text.encode(sys.stdout.encoding, "backslashreplace")
        self._output.do(lambda: write_all(STDOUT, data)).addErrback(self._broken)

    def _broken(self, failure: Any) -> None:
        self._failure = failure
        if self._reading is not None:
            self._end(self._reading.errback, failure)

    def flushed(self) -> Deferred[None]:
        """See ``Screen``."""
        return self._output.do(lambda: None)

    def refresh(self) -> None:
        """See ``Screen``."""

    def close(self) -> None:
        """See ``Screen``."""
        self._closed = True
        if self._reading is not None:
            self._end(self._reading.callback, None)


def _asked(prompt: str) -> str | None:
    try:
        return ask(prompt)
    except Ending:
        return None


def _keys() -> KeyBindings:
    keys = KeyBindings()

    @keys.add("c-c")
    def clear(event: KeyPressEvent) -> None:
        event.current_buffer.reset()

    return keys


class _Completer(Completer):
    def __init__(self, candidates: Callable[[str], Sequence[str]]) -> None:
        self._candidates = candidates

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Any:
        line = document.text_before_cursor
        word = line.rpartition(" ")[2]
        for candidate in self._candidates(line):
            end = "" if candidate.endswith("/") else " "
            yield Completion(candidate + end, start_position=-len(word), display=candidate)
