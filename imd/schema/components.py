"""JSON Schemas of the structs, and the rules that a struct alone cannot state."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from imd import wire
from imd.errors import Code
from imd.events import EVENTS
from imd.methods import METHODS, Method, Nothing

Schema = dict[str, Any]


def ref(name: str, kind: str = "schemas") -> Schema:
    """A reference to a component of the same document."""
    return {"$ref": f"#/components/{kind}/{name}"}


def components(types: Iterable[Any]) -> dict[str, Schema]:
    """The schemas of ``types`` and of everything in them, by the names of the structs."""
    _, found = msgspec.json.schema_components(
        [*types, Code], ref_template="#/components/schemas/{name}"
    )
    for schema in found.values():
        # Docstrings are reStructuredText, descriptions are Markdown.
        schema["description"] = schema["description"].replace("``", "`")
    return found


def result(method: Method) -> Schema:
    """The schema of what a method returns; it may always have more fields."""
    return {"type": "object"} if method.result is Nothing else ref(method.result.__name__)


def frames() -> dict[str, Schema]:
    """The schemas of all frames, in both directions."""
    called = [m for m in METHODS.values() if not m.public]
    parts = [*(m.params for m in called), *(m.result for m in called), *EVENTS.values()]
    bodies = [wire.TextBody, wire.FileBody]
    found = components([wire.AnyClientFrame, wire.AnyServerFrame, *bodies, *parts])
    for name, rule in _RULES.items():
        found[name] |= rule
    for name in ("Nack", "Error"):
        found[name]["properties"]["code"] = ref("Code")
    for kind in ("Text", "File"):
        # What is sent is checked strictly; what is received may have more fields one day.
        found[f"{kind}Received"] = {
            key: value
            for key, value in found[f"{kind}Body"].items()
            if key != "additionalProperties"
        }
    for name in ("Msg", "Item"):
        found[name]["properties"]["body"] = {
            "anyOf": [ref("TextReceived"), ref("FileReceived"), _NOTHING]
        }
    found["Call"]["oneOf"] = [_call(name, m) for name, m in METHODS.items() if not m.public]
    found["Result"]["properties"]["data"] = {"anyOf": _results(called)}
    found["Event"]["anyOf"] = [_pair("name", n, "data", ref(t.__name__)) for n, t in EVENTS.items()]
    return found


#: What is left of a message whose author was erased; its kind is ``erased``.
_NOTHING: Schema = {"type": "object", "maxProperties": 0, "title": "ErasedReceived"}


def _call(name: str, method: Method) -> Schema:
    schema = _pair("method", name, "params", ref(method.params.__name__))
    needed = any(f.required for f in msgspec.structs.fields(method.params))
    return schema | ({"required": ["params"]} if needed else {})


def _results(methods: Iterable[Method]) -> list[Schema]:
    return list({m.result.__name__: result(m) for m in methods}.values())


def _pair(tag: str, value: str, field: str, schema: Schema) -> Schema:
    """Where ``tag`` has ``value``, ``field`` is as in ``schema``."""
    return {"properties": {tag: {"const": value}, field: schema}}


#: What one field of a frame says about another.
_RULES: dict[str, Schema] = {
    "Hello": {
        "oneOf": [
            {
                "required": ["token"],
                "properties": dict.fromkeys(("user", "password", "device", "register"), False),
            },
            {"required": ["user", "password", "device"], "properties": {"token": False}},
        ]
    },
    "Send": {
        "oneOf": [
            _pair("kind", "text", "body", ref("TextBody")),
            _pair("kind", "file", "body", ref("FileBody")),
        ]
    },
    "Mark": {"anyOf": [{"required": ["delivered"]}, {"required": ["read"]}]},
    "Fetch": {"not": {"required": ["after", "before"]}},
}
