"""Names for files that others have sent.  What the sender calls a file is data, never a path."""

from __future__ import annotations

from imd.terminal.escapes import thinned, visible

#: Bytes of a name; file systems take 255, and ``numbered`` needs some.
NAME_BYTES = 200
#: Characters that make a path, or that other systems do not take.
_NEVER = frozenset('/\\:*?"<>|')
#: What names that look like options, or are hidden, begin with; and blanks.
_NEVER_FIRST = "-. "


def safe_name(name: str) -> str:
    """A name to save a file under that the sender calls ``name``: no path, not hidden.

    Whatever a terminal would not show as it is, and what makes a path, becomes ``_``.
    """
    shown = "".join("_" if each in _NEVER or visible(each) != each else each for each in name)
    shown = thinned(shown).rstrip(" .")
    if shown[:1] in tuple(_NEVER_FIRST):
        shown = "_" + shown.lstrip(_NEVER_FIRST)
    return _cut(shown) if shown.strip("_") else "file"


def numbered(name: str, n: int) -> str:
    """The ``n``-th name to try, ``a.txt``, ``a (2).txt`` and so on."""
    if n == 1:
        return name
    stem, dot, end = name.rpartition(".")
    return f"{stem} ({n}){dot}{end}" if stem else f"{name} ({n})"


def _cut(name: str) -> str:
    """As much of a name as a file system takes, with its extension."""
    stem, dot, end = name.rpartition(".")
    if not stem or len(end) > 16:
        stem, dot, end = name, "", ""
    room = NAME_BYTES - len((dot + end).encode())
    return stem.encode()[:room].decode(errors="ignore") + dot + end
