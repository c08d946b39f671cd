"""The text after the colon in ``--auth=jwt:…``: ``key=value`` parts, with colons between them.

A colon within a value is written ``\\:``, a backslash ``\\\\``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from imd.errors import ConfigError

#: A file with a key is small; a larger one is a mistake.
_MOST_BYTES = 1 << 20
_PART = re.compile(r"((?:[^:\\]|\\.)*)(?::|$)", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)

YesNo = Literal["yes", "no"]
Realm = Annotated[str, Meta(max_length=256)]


class Arguments(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What every checker of imd itself takes; see ``imd.interfaces.passwords.Checker``."""

    realm: Realm = ""
    create: YesNo = "yes"
    adopt: YesNo = "no"


A = TypeVar("A", bound=Arguments)


def parse(kind: str, text: str, into: type[A]) -> A:
    """Read the arguments of a checker of this kind.  Raises ``ConfigError``."""
    values: dict[str, str] = {}
    for part in _split(kind, text):
        key, equals, value = part.partition("=")
        if not equals or key in values:
            raise fault(kind, f"write key=value, each key once, at {key!r}")
        values[key] = _ESCAPED.sub(r"\1", value)
    try:
        return msgspec.convert(values, into, strict=False)
    except msgspec.ValidationError as error:
        raise fault(kind, str(error)) from None


def fault(kind: str, text: str) -> ConfigError:
    """A mistake in the arguments of a checker."""
    return ConfigError("auth", f"{kind}: {text}")


def read(kind: str, argument: str, path: str, private: bool) -> bytes:
    """The contents of a file with a key or a password.  Raises ``ConfigError``.

    ``private``: nobody but its owner may be able to read it.
    """
    try:
        raw = Path(path).read_bytes()
        mode = Path(path).stat().st_mode
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise fault(kind, f"{argument}: cannot read {path}: {why}") from None
    if len(raw) > _MOST_BYTES:
        raise fault(kind, f"{argument}: {path} is larger than {_MOST_BYTES} bytes")
    if private and mode & 0o077:
        raise fault(kind, f"{argument}: {path} holds a secret; run: chmod 600 {path}")
    return raw


def _split(kind: str, text: str) -> list[str]:
    parts, at = [], 0
    while at < len(text):
        found = _PART.match(text, at)
        if found is None:
            raise fault(kind, "it ends with a backslash")
        parts.append(found[1])
        at = found.end()
    return parts
