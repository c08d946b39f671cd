"""``imd``: the tools beside the daemon."""

from __future__ import annotations

import subprocess
import sys

import pytest

from imd import __version__
from imd.cli import COMMANDS, main
from tests.process import PATIENCE, environment


@pytest.mark.parametrize("argv", [[], ["-h"], ["--help"]])
def test_help_lists_every_command(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    for name, (_, what) in COMMANDS.items():
        assert f"  {name:11} {what}\n" in shown.out


def test_the_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"imd {__version__}\n"


def test_an_unknown_command_is_one_line_and_exit_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dance"]) == 2
    shown = capsys.readouterr()
    assert shown.err == "imd: dance: no such command; see imd --help\n"
    assert shown.out == ""


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_in_a_process_of_its_own(name: str) -> None:
    code = "import sys; from imd.cli import main; sys.exit(main())"
    ended = subprocess.run(
        [sys.executable, "-c", code, name, "--help"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env=environment(),
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith(f"usage: imd {name}")


def test_a_wrong_option_of_a_command_is_exit_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["schema", "--bogus"])
    assert end.value.code == 2
    assert "--bogus" in capsys.readouterr().err
