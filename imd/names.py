"""Login names, display names and labels: what is accepted, and in which form it is kept."""

from __future__ import annotations

import re
import unicodedata

from imd.errors import Code, Refusal

_NAME = re.compile(r"[a-z0-9._-]{1,32}")
#: Categories that may not stand in a text that is shown on one line: controls, surrogates,
#: line and paragraph separators, private use and unassigned code points.
_HIDDEN = frozenset(("Cc", "Cs", "Zl", "Zp", "Co", "Cn"))
#: Characters that turn the direction of what follows them (Unicode TR 36 §2.5).
_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")

#: Characters of a display name or a device label.
LABEL_LENGTH = 64
#: Bytes of UTF-8 of a password that is kept here.
PASSWORD_BYTES = 1024


def login_name(text: str) -> str:
    """A login name in the form it is stored in; raises ``Refusal(BAD_REQUEST)``."""
    name = text.casefold()
    if not _NAME.fullmatch(name):
        raise Refusal(Code.BAD_REQUEST, "a name is 1 to 32 of a-z 0-9 . _ -")
    return name


def is_login_name(text: str) -> bool:
    """Whether this is a login name in the form it is stored in."""
    return _NAME.fullmatch(text) is not None


def label(text: str, what: str, longest: int = LABEL_LENGTH) -> str:
    """A text to be shown on one line, in NFC; raises ``Refusal(BAD_REQUEST)``."""
    normal = unicodedata.normalize("NFC", text).strip()
    if len(normal) > longest:
        raise Refusal(Code.BAD_REQUEST, f"{what}: at most {longest} characters")
    if any(c in _BIDI or unicodedata.category(c) in _HIDDEN for c in normal):
        raise Refusal(Code.BAD_REQUEST, f"{what}: no control or direction characters")
    return normal


def password(text: str) -> None:
    """Raise ``Refusal(BAD_REQUEST)`` unless this can be a password that is kept here."""
    if "\0" in text or not 1 <= len(text.encode()) <= PASSWORD_BYTES:
        raise Refusal(Code.BAD_REQUEST, f"a password has 1 to {PASSWORD_BYTES} bytes")
