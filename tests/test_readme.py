"""What the README shows is what the sources do; every document can be read by docutils."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import get_args

import docutils.core
import docutils.nodes
import msgspec
import pytest
import pytest_twisted
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from imd import wire
from imd.config import Settings
from imd.errors import Close, Code
from imd.events import EVENTS
from imd.methods import METHODS
from tests.process import ROOT, Server, environment, reactor
from tests.raw import login

DOCUMENTS = sorted([*ROOT.glob("*.rst"), *(ROOT / "docs").glob("*.rst")])


def parsed(path: Path) -> docutils.nodes.document:
    """A document; anything that docutils would warn of is an error."""
    settings = {"halt_level": 2, "report_level": 2, "file_insertion_enabled": False}
    return docutils.core.publish_doctree(
        path.read_text("utf-8"), str(path), settings_overrides=settings
    )


def blocks() -> list[str]:
    """The literal blocks of the README."""
    found = parsed(ROOT / "README.rst").findall(docutils.nodes.literal_block)
    return [block.astext() for block in found]


@pytest_twisted.async_yield_fixture()
async def server() -> AsyncIterator[Server]:
    """A server with the usual limits."""
    running = Server()
    await running.start()
    yield running
    await running.close()


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_a_document_parses_without_a_warning(path: Path) -> None:
    assert list(parsed(path).findall(docutils.nodes.title))


def test_the_documents_that_others_refer_to_are_there() -> None:
    names = {path.name for path in DOCUMENTS}
    assert names >= {"README.rst", "CHANGES.rst", "protocol.rst", "design.rst", "operations.rst"}


def test_the_bot_of_the_readme_is_the_one_in_the_tests() -> None:
    assert (ROOT / "tests" / "echo_bot.py").read_text("utf-8").rstrip() in blocks()


def start(script: str, cwd: Path, *arguments: str) -> subprocess.Popen[str]:
    """A program in a process of its own."""
    (cwd / "program.py").write_text(script)
    return subprocess.Popen(
        [sys.executable, "program.py", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=cwd,
        env=environment(),
    )


async def test_the_chat_of_the_readme_gets_its_echo_from_the_bot(
    server: Server, tmp_path: Path
) -> None:
    bot_script, chat_script = (text for text in blocks() if "run(client)" in text)
    for name in ("bot", "chat"):
        (tmp_path / name).mkdir()
    programs = [start(bot_script, tmp_path / "bot", server.url, "secret")]
    try:
        probe = await login(server.port, "probe")
        while (await probe.call("user.find", user="echo"))["type"] == "error":
            await deferLater(reactor, 0.1, lambda: None)
        chat_script = chat_script.replace(":8080/", f":{server.port}/")
        programs.append(start(chat_script, tmp_path / "chat"))
        heard = programs[1].stdout
        assert heard is not None
        assert await deferToThread(heard.readline) == "sent as number 1\n"
        assert await deferToThread(heard.readline) == "hi\n"
    finally:
        for program in programs:
            program.kill()
            program.communicate()


def test_the_protocol_document_names_every_frame_field_method_event_and_code() -> None:
    text = (ROOT / "docs" / "protocol.rst").read_text("utf-8")
    frames = [*get_args(wire.AnyClientFrame), *get_args(wire.AnyServerFrame)]
    words = {str(frame.__struct_config__.tag) for frame in frames}
    words |= {field for frame in frames for field in frame.__struct_encode_fields__}
    words |= {*EVENTS, *Code}
    missing = [word for word in words if f"``{word}``" not in text and f"``{word}?``" not in text]
    missing += [str(int(code)) for code in Close if f"\n{int(code)} " not in text]
    missing += [m for m in METHODS if f"``{m}``" not in text and f"``.{m[7:]}``" not in text]
    assert missing == []


def test_the_operations_document_names_every_option() -> None:
    text = (ROOT / "docs" / "operations.rst").read_text("utf-8")
    keys = {field.encode_name for field in msgspec.structs.fields(Settings)}
    missing = [k for k in keys if f"``--{k}``" not in text and f"``[{k}]``" not in text]
    assert missing == []
