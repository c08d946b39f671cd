"""Frames on the wire, as structs, and how they become bytes; ``imd.decoding`` is the way back.

The grammar (protocol §2, §3), which the structs below state field by field:

    message      = frame / batch              ; one WebSocket text message
    batch        = "[" frame 0*63("," frame) "]"
    client frame = hello / send / mark / fetch / sync / call / ping
    server frame = welcome / ack / nack / msg / msgs / heads / head / receipt
                 / result / error / event / pong / bye

A client frame may hold no field that is not named here, no key twice, no NUL and no
integer of 2**53 or more.  Server frames may grow: clients ignore what they do not know.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, Raw, Struct, UnsetType

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

#: Encode a frame (or any struct or builtin value) as JSON bytes.
encode = msgspec.json.Encoder().encode

_UUID = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")


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
