"""Frames on the wire: structs, and the one place where bytes become structs and back.

The grammar (protocol §2, §3), which the structs below state field by field:

    message      = frame / batch              ; one WebSocket text message
    batch        = "[" frame 0*63("," frame) "]"
    client frame = hello / send / mark / fetch / sync / call / ping
    server frame = welcome / ack / nack / msg / msgs / heads / head / receipt
                 / result / error / event / pong / bye

A client frame may hold no field that is not named here, no key twice, no NUL and no
integer of 2**53 or more.  Server frames may grow: clients ignore what they do not know.

``decode`` is strict and cheap: a message that is as long as its own canonical encoding
cannot hold a key twice, so only the others pay for the slow inspection.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated, Any, Literal, TypeVar, cast

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

T = TypeVar("T")

SUBPROTOCOL = "imd.v1.json"

#: Frames in one batch, either way (protocol §2, §8).
MAX_BATCH = 64
#: Bytes of one batch that the server sends (protocol §8).
MAX_BATCH_BYTES = 192 * 1024

Id = Annotated[int, Meta(gt=0, lt=2**53)]
Seq = Annotated[int, Meta(ge=0, lt=2**53)]
Millis = Annotated[int, Meta(ge=0, lt=2**53)]
#: Chosen by the client and echoed; a number as in the protocol, or a short string.
Req = Annotated[int, Meta(ge=-(2**53) + 1, lt=2**53)] | Annotated[str, Meta(max_length=64)]
Tail = Annotated[int, Meta(ge=0, le=50)]
Token = Annotated[str, Meta(max_length=256)]
Label = Annotated[str, Meta(max_length=64)]


class ClientFrame(
    Struct,
    frozen=True,
    omit_defaults=True,
    forbid_unknown_fields=True,
    gc=False,
    tag_field="type",
):
    """Any frame that a client may send."""


class Hello(ClientFrame, tag="hello", frozen=True):
    """Log in: with ``token``, or with ``user``, ``password`` and a ``device`` label."""

    req: Req
    token: Token | UnsetType = UNSET
    user: Annotated[str, Meta(max_length=256)] | UnsetType = UNSET
    password: Annotated[str, Meta(max_length=8192)] | UnsetType = UNSET
    device: Label | UnsetType = UNSET
    register: bool | UnsetType = UNSET
    since: Token | UnsetType = UNSET
    tail: Tail | UnsetType = UNSET
    caps: Annotated[list[Label], Meta(max_length=32)] | UnsetType = UNSET
    agent: Annotated[str, Meta(max_length=200)] | UnsetType = UNSET


class Send(ClientFrame, tag="send", frozen=True):
    """Append a message; ``id`` is the client's UUID and makes repeating it harmless."""

    id: Annotated[str, Meta(max_length=64)]
    conversation: Id = msgspec.field(name="conv")
    kind: Literal["text", "file"]
    body: Raw


class Mark(ClientFrame, tag="mark", frozen=True):
    """Move my cursors: everything up to these seqs is durably stored, or was displayed."""

    conversation: Id = msgspec.field(name="conv")
    delivered: Seq | UnsetType = UNSET
    read: Seq | UnsetType = UNSET


class Fetch(ClientFrame, tag="fetch", frozen=True):
    """Read history above ``after``, or below ``before``, or the newest."""

    req: Req
    conversation: Id = msgspec.field(name="conv")
    limit: Annotated[int, Meta(ge=1, le=200)]
    after: Seq | UnsetType = UNSET
    before: Seq | UnsetType = UNSET


class Sync(ClientFrame, tag="sync", frozen=True):
    """Ask for the heads that changed after ``since``."""

    req: Req
    since: Token | UnsetType = UNSET
    tail: Tail | UnsetType = UNSET


class Call(ClientFrame, tag="call", frozen=True):
    """Call a method of ``imd.methods``."""

    req: Req
    method: Label
    params: Raw | UnsetType = UNSET


class Ping(ClientFrame, tag="ping", frozen=True):
    """Prove that I am alive; answered by ``pong`` with the same ``n``."""

    n: Annotated[int, Meta(ge=-(2**53) + 1, lt=2**53)]


AnyClientFrame = Hello | Send | Mark | Fetch | Sync | Call | Ping


class TextBody(Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """The body of ``kind: text``; at most ``limits.text_bytes`` of UTF-8."""

    text: str


class FileBody(
    Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True, gc=False
):
    """The body of ``kind: file``: what ``file.slot`` was told, and an optional caption."""

    file: Id
    name: Annotated[str, Meta(min_length=1, max_length=255)]
    size: Annotated[int, Meta(ge=0, lt=2**53)]
    mime: Annotated[str, Meta(min_length=1, max_length=127)]
    # The length as well: to Python's "$" a line feed at the end is none.
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$", max_length=64)]
    text: str | UnsetType = UNSET


class ServerFrame(Struct, frozen=True, omit_defaults=True, gc=False, tag_field="type"):
    """Any frame that a server may send; fields are only ever added."""


class UserRef(Struct, frozen=True, gc=False):
    """A user by id and login name."""

    id: Id
    name: str


class Limits(Struct, frozen=True, gc=False):
    """What this server accepts; sizes in bytes."""

    inflight: int
    text_bytes: int
    file_bytes: int
    frame_bytes: int
    batch: int


class Welcome(ServerFrame, tag="welcome", frozen=True):
    """The session is READY; heads follow."""

    req: Req
    user: UserRef
    device: Id
    session: int
    epoch: str
    now: Millis
    heartbeat: int
    limits: Limits
    roster: int
    caps: list[str]
    token: str | UnsetType = UNSET


class Ack(ServerFrame, tag="ack", frozen=True):
    """*Sent*: the message is committed at ``seq``."""

    id: str
    conversation: Id = msgspec.field(name="conv")
    seq: Seq
    at: Millis
    dup: bool = False


class Nack(ServerFrame, tag="nack", frozen=True):
    """The message will never be stored under this id."""

    id: str
    code: str
    message: str | UnsetType = UNSET


class Item(Struct, frozen=True, gc=False):
    """A message inside ``msgs``."""

    seq: Seq
    sender: Id = msgspec.field(name="from")
    device: Id
    id: str
    at: Millis
    kind: str
    body: Raw


class Msg(ServerFrame, tag="msg", frozen=True):
    """A message of the log."""

    conversation: Id = msgspec.field(name="conv")
    seq: Seq
    sender: Id = msgspec.field(name="from")
    device: Id
    id: str
    at: Millis
    kind: str
    body: Raw


class Msgs(ServerFrame, tag="msgs", frozen=True):
    """A run of the log, ascending."""

    req: Req
    conversation: Id = msgspec.field(name="conv")
    items: list[Item]
    floor: Seq
    more: bool


class PeerHead(Struct, frozen=True, gc=False):
    """Another member, and how far it got."""

    user: Id
    name: str
    delivered: Seq
    read: Seq


class HeadItem(Struct, frozen=True, gc=False):
    """The state of one conversation; ``delivered`` and ``read`` are mine."""

    conversation: Id = msgspec.field(name="conv")
    kind: str
    last: Seq
    floor: Seq
    delivered: Seq
    read: Seq
    peers: list[PeerHead]


class Heads(ServerFrame, tag="heads", frozen=True):
    """Heads in answer to ``hello`` or ``sync``; the last page has ``done`` and ``next``."""

    req: Req
    items: list[HeadItem]
    done: bool
    next: str | UnsetType = UNSET


class Poke(ServerFrame, tag="head", frozen=True):
    """You may be behind in ``conv``."""

    conversation: Id = msgspec.field(name="conv")
    last: Seq


class Receipt(ServerFrame, tag="receipt", frozen=True):
    """A member's cursors after a change; merge with max."""

    conversation: Id = msgspec.field(name="conv")
    user: Id
    delivered: Seq
    read: Seq


class Result(ServerFrame, tag="result", frozen=True):
    """The answer to ``call``."""

    req: Req
    data: Any


class Error(ServerFrame, tag="error", frozen=True):
    """A frame was refused; ``req`` names it where it could be read."""

    code: str
    message: str | UnsetType = UNSET
    req: Req | UnsetType = UNSET


class Event(ServerFrame, tag="event", frozen=True):
    """A hint; the state behind it can be read again."""

    name: str
    data: Any


class Pong(ServerFrame, tag="pong", frozen=True):
    """The answer to ``ping``; ``since`` is a newer sync token."""

    n: int
    now: Millis
    since: str | UnsetType = UNSET


class Bye(ServerFrame, tag="bye", frozen=True):
    """The server closes; come back after ``retry`` milliseconds."""

    code: int
    retry: int


AnyServerFrame = (
    Welcome | Ack | Nack | Msg | Msgs | Heads | Poke | Receipt | Result | Error | Event | Pong | Bye
)


class NotJson(ValueError):
    """The payload is not JSON in UTF-8, or names a frame type that does not exist."""


class Malformed(Struct, frozen=True, gc=False):
    """What is left of a frame that broke the grammar: who asked, if that could be read."""

    message: str
    req: int | str | UnsetType = UNSET
    #: The id of a ``send``, so that it can be refused by its own name.
    id: str | UnsetType = UNSET


_ENCODER = msgspec.json.Encoder()
_CLIENT = msgspec.json.Decoder(AnyClientFrame | list[AnyClientFrame])
_CLIENT_FRAME = msgspec.json.Decoder(AnyClientFrame)
_TYPES = frozenset(t.__struct_config__.tag for t in AnyClientFrame.__args__)
_BODIES: dict[str, msgspec.json.Decoder[Any]] = {
    "text": msgspec.json.Decoder(TextBody),
    "file": msgspec.json.Decoder(FileBody),
}
_UUID = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")

#: An escaped NUL, and not an escaped backslash before "u0000".
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
#: What a req or id may not hold to be echoed.
_UNSPEAKABLE = re.compile("[\\x00\\ud800-\\udfff]")
#: What stands before, between and after the elements of an array.
_BETWEEN = re.compile(r"[ \t\n\r]*[\[,\]][ \t\n\r]*")
_ELEMENT = json.JSONDecoder(parse_int=float)

#: Encode a frame (or any struct or builtin value) as JSON bytes.
encode = _ENCODER.encode


def decode(payload: bytes) -> Sequence[AnyClientFrame | Malformed]:
    """Decode one message from a client: its frames in order, the broken ones as ``Malformed``.

    Raises ``NotJson`` where the connection cannot go on (protocol §9).
    """
    try:
        frames = _CLIENT.decode(payload)
    except msgspec.DecodeError:
        return _inspect(payload)
    except (UnicodeDecodeError, RecursionError):
        raise NotJson("not JSON in UTF-8") from None
    if len(_ENCODER.encode(frames)) != len(payload) or b"\\u0000" in payload:
        return _inspect(payload)
    if not isinstance(frames, list):
        return (frames,)
    if 0 < len(frames) <= MAX_BATCH:
        return frames
    return _bad_batch(frame.id for frame in frames if isinstance(frame, Send))


def _bad_batch(ids: Iterable[str]) -> Sequence[Malformed]:
    """None of its frames is taken; its sends are refused by name, for each has to have an end."""
    fault = f"a batch holds 1 to {MAX_BATCH} frames"
    return [Malformed(fault), *(Malformed(fault, id=id) for id in ids)]


def _inspect(payload: bytes) -> Sequence[AnyClientFrame | Malformed]:
    """The slow way: frame by frame, so that one broken frame does not take the others with it."""
    value, fault = _parse(payload)
    if not isinstance(value, list):
        return (_inspect_frame(payload, value, fault),)
    if not 0 < len(value) <= MAX_BATCH:
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


def _inspect_frame(raw: bytes, value: Any, fault: str | None) -> AnyClientFrame | Malformed:
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
            return cast(AnyClientFrame, frame)
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
    if len(_ENCODER.encode(value)) != len(memoryview(raw)) or b"\\u0000" in bytes(raw):
        _, fault = _parse(bytes(raw))
        if fault is not None:
            raise BadValue(fault)
    return value


def decode_file(raw: bytes) -> FileBody:
    """A body of a received file; fields of later versions are ignored.  Raises ``BadValue``."""
    try:
        fields = msgspec.json.decode(raw, type=dict[str, Any])
        known = {f.encode_name for f in msgspec.structs.fields(FileBody)}
        return msgspec.convert({k: v for k, v in fields.items() if k in known}, FileBody)
    except msgspec.MsgspecError as error:
        raise BadValue(f"this is no file: {error}") from None


def decode_body(kind: str, raw: Raw) -> TextBody | FileBody:
    """Decode the body of a ``send``; raises ``BadValue`` with the reason."""
    return cast(TextBody | FileBody, decode_strict(_BODIES[kind], raw))


def uuid_bytes(text: str) -> bytes | None:
    """The 16 bytes of a UUID in its hyphenated form, either case; None for anything else."""
    return bytes.fromhex(text.replace("-", "")) if _UUID.fullmatch(text) else None


def uuid_text(value: bytes) -> str:
    """The hyphenated lower-case form of 16 bytes (RFC 9562 §4)."""
    h = value.hex()
    return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"


def batches(frames: Iterable[bytes]) -> Iterator[bytes]:
    """Pack encoded frames, in order, into as few WebSocket messages as the limits allow."""
    batch: list[bytes] = []
    size = len(b"[]")
    for frame in frames:
        if batch and (len(batch) == MAX_BATCH or size + len(frame) > MAX_BATCH_BYTES):
            yield _pack(batch)
            batch, size = [], len(b"[]")
        batch.append(frame)
        size += len(frame) + 1
    if batch:
        yield _pack(batch)


def _pack(batch: list[bytes]) -> bytes:
    return batch[0] if len(batch) == 1 else b"[" + b",".join(batch) + b"]"
