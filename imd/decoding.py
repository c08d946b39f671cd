"""Bytes from outside become frames: strictly, and in this one place.

``decode`` is cheap for what is well-formed: a message that is as long as its own canonical
encoding cannot hold a key twice, so only the others pay for the slow inspection.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar, cast

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from imd import wire

T = TypeVar("T")


class NotJson(ValueError):
    """The payload is not JSON in UTF-8, or names a frame type that does not exist."""


class Malformed(Struct, frozen=True, gc=False):
    """What is left of a frame that broke the grammar: who asked, if that could be read."""

    message: str
    req: int | str | UnsetType = UNSET
    #: The id of a ``send``, so that it can be refused by its own name.
    id: str | UnsetType = UNSET


_CLIENT = msgspec.json.Decoder(wire.AnyClientFrame | list[wire.AnyClientFrame])
_CLIENT_FRAME = msgspec.json.Decoder(wire.AnyClientFrame)
_TYPES = frozenset(t.__struct_config__.tag for t in wire.AnyClientFrame.__args__)
_BODIES: dict[str, msgspec.json.Decoder[Any]] = {
    "text": msgspec.json.Decoder(wire.TextBody),
    "file": msgspec.json.Decoder(wire.FileBody),
}

#: An escaped NUL, and not an escaped backslash before "u0000".
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
#: What a req or id may not hold to be echoed.
_UNSPEAKABLE = re.compile("[\\x00\\ud800-\\udfff]")
#: What stands before, between and after the elements of an array.
_BETWEEN = re.compile(r"[ \t\n\r]*[\[,\]][ \t\n\r]*")
_ELEMENT = json.JSONDecoder(parse_int=float)


def decode(payload: bytes) -> Sequence[wire.AnyClientFrame | Malformed]:
    """Decode one message from a client: its frames in order, the broken ones as ``Malformed``.

    Raises ``NotJson`` where the connection cannot go on (protocol §9).
    """
    try:
        frames = _CLIENT.decode(payload)
    except msgspec.DecodeError:
        return _inspect(payload)
    except (UnicodeDecodeError, RecursionError):
        raise NotJson("not JSON in UTF-8") from None
    if len(wire.encode(frames)) != len(payload) or b"\\u0000" in payload:
        return _inspect(payload)
    if not isinstance(frames, list):
        return (frames,)
    if 0 < len(frames) <= wire.MAX_BATCH:
        return frames
    return _bad_batch(frame.id for frame in frames if isinstance(frame, wire.Send))


def _bad_batch(ids: Iterable[str]) -> Sequence[Malformed]:
    """None of its frames is taken; its sends are refused by name, for each has to have an end."""
    fault = f"a batch holds 1 to {wire.MAX_BATCH} frames"
    return [Malformed(fault), *(Malformed(fault, id=id) for id in ids)]


def _inspect(payload: bytes) -> Sequence[wire.AnyClientFrame | Malformed]:
    """The slow way: frame by frame, so that one broken frame does not take the others with it."""
    value, fault = _parse(payload)
    if not isinstance(value, list):
        return (_inspect_frame(payload, value, fault),)
    if not 0 < len(value) <= wire.MAX_BATCH:
        ids = (_readable(frame.get("id"), str) for frame in value if isinstance(frame, dict))
        return _bad_batch(id for id in ids if id is not UNSET)
    return [_inspect_frame(raw, *_parse(raw)) for raw in _split(payload.decode())]


def _split(batch: str) -> Iterator[bytes]:
    """The elements of a JSON array that is known to be well-formed."""
    end = _BETWEEN.match(batch).end()  # type: ignore[union-attr]
    while end < len(batch):
        start = end
        _, end = _ELEMENT.raw_decode(batch, start)
        yield batch[start:end].encode()
        end = _BETWEEN.match(batch, end).end()  # type: ignore[union-attr]


def _inspect_frame(raw: bytes, value: Any, fault: str | None) -> wire.AnyClientFrame | Malformed:
    if not isinstance(value, dict):
        return Malformed("a frame is a JSON object")
    kind = value.get("type")
    if isinstance(kind, str) and kind not in _TYPES:
        raise NotJson("unknown frame type")
    try:
        frame = _CLIENT_FRAME.decode(raw)
    except msgspec.ValidationError as error:
        fault = fault or str(error)
    except msgspec.DecodeError:
        # It is JSON by its grammar, so this is all that can be left.
        fault = fault or "half a surrogate pair in a text"
    else:
        if fault is None:
            return cast(wire.AnyClientFrame, frame)
    return Malformed(fault, _readable(value.get("req"), int | str), _readable(value.get("id"), str))


def _readable(value: Any, kind: Any) -> Any:
    """``value`` if it can be echoed, else UNSET."""
    if isinstance(value, bool) or not isinstance(value, kind):
        return UNSET
    if isinstance(value, str):
        return value if len(value) <= 64 and not _UNSPEAKABLE.search(value) else UNSET
    return value if abs(value) < 2**53 else UNSET


def _parse(raw: bytes) -> tuple[Any, str | None]:
    """The value of a piece of JSON, and what is wrong with it though it can be parsed."""
    faults: list[str] = []

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(items)
        if len(found) != len(items):
            faults.append("a key stands twice")
        return found

    def constant(name: str) -> None:
        faults.append(f"{name} is no number")

    try:
        value = json.loads(
            raw.decode(), object_pairs_hook=pairs, parse_constant=constant, parse_int=_number
        )
    except (ValueError, RecursionError):
        raise NotJson("not JSON in UTF-8") from None
    if _NUL.search(raw):
        faults.append("NUL in a text")
    return value, faults[0] if faults else None


def _number(digits: str) -> float:
    """A number of JSON without a fraction; ``int`` refuses to read thousands of digits."""
    return int(digits) if len(digits) < 20 else float(digits)


class BadValue(ValueError):
    """A body or the parameters of a call are not what they have to be."""


def decode_strict(decoder: msgspec.json.Decoder[T], raw: Raw | bytes) -> T:
    """Decode a piece of JSON inside a frame with the same strictness as the frame itself.

    Raises ``BadValue`` with the reason.
    """
    try:
        value = decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadValue(str(error)) from None
    if len(wire.encode(value)) != len(memoryview(raw)) or b"\\u0000" in bytes(raw):
        _, fault = _parse(bytes(raw))
        if fault is not None:
            raise BadValue(fault)
    return value


def decode_file(raw: bytes) -> wire.FileBody:
    """A body of a received file; fields of later versions are ignored.  Raises ``BadValue``."""
    try:
        fields = msgspec.json.decode(raw, type=dict[str, Any])
        known = {f.encode_name for f in msgspec.structs.fields(wire.FileBody)}
        return msgspec.convert({k: v for k, v in fields.items() if k in known}, wire.FileBody)
    except msgspec.MsgspecError as error:
        raise BadValue(f"this is no file: {error}") from None


class _Carried(Struct, frozen=True):
    file: int


_CARRIED = msgspec.json.Decoder(_Carried)


def file_of(body: bytes) -> int:
    """The file that the body of a stored message of kind ``file`` names."""
    return _CARRIED.decode(body).file


def decode_body(kind: str, raw: Raw) -> wire.TextBody | wire.FileBody:
    """Decode the body of a ``send``; raises ``BadValue`` with the reason."""
    return cast(wire.TextBody | wire.FileBody, decode_strict(_BODIES[kind], raw))
