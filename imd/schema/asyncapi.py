"""The AsyncAPI 3.0 document: every frame of the WebSocket, from the server's point of view."""

from __future__ import annotations

from typing import Any, get_args

from msgspec import Struct

from imd import wire
from imd.errors import Close
from imd.schema.components import Schema, frames, ref
from imd.schema.examples import example
from imd.version import __version__

_CHANNEL = "session"

#: What a frame of the client is answered with; more of it may come in between.
REPLIES: dict[str, tuple[str, ...]] = {
    "hello": ("welcome", "heads", "msgs", "error"),
    "send": ("ack", "nack"),
    "mark": (),
    "fetch": ("msgs", "error"),
    "sync": ("heads", "msgs", "error"),
    "call": ("result", "error"),
    "ping": ("pong",),
}
#: What the server says of itself.
PUSHES = ("msg", "receipt", "head", "event", "error", "bye")

_DESCRIPTION = """\
The frames of imd's WebSocket.  What they mean is in docs/protocol.rst; this document states \
their form.  A WebSocket text message holds one frame, or an array of up to 64 frames (a batch), \
in either direction.  The first frame of a client is `hello`; it carries the credentials, so that \
the URL has none.  Clients ignore fields and frame types that they do not know; the server \
refuses them."""


def document() -> dict[str, Any]:
    """The whole document."""
    client, server = get_args(wire.AnyClientFrame), get_args(wire.AnyServerFrame)
    messages = {tag(frame): _message(frame) for frame in (*client, *server)}
    messages["clientBatch"] = _batch("ClientBatch", "Several frames of a client, in order.")
    messages["serverBatch"] = _batch("ServerBatch", "Several frames of the server, in order.")
    schemas = frames() | {"ClientBatch": _array(client), "ServerBatch": _array(server)}
    return {
        "asyncapi": "3.0.0",
        "info": {"title": "imd", "version": __version__, "description": _DESCRIPTION},
        "defaultContentType": "application/json",
        "servers": {"local": {"host": "127.0.0.1:8080", "protocol": "ws"}},
        "channels": {_CHANNEL: _channel(messages)},
        "operations": _operations(),
        "components": {"messages": messages, "schemas": schemas},
    }


def tag(frame: type[Struct]) -> str:
    """The ``type`` of a frame."""
    return str(frame.__struct_config__.tag)


def _message(frame: type[Struct]) -> Schema:
    return {
        "name": tag(frame),
        "title": frame.__name__,
        "summary": (frame.__doc__ or "").replace("``", "`"),
        "payload": ref(frame.__name__),
        "examples": [{"name": tag(frame), "payload": example(frame)}],
    }


def _batch(name: str, summary: str) -> Schema:
    return {"name": name, "title": name, "summary": summary, "payload": ref(name)}


def _array(types: tuple[type[Struct], ...]) -> Schema:
    items = {"anyOf": [ref(frame.__name__) for frame in types]}
    return {"type": "array", "minItems": 1, "maxItems": wire.MAX_BATCH, "items": items}


def _channel(messages: dict[str, Schema]) -> Schema:
    return {
        "address": "/ws",
        "title": "One connection of a client",
        "description": f"A WebSocket with the subprotocol `{wire.SUBPROTOCOL}`.",
        "messages": {name: ref(name, "messages") for name in messages},
        "bindings": {"ws": {"method": "GET", "bindingVersion": "0.1.0"}},
        "x-close-codes": {str(int(code)): code.name.lower() for code in Close},
    }


def _operations() -> dict[str, Schema]:
    received = {f"receive_{name}": _receive(name, replies) for name, replies in REPLIES.items()}
    sent = {f"push_{name}": _operation("send", name) for name in PUSHES}
    batches = {
        "receive_batch": _operation("receive", "clientBatch"),
        "send_batch": _operation("send", "serverBatch"),
    }
    return received | sent | batches


def _receive(name: str, replies: tuple[str, ...]) -> Schema:
    operation = _operation("receive", name)
    if replies:
        operation["reply"] = {
            "channel": {"$ref": f"#/channels/{_CHANNEL}"},
            "messages": [_in_channel(reply) for reply in replies],
        }
    return operation


def _operation(action: str, name: str) -> Schema:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{_CHANNEL}"},
        "messages": [_in_channel(name)],
    }


def _in_channel(name: str) -> Schema:
    return {"$ref": f"#/channels/{_CHANNEL}/messages/{name}"}
