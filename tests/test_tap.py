"""The daemon: found by twistd, put together without opening anything, clear about mistakes."""

from __future__ import annotations

import shutil
import signal
import socket
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest
import pytest_twisted
from twisted.application.service import IService, IServiceMaker
from twisted.internet.testing import MemoryReactorClock
from twisted.plugin import getPlugins

from imd.config import Settings
from imd.ops.lifecycle import tell
from imd.tap import Options, makeService
from tests.process import ROOT, Server, twistd
from tests.raw import login


@pytest_twisted.async_yield_fixture()
async def server() -> AsyncIterator[Server]:
    """A server with the usual limits."""
    running = Server()
    await running.start()
    yield running
    await running.close()


def options(*arguments: str) -> Options:
    """Options as twistd parses them."""
    parsed = Options()
    parsed.parseOptions(list(arguments))
    return parsed


# -- the plugin and the tree


def test_twistd_finds_the_plugin() -> None:
    (found,) = (maker for maker in getPlugins(IServiceMaker) if maker.tapname == "imd")
    assert found.module == "imd.tap"
    assert found.options is Options
    assert found.makeService is makeService


def test_the_tree_starts_with_storage_and_ends_with_the_listener_and_nothing_is_opened(
    tmp_path: Path,
) -> None:
    clock = MemoryReactorClock()
    service = makeService(options(f"--data={tmp_path / 'data'}", "--listen=tcp:8080"), clock)
    assert IService.providedBy(service)
    names = [child.name for child in service.children]  # type: ignore[attr-defined]
    assert names[1:-1] == ["lag", "storage", "passwords", "files", "sessions", "listener"]
    assert clock.tcpServers == []
    assert clock.getDelayedCalls() == []
    assert list(tmp_path.iterdir()) == []


def test_without_options_the_settings_are_the_defaults() -> None:
    assert options().settings == Settings()


def test_an_option_wins_over_the_file_and_the_file_over_the_default(tmp_path: Path) -> None:
    path = tmp_path / "imd.toml"
    path.write_text('data = "from-file"\nnode = "from-file"\norigin = ["https://a.example"]\n')
    settings = options(f"--config={path}", "--node=from-option").settings
    assert (settings.data, settings.node) == ("from-file", "from-option")
    assert settings.origin == ("https://a.example",)
    settings = options(f"--config={path}", "--origin=https://b", "--origin=https://c").settings
    assert settings.origin == ("https://b", "https://c")


def test_help_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        options("--help")
    assert not end.value.code
    shown = capsys.readouterr().out
    for key in ("role", "config", "listen", "data", "store", "status", "node", "auth", "origin"):
        assert f"--{key}=" in shown


def test_a_line_for_the_operator_is_written_once_to_each_stream(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "__stderr__", sys.stderr)
    tell("data: full")
    monkeypatch.setattr(sys, "__stderr__", None)
    tell("data: still full")
    assert capsys.readouterr().err == "imd: data: full\nimd: data: still full\n"


# -- mistakes


def refused(key: str, *arguments: str, cwd: Path) -> str:
    """The one line with which a start fails, exit 78."""
    ended = twistd(*arguments, cwd=cwd)
    assert ended.returncode == 78, ended.stderr + ended.stdout
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"imd: {key}: "), line
    return line


@pytest.mark.parametrize(
    ("key", "arguments"),
    [
        ("options", ["--bogus"]),
        ("options", ["argument"]),
        ("options", ["--role"]),
        ("role", ["--role=boss"]),
        ("store", ["--store=mysql://localhost/imd"]),
        ("config", ["--config=missing.toml"]),
        ("listen", ["--listen=tcp:http"]),
        ("listen", ["--listen=tcp:99999"]),
        ("listen", ["--listen=carrier-pigeon:1"]),
        ("listen", ["--listen=ssl:8443:privateKey=missing.pem"]),
        ("listen", ["--listen=unix:missing/imd.sock"]),
    ],
)
def test_a_bad_option_is_one_line_that_names_it(
    key: str, arguments: list[str], tmp_path: Path
) -> None:
    refused(key, *arguments, cwd=tmp_path)
    assert not (tmp_path / "imd-data").exists()


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("lisen", 'lisen = "tcp:1"'),
        ("listen", "listen = 8080"),
    ],
)
def test_a_bad_key_is_one_line_that_names_it(key: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "imd.toml").write_text(text)
    refused(key, "--config=imd.toml", cwd=tmp_path)


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("limits.rate", '[limits]\nrate = "fast"'),
        ("limits.inflight", "[limits]\ninflight = 0"),
        ("limits", "[limits]\nspeed = 1"),
        ("config", "listen = "),
        ("config", 'store = "sqlite"\nstore = "sqlite"'),
    ],
)
def test_a_bad_value_is_one_line_that_names_its_key(
    key: str, text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "imd.toml"
    path.write_text(text)
    with pytest.raises(SystemExit) as end:
        options(f"--config={path}")
    assert end.value.code == 78
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"imd: {key}")


def test_a_busy_port_ends_the_process(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        listen = f"tcp:{other.getsockname()[1]}:interface=127.0.0.1"
        assert "in use" in refused("listen", f"--listen={listen}", cwd=tmp_path)
    assert not (tmp_path / "imd-data").exists()


def test_a_data_directory_that_cannot_be_made_ends_the_process(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused("data", "--listen=tcp:0:interface=127.0.0.1", "--data=file/data", cwd=tmp_path)


async def test_a_data_directory_in_use_ends_the_process_and_not_the_other(server: Server) -> None:
    arguments = ["--listen=tcp:0:interface=127.0.0.1", "--data=data"]
    assert "another imd" in refused("data", *arguments, cwd=server.directory)
    await login(server.port, "alice")


# -- the end


async def test_a_server_that_was_stopped_starts_again_and_knows_its_users(server: Server) -> None:
    alice = await login(server.port, "alice")
    epoch = alice.welcome["epoch"]
    await server.kill(signal.SIGTERM)
    await server.start()
    again = await login(server.port, "alice", register=None)
    assert again.welcome["user"] == alice.welcome["user"]
    assert again.welcome["epoch"] == epoch


def back_up(source: Path, target: Path) -> None:
    """What ``sqlite3 SOURCE ".backup TARGET"`` does."""
    with closing(sqlite3.connect(source)) as running, closing(sqlite3.connect(target)) as copy:
        running.backup(copy)


@pytest.mark.parametrize(
    ("number", "removed"), [(signal.SIGKILL, ["imd.boot"]), (signal.SIGTERM, [])]
)
async def test_a_backup_of_a_running_server_is_restored_as_a_new_epoch(
    server: Server, number: int, removed: list[str]
) -> None:
    alice = await login(server.port, "alice")
    data, copy = server.directory / "data", server.directory / "copy.sqlite3"
    back_up(data / "imd.sqlite3", copy)
    await login(server.port, "bob")
    await server.kill(number)
    # As in docs/operations.rst; after an orderly end the mark may also stay.
    for name in ("imd.sqlite3-wal", "imd.sqlite3-shm", *removed):
        (data / name).unlink(missing_ok=True)
    shutil.copy(copy, data / "imd.sqlite3")
    await server.start()
    again = await login(server.port, "alice", register=None)
    assert again.welcome["user"] == alice.welcome["user"]
    assert again.welcome["epoch"] != alice.welcome["epoch"]
    assert (await again.call("user.find", user="bob"))["code"] == "not_found"


def test_the_sources_hold_no_package_inside_the_plugin_directory() -> None:
    # An __init__.py there would hide Twisted itself.
    assert not list((ROOT / "twisted").rglob("__init__.py"))
