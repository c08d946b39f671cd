"""Makes text of others harmless for a terminal.

Controls (C0, C1, DEL), characters that change the direction of text, invisible ones, line and
paragraph separators, private use and unassigned code points are shown as escapes: ``\\x1b``.  The
joiners that scripts and emoji need stay as they are.
"""

from __future__ import annotations

import re
import unicodedata

#: Categories of what is shown as an escape.
_HIDDEN = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp", "Co", "Cn"))
#: Zero-width non-joiner and joiner: without them words and emoji look wrong.
_JOINERS = frozenset("\u200c\u200d")
#: What may need an escape; everything else is shown as it is, without a look at its category.
_SUSPECT = re.compile(r"[^\x20-\x7e]")
#: Marks above one another: more than these would paint over other lines.
MARKS = 4


def visible(text: str) -> str:
    """``text`` on one line, with nothing in it that a terminal would obey; tabs become spaces."""
    return _SUSPECT.sub(_shown, thinned(text.replace("\t", "    ")))


def _shown(match: re.Match[str]) -> str:
    character = match[0]
    if unicodedata.category(character) not in _HIDDEN or character in _JOINERS:
        return character
    return escape(character)


def escape(character: str) -> str:
    """The escape that Python would write for one character."""
    code = ord(character)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def thinned(text: str) -> str:
    """``text`` without marks that would pile up: ``MARKS`` above one another are left."""
    if text.isascii():
        return text
    kept, run = [], 0
    for character in text:
        run = run + 1 if unicodedata.category(character) in ("Mn", "Me") else 0
        if run <= MARKS:
            kept.append(character)
    return "".join(kept)
