"""The committed AsyncAPI and OpenAPI documents say what the code does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from imd import decoding, wire
from imd.cli import main
from imd.errors import STATUS, Close, Code
from imd.events import EVENTS
from imd.methods import METHODS
from imd.orders import ORDERS, STREAMS
from imd.schema.asyncapi import PUSHES, REPLIES, tag
from imd.schema.main import DOCUMENTS, text
from tests.process import ROOT

CLIENT = [tag(frame) for frame in get_args(wire.AnyClientFrame)]
SERVER = [tag(frame) for frame in get_args(wire.AnyServerFrame)]
SOCKET: dict[str, Any] = json.loads(text("asyncapi.json"))
HTTP: dict[str, Any] = json.loads(text("openapi.json"))


def walk(value: Any) -> Iterator[dict[str, Any]]:
    """Every object of a document."""
    if isinstance(value, dict):
        yield value
    for child in value.values() if isinstance(value, dict) else value:
        if isinstance(child, dict | list):
            yield from walk(child)


def at(document: Any, pointer: str) -> Any:
    """What a reference of the document leads to."""
    root, *path = pointer.split("/")
    assert root == "#"
    for step in path:
        document = document[step.replace("~1", "/")]
    return document


def validator(schema: dict[str, Any]) -> Draft202012Validator:
    """Validates against a schema of the AsyncAPI document."""
    return Draft202012Validator({**schema, "components": SOCKET["components"]})


def payload(name: str) -> Any:
    """The example of a frame."""
    (example,) = SOCKET["components"]["messages"][name]["examples"]
    return json.loads(json.dumps(example["payload"]))


def accepts(name: str, frame: Any) -> bool:
    """Whether the schema of a frame takes this."""
    return validator(SOCKET["components"]["messages"][name]["payload"]).is_valid(frame)


# -- the command


def test_the_committed_documents_are_current(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema", "--check", str(ROOT / "docs")]) == 0, capsys.readouterr().err


def test_check_names_each_stale_document_and_the_command_that_renews_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["schema", str(tmp_path)]) == 0
    (tmp_path / "openapi.json").write_text("{}")
    assert main(["schema", "--check", str(tmp_path)]) == 1
    line = f"imd schema: {tmp_path}/openapi.json is not current; run: imd schema {tmp_path}\n"
    assert capsys.readouterr().err == line
    assert (tmp_path / "openapi.json").read_text() == "{}"
    assert main(["schema", str(tmp_path)]) == 0
    assert main(["schema", "--check", str(tmp_path)]) == 0


def test_a_directory_that_cannot_be_written_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert main(["schema", str(tmp_path / "file")]) == 1
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_same_structs_give_the_same_bytes_with_sorted_keys(name: str) -> None:
    assert text(name) == text(name)
    for found in walk(json.loads(text(name))):
        assert list(found) == sorted(found)


# -- OpenAPI


def test_the_openapi_document_is_valid() -> None:
    validate(HTTP)


def test_every_method_has_its_path_its_parameters_and_its_result() -> None:
    orders = {**ORDERS, **STREAMS}
    paths = {f"/v1/{name}" for name in METHODS} | {f"/v1/admin/{name}" for name in orders}
    assert set(HTTP["paths"]) == paths | {"/v1/files/{file}", "/healthz", "/readyz"}
    for name, method in METHODS.items():
        post = HTTP["paths"][f"/v1/{name}"]["post"]
        schema = post["requestBody"]["content"]["application/json"]["schema"]
        assert at(HTTP, schema["$ref"])["title"] == method.params.__name__
        assert post["security"] == ([] if method.public else [{"bearer": []}])
    for name in orders:
        assert HTTP["paths"][f"/v1/admin/{name}"]["post"]["security"] == [{"admin": []}]


def test_every_code_stands_with_its_http_status() -> None:
    assert set(STATUS) == set(Code)
    assert set(HTTP["components"]["schemas"]["Code"]["enum"]) == set(Code)
    for code, status in STATUS.items():
        assert f"`{code}`" in HTTP["components"]["responses"][f"Status{status}"]["description"]


# -- AsyncAPI


def test_the_asyncapi_document_has_what_version_3_requires() -> None:
    assert SOCKET["asyncapi"] == "3.0.0"
    assert {"title", "version"} <= set(SOCKET["info"])
    for server in SOCKET["servers"].values():
        assert {"host", "protocol"} <= set(server)
    for channel in SOCKET["channels"].values():
        assert channel["address"] == "/ws"
    for operation in SOCKET["operations"].values():
        assert operation["action"] in ("send", "receive")
        channel = operation["channel"]["$ref"]
        for message in [*operation["messages"], *operation.get("reply", {}).get("messages", [])]:
            # AsyncAPI 3: messages of an operation are those of its channel.
            assert message["$ref"].startswith(f"{channel}/messages/")


@pytest.mark.parametrize("document", [SOCKET, HTTP], ids=DOCUMENTS)
def test_every_reference_leads_somewhere_and_stands_alone(document: dict[str, Any]) -> None:
    references = [found for found in walk(document) if "$ref" in found]
    assert references
    for found in references:
        assert list(found) == ["$ref"]
        assert at(document, found["$ref"]) is not None


def test_every_schema_is_a_json_schema() -> None:
    for document in (SOCKET, HTTP):
        for schema in document["components"]["schemas"].values():
            Draft202012Validator.check_schema(schema)
            assert schema.get("description") or schema["type"] == "array"


def test_every_frame_is_received_sent_or_an_answer() -> None:
    assert set(SOCKET["components"]["messages"]) == {*CLIENT, *SERVER, "clientBatch", "serverBatch"}
    assert list(REPLIES) == CLIENT
    assert {*PUSHES, *(reply for group in REPLIES.values() for reply in group)} == set(SERVER)


def test_codes_methods_and_events_are_all_there() -> None:
    schemas = SOCKET["components"]["schemas"]
    assert set(schemas["Code"]["enum"]) == set(Code)
    closes = SOCKET["channels"]["session"]["x-close-codes"]
    assert set(closes) == {str(int(code)) for code in Close}
    methods = {branch["properties"]["method"]["const"] for branch in schemas["Call"]["oneOf"]}
    assert methods == {name for name, method in METHODS.items() if not method.public}
    events = {branch["properties"]["name"]["const"] for branch in schemas["Event"]["anyOf"]}
    assert events == set(EVENTS)


# -- examples


@pytest.mark.parametrize("name", [*CLIENT, *SERVER])
def test_every_frame_has_an_example_that_its_schema_accepts(name: str) -> None:
    assert payload(name)["type"] == name
    validator(SOCKET["components"]["messages"][name]["payload"]).validate(payload(name))


def test_the_server_reads_every_example_of_a_client_frame() -> None:
    for name in CLIENT:
        (frame,) = decoding.decode(json.dumps(payload(name)).encode())
        assert not isinstance(frame, decoding.Malformed), frame
        assert json.loads(wire.encode(frame)) == payload(name)


def test_batches_hold_1_to_64_frames_of_one_direction() -> None:
    for batch, names in (("clientBatch", CLIENT), ("serverBatch", SERVER)):
        assert accepts(batch, [payload(name) for name in names])
        assert not accepts(batch, [])
        assert not accepts(batch, [payload(names[0])] * (wire.MAX_BATCH + 1))
    assert not accepts("clientBatch", [payload("pong")])


@pytest.mark.parametrize("name", SERVER)
def test_frames_of_the_server_may_grow(name: str) -> None:
    assert accepts(name, payload(name) | {"new": 1})


@pytest.mark.parametrize("name", CLIENT)
def test_frames_of_a_client_hold_nothing_unknown(name: str) -> None:
    assert not accepts(name, payload(name) | {"new": 1})


def test_bodies_are_strict_when_sent_and_may_grow_when_received() -> None:
    for name, accepted in (("send", False), ("msg", True)):
        frame = payload(name)
        frame["body"]["new"] = 1
        assert accepts(name, frame) is accepted


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("hello", {"user": "bob", "password": "x", "device": "d"}),
        ("send", {"kind": "file"}),
        ("send", {"body": {"text": 1}}),
        ("fetch", {"before": 9}),
        ("fetch", {"limit": 201}),
        ("call", {"params": {}}),
        ("call", {"method": "account.get"}),
        ("nack", {"code": "odd"}),
        ("event", {"data": {}}),
        ("ping", {"n": 2**53}),
    ],
)
def test_what_the_protocol_forbids_is_no_example(name: str, change: dict[str, Any]) -> None:
    assert not accepts(name, payload(name) | change)


def test_a_mark_says_something() -> None:
    assert not accepts("mark", {"type": "mark", "conv": 7})
    assert accepts("mark", {"type": "mark", "conv": 7, "read": 1})
