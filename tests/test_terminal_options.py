"""What the terminal programs take from their options, a file, and the environment."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from imd.client import LoginFailed, Refused, StoreError
from imd.terminal import send, tail
from imd.terminal.codes import Ending, Exit
from imd.terminal.options import Access, Parser, access, add_access, server_url
from imd.terminal.passwords import password
from imd.terminal.places import Place, account_directory, state_home
from imd.terminal.running import ending
from tests.process import environment
from tests.shell import PATIENCE


@pytest.fixture(autouse=True)
def _nobody_is_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The configuration of whoever runs the tests does not count."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "CREDENTIALS_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)


def given(home: Path, *arguments: str) -> Access:
    parser = Parser()
    add_access(parser, "chat")
    return access(parser.parse_args(arguments), {"HOME": str(home)})


def configure(home: Path, text: str) -> None:
    path = home / ".config" / "imd" / "chat.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://Host:8080", "ws://host:8080/ws"),
        ("https://host/", "wss://host/ws"),
        ("ws://host/ws", "ws://host/ws"),
        ("wss://host:1/chat/ws", "wss://host:1/chat/ws"),
        ("ws://[::1]:8080", "ws://[::1]:8080/ws"),
    ],
)
def test_a_url_may_be_that_of_the_page(text: str, url: str) -> None:
    assert server_url(text) == url


@pytest.mark.parametrize(
    "text", ["", "host", "ftp://host", "ws://", "ws://a:b@host", "ws://host?token=x", "ws://h:x"]
)
def test_a_url_that_is_none_or_holds_a_secret_is_refused(text: str) -> None:
    with pytest.raises(Ending) as end:
        server_url(text)
    assert end.value.code is Exit.USAGE


def test_options_come_before_the_file(tmp_path: Path) -> None:
    configure(tmp_path, 'url = "ws://a"\nuser = "Alice"\npassword-file = "/p"\n')
    assert given(tmp_path) == given(tmp_path, "--url", "http://a", "--user", "alice")
    assert given(tmp_path, "--user", "bob") != given(tmp_path)


@pytest.mark.parametrize("text", ["user = 5", "pasword = 'x'", "user = ", "\x00"])
def test_a_file_with_a_mistake_is_refused(tmp_path: Path, text: str) -> None:
    configure(tmp_path, text)
    with pytest.raises(Ending) as end:
        given(tmp_path, "--user", "alice")
    assert end.value.code is Exit.CONFIG


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--user", "no name"),
        ("--user", "a", "--instance", "../x"),
        ("--user", "a", "--url", "x"),
    ],
)
def test_without_a_usable_account_there_is_nothing_to_do(
    tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    with pytest.raises(Ending) as end:
        given(tmp_path, *arguments)
    assert end.value.code is Exit.USAGE


def test_a_file_that_was_asked_for_has_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(Ending) as end:
        given(tmp_path, "--user", "a", "--config", str(tmp_path / "none"))
    assert end.value.code is Exit.CONFIG


def test_a_known_login_needs_no_password(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    here = given(tmp_path, "--user", "a", "--password-file", str(file))
    assert password(here, True, {}) is None
    with pytest.raises(Ending) as end:
        password(here, False, {})
    assert end.value.code is Exit.NO_INPUT
    file.write_text("two\nlines \n")
    assert password(here, True, {}) == "two\nlines "


def test_the_state_of_each_account_has_a_place_of_its_own() -> None:
    home = state_home({"XDG_STATE_HOME": "/s"})
    assert state_home({"HOME": "/h", "XDG_STATE_HOME": "relative"}) == Path("/h/.local/state")
    assert str(account_directory(home, "ws://h:1/ws", "al")) == "/s/imd/al@h:1"
    assert str(account_directory(home, "ws://h/../x/ws", "al")) == "/s/imd/al@h%2F..%2Fx"


def test_a_place_is_private_and_one_process_has_it(tmp_path: Path) -> None:
    directory = tmp_path / "imd" / "al@h"
    place = Place(directory, "chat")
    place.take(0)
    assert directory.stat().st_mode & 0o777 == 0o700
    with pytest.raises(Ending) as end:
        Place(directory, "chat").take(0)
    assert end.value.code is Exit.TEMPORARY
    assert f"process {os.getpid()}" in end.value.message
    Place(directory, "send").take(0)


def test_a_place_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Ending) as end:
        Place(tmp_path / "file" / "x", "chat")
    assert end.value.code is Exit.STATE
    (tmp_path / "chat.db").write_text("this is no database, whatever its name says " * 100)
    with pytest.raises(Ending) as end:
        Place(tmp_path, "chat").open()
    assert end.value.code is Exit.STATE


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (LoginFailed("unauthorized", 4501), 77),
        (LoginFailed("", 4501), 77),
        (LoginFailed("", 4503, "a\x1bb"), 77),
        (Refused("forbidden"), 77),
        (Refused("too_large"), 65),
        (StoreError("no"), 73),
        (BrokenPipeError(), 141),
        (OSError(28, "full"), 74),
    ],
)
def test_every_failure_has_its_exit_code(error: Exception, code: int) -> None:
    assert ending(error).code == code


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["bob", " \n", "--user", "a"], 65),
        (["bob", "\udcff", "--user", "a"], 65),
        (["bob", "hi", "--lines", "--user", "a"], 64),
        (["bob", "hi", "--user", "no name"], 64),
        (["bob", "hi", "--user", "a", "--config", "/nonexistent"], 78),
    ],
)
def test_what_cannot_be_sent_is_told_before_anything_is_done(
    arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert send.main(arguments) == code
    assert capsys.readouterr().err.startswith("imd send: ")


@pytest.mark.parametrize(
    "arguments",
    [[], ["a", "b", "c"], ["a", "--id", "x"], ["a", "--timeout", "-1"], ["a", "--wait", "x"]],
)
def test_a_wrong_command_line_is_exit_64(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        send.main(arguments)
    assert end.value.code == 64
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "usage: imd send" in shown.err


def test_tail_follows_or_ends() -> None:
    with pytest.raises(SystemExit) as end:
        tail.main(["--once", "--follow"])
    assert end.value.code == 64


def test_input_that_is_not_utf8_is_refused() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "imd", "send", "--user", "a", "bob"],
        input=b"\xff\xfe",
        capture_output=True,
        env=environment() | {"HOME": "/nonexistent"},
        timeout=PATIENCE,
        check=False,
    )
    assert ended.returncode == 65
    assert b"not UTF-8" in ended.stderr
