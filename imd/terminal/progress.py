"""A progress bar on standard error, where a person may see it; scripts get none."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from prompt_toolkit.utils import get_cwidth

from imd.terminal.rendering import bar

#: Seconds between two paintings.
PAINT_SECONDS = 0.1
#: Cells of a terminal that does not say how wide it is.
_WIDTH = 80


class Bar:
    """The bar of one file.  ``seconds`` tells the time."""

    def __init__(self, name: str, seconds: Callable[[], float]) -> None:
        self._name = name
        self._seconds = seconds
        self._next = seconds()
        self._painted = False
        self._shown = sys.stderr.isatty()

    def moved(self, done: int, size: int) -> None:
        """So many bytes have gone."""
        if self._shown and (done == size or self._seconds() >= self._next):
            self._next = self._seconds() + PAINT_SECONDS
            self._painted = True
            line = bar(self._name, done, size, _width(), get_cwidth)
            sys.stderr.write(f"\r{line}\x1b[K")
            sys.stderr.flush()

    def end(self) -> None:
        """What comes next goes to a line of its own."""
        if self._painted:
            sys.stderr.write("\n")


def _width() -> int:
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or _WIDTH
    except OSError:
        return _WIDTH
