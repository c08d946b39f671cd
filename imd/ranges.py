"""Ranges of bytes in HTTP: what a client wants to read, and where it goes on writing."""

from __future__ import annotations

#: Digits of the greatest number that is read; more are no size of anything.
DIGITS = 16


class Unsatisfiable(Exception):
    """A range that begins behind the end (RFC 9110 §15.5.17)."""


def wanted(header: str | None, size: int) -> tuple[int, int] | None:
    """Start and end (exclusive) of a ``Range``; None for all of it.

    RFC 9110 §14.2: what is not understood is ignored, and so are several ranges at once.
    Raises ``Unsatisfiable``.
    """
    unit, _, spec = (header or "").partition("=")
    first, dash, last = spec.strip().partition("-")
    if unit.strip().lower() != "bytes" or not dash:
        return None
    if not first:
        length = number(last)
        return None if length is None else _existing(max(size - length, 0), size, size)
    start, end = number(first), size if not last else number(last)
    if start is None or end is None or (last and end < start):
        return None
    return _existing(start, end + 1 if last else size, size)


def _existing(start: int, end: int, size: int) -> tuple[int, int]:
    if start >= size:
        raise Unsatisfiable
    return start, min(end, size)


def sent(header: str) -> tuple[int, int, int] | None:
    """Start, end (exclusive) and size of a ``Content-Range``; None if it is none."""
    unit, _, spec = header.strip().partition(" ")
    span, slash, total = spec.strip().partition("/")
    first, dash, last = span.partition("-")
    start, end, size = number(first), number(last), number(total)
    if unit.lower() != "bytes" or not slash or not dash:
        return None
    if start is None or end is None or size is None or not start <= end < size:
        return None
    return start, end + 1, size


def number(text: str) -> int | None:
    """A number of bytes in decimal digits; None if it is none."""
    if text.isascii() and text.isdigit() and len(text) <= DIGITS:
        return int(text)
    return None
