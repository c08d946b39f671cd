"""The OpenAPI 3.1 document: every method as ``POST /v1/METHOD``, and the pages beside them."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import msgspec
from msgspec import Struct

from imd.errors import STATUS, Code
from imd.methods import METHODS, Method
from imd.orders import ORDERS, STREAMS, Stream
from imd.schema.components import Schema, components, ref, result
from imd.schema.files import files
from imd.version import __version__

_DESCRIPTION = """\
The methods of imd over HTTP.  The same methods are `call` frames of the WebSocket, except those \
without a token.  What they mean is in docs/protocol.rst.  Unknown parameters are refused; \
clients ignore fields of results that they do not know.  The token belongs into the \
`Authorization` header, never into the URL."""


class Failure(Struct, frozen=True):
    """Why it failed: ``code`` for programs, ``message`` for people."""

    code: Code
    message: str


class Failed(Struct, frozen=True):
    """The body of every answer that is no success."""

    error: Failure


def document() -> dict[str, Any]:
    """The whole document."""
    every = [*METHODS.values(), *ORDERS.values()]
    types = [t for m in every for t in (m.params, m.result)]
    types += [stream.params for stream in STREAMS.values()]
    return {
        "openapi": "3.1.0",
        "info": {"title": "imd", "version": __version__, "description": _DESCRIPTION},
        "servers": [{"url": "/"}],
        "tags": [{"name": name} for name in sorted({"admin", *map(_tag, METHODS)})],
        "paths": {f"/v1/{name}": {"post": _post(name, m)} for name, m in METHODS.items()}
        | {f"/v1/admin/{name}": {"post": _order(name, m)} for name, m in ORDERS.items()}
        | {f"/v1/admin/{name}": {"post": _stream(name, s)} for name, s in STREAMS.items()}
        | {"/v1/files/{file}": files()}
        | _PAGES,
        "components": {
            "schemas": components([*types, Failed]),
            "responses": {_name(status): _failure(status, codes) for status, codes in _CODES},
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": _BEARER},
                "admin": {"type": "http", "scheme": "bearer", "description": _ADMIN},
            },
        },
    }


_BEARER = "The token of a device, from `account.register`, `account.login` or a `welcome` frame."

_ADMIN = "The secret in the file that `admin-token-file` names; without one all of it is 404."


def _codes() -> list[tuple[int, list[Code]]]:
    """The codes by the status that they are answered with."""
    found: defaultdict[int, list[Code]] = defaultdict(list)
    for code, status in STATUS.items():
        found[status].append(code)
    # A wrong verb, and a body that is not JSON by its own account.
    found[405] = found[415] = [Code.BAD_REQUEST]
    return sorted(found.items())


_CODES = _codes()


def _post(name: str, method: Method) -> Schema:
    return {
        "operationId": name,
        "summary": method.doc,
        "tags": [_tag(name)],
        "security": [] if method.public else [{"bearer": []}],
        "requestBody": _body(method.params),
        "responses": {
            "200": {"description": "Done.", "content": _json(result(method))},
            **_REFUSALS,
        },
    }


def _body(params: type[Struct]) -> Schema:
    required = any(field.required for field in msgspec.structs.fields(params))
    return {"required": required, "content": _json(ref(params.__name__))}


def _order(name: str, order: Method) -> Schema:
    return _post(name, order) | _OF_ADMINS | {"operationId": f"admin.{name}"}


def _stream(name: str, stream: Stream) -> Schema:
    lines = {"application/x-ndjson": {"schema": {"type": "string"}}}
    return _OF_ADMINS | {
        "operationId": f"admin.{name}",
        "summary": stream.doc,
        "requestBody": _body(stream.params),
        "responses": {"200": {"description": _LINES, "content": lines}, **_REFUSALS},
    }


def _tag(method: str) -> str:
    return method.partition(".")[0]


def _name(status: int) -> str:
    return f"Status{status}"


def _json(schema: Schema) -> Schema:
    return {"application/json": {"schema": schema}}


def _failure(status: int, codes: list[Code]) -> Schema:
    listed = ", ".join(f"`{code}`" for code in codes)
    headers = {name: _HEADERS[name] for name, statuses in _SENT_WITH.items() if status in statuses}
    answer: Schema = {"description": f"Refused: {listed}.", "content": _json(ref("Failed"))}
    return answer | ({"headers": headers} if headers else {})


_HEADERS: dict[str, Schema] = {
    "Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}},
    "WWW-Authenticate": {"description": "Always `Bearer`.", "schema": {"type": "string"}},
    "Allow": {"description": "The verbs that work here.", "schema": {"type": "string"}},
}
_SENT_WITH = {"Retry-After": (429, 503), "WWW-Authenticate": (401,), "Allow": (405,)}


_REFUSALS = {str(status): ref(_name(status), "responses") for status, _ in _CODES}
_OF_ADMINS: Schema = {"tags": ["admin"], "security": [{"admin": []}]}
_LINES = "JSON objects, one a line; the last has the `record` `end`, or it is not all of it."


def _page(operation: str, summary: str, **answers: str) -> Schema:
    text = {"text/plain": {"schema": {"type": "string"}}}
    return {
        "get": {
            "operationId": operation,
            "summary": summary,
            "security": [],
            "responses": {
                status.removeprefix("s"): {"description": description, "content": text}
                for status, description in answers.items()
            },
        }
    }


_PAGES = {
    "/healthz": _page("healthz", "Whether the process lives.", s200="It lives."),
    "/readyz": _page(
        "readyz",
        "Whether the process should get traffic.",
        s200="It should.",
        s503="It should not; the body says why.",
    ),
}
