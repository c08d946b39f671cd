"""``/v1/files/ID`` in the OpenAPI document: the one path that carries bytes instead of JSON."""

from __future__ import annotations

from imd.schema.components import Schema, ref

_BYTES: Schema = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_OFFSET: Schema = {"Upload-Offset": {"description": "Bytes that are there.", "schema": _COUNT}}
_LENGTH: Schema = {"Upload-Length": {"description": "Bytes of the file.", "schema": _COUNT}}


def files() -> Schema:
    """The operations of the path."""
    return {
        "parameters": [
            {"name": "file", "in": "path", "required": True, "schema": {"type": "integer"}}
        ],
        "get": _read("file.get", "Read a file.", _BYTES),
        "head": _read("file.head", "Read all but the bytes; for the owner, the progress.", {}),
        "put": _write(
            "file.put",
            "Upload a file, or with `Content-Range` its rest.",
            "application/octet-stream",
            [_header("Content-Range", required=False)],
            {"201": _kept("It is complete."), "202": _kept("More is to come.")},
        ),
        "patch": _write(
            "file.patch",
            "Upload the next bytes (tus 1.0.0).",
            "application/offset+octet-stream",
            [_header("Upload-Offset", required=True), _header("Tus-Resumable", required=False)],
            {"204": _kept("They are stored.")},
        ),
    }


def _header(name: str, required: bool) -> Schema:
    return {"name": name, "in": "header", "required": required, "schema": {"type": "string"}}


def _kept(description: str) -> Schema:
    return {"description": description, "headers": _OFFSET}


def _refusals(*statuses: int) -> dict[str, Schema]:
    content = {"application/json": {"schema": ref("Failed")}}
    return {str(status): {"description": "Refused.", "content": content} for status in statuses}


def _read(operation: str, summary: str, content: Schema) -> Schema:
    link = {"name": "link", "in": "query", "required": False, "schema": {"type": "string"}}
    whole = {"description": "All of it.", "headers": _OFFSET | _LENGTH}
    answers = {"200": whole | ({"content": content} if content else {})}
    if content:
        answers["206"] = {"description": "The range that was asked for.", "content": content}
    return {
        "operationId": operation,
        "summary": summary,
        "tags": ["file"],
        "security": [{"bearer": []}, {}],
        "parameters": [link, _header("Range", required=False)],
        "responses": answers | _refusals(401, 404, 416, 429, 500, 503),
    }


def _write(
    operation: str, summary: str, media: str, headers: list[Schema], answers: dict[str, Schema]
) -> Schema:
    schema = {"type": "string", "format": "binary"}
    refusals = _refusals(400, 401, 404, 408, 409, 411, 412, 413, 415, 429, 500, 503, 507)
    return {
        "operationId": operation,
        "summary": summary,
        "tags": ["file"],
        "security": [{"bearer": []}],
        "parameters": headers,
        "requestBody": {"required": True, "content": {media: {"schema": schema}}},
        "responses": answers | refusals,
    }
