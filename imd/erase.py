"""``imd erase``: an account, and what its user wrote, is taken away for good."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from typing import TextIO

from imd.ordering import Failed, Orders, add_places, carry_out

#: Messages, or files, that one order erases: less than a second, as a rule.
STEP = 5_000
#: Seconds for which nothing is told, and between two lines; and to a terminal.
QUIET, EVERY, TERMINAL_EVERY = 2.0, 5.0, 0.5


def main(argv: Sequence[str]) -> int:
    """Run the command; 0, 1 if it was refused, 78 for a bad configuration."""
    what = "Erase an account, and what its user wrote."
    parser = argparse.ArgumentParser(prog="imd erase", description=what)
    parser.add_argument("name", metavar="USER", help="the login name")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    add_places(parser)
    return carry_out(parser.parse_args(argv), _erase, _ask)


async def _erase(orders: Orders, options: argparse.Namespace) -> None:
    params = {"user": options.name, "repeat": options.repeat, "limit": STEP}
    progress = Progress(sys.stderr, time.monotonic)
    messages, files, more = 0, 0, True
    try:
        while more:
            done = await orders.call("user.erase", params)
            messages, files, more = messages + done["messages"], files + done["files"], done["more"]
            progress.tell(f"erased {messages} messages and {files} files so far")
    finally:
        progress.end()
    print(f"erased {messages} messages and {files} files")


class Progress:
    """Tells how far long work has come: to a terminal on one line, elsewhere by a line now and
    then.  ``seconds`` is a monotonic clock.
    """

    def __init__(self, out: TextIO, seconds: Callable[[], float]) -> None:
        self._out = out
        self._seconds = seconds
        self._is_terminal = out.isatty()
        self._has_told = False
        self._due = seconds() + QUIET

    def tell(self, text: str) -> None:
        """Tell it, unless that would be too soon."""
        now = self._seconds()
        if now < self._due:
            return
        self._due = now + (TERMINAL_EVERY if self._is_terminal else EVERY)
        self._out.write(f"\rimd: {text}" if self._is_terminal else f"imd: {text}\n")
        self._out.flush()
        self._has_told = True

    def end(self) -> None:
        """It is over, in one way or another."""
        if self._has_told and self._is_terminal:
            self._out.write("\n")


def _ask(options: argparse.Namespace) -> None:
    options.repeat = name = options.name
    if options.yes:
        return
    if not sys.stdin.isatty():
        raise Failed("nobody to ask whether this is meant; give --yes")
    print(f"This erases {name} and all that {name} wrote, and cannot be undone.")
    options.repeat = input("Type the name again: ")
