"""``etc/imd.toml`` shows every setting at its default."""

from __future__ import annotations

import re
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec

from imd.config import PasswordCost, Settings, load
from imd.limits import Limits
from tests.process import ROOT

PATH = ROOT / "etc" / "imd.toml"
LINES = PATH.read_text(encoding="utf-8").splitlines()
#: A setting that is commented out, in one line.
SETTING = re.compile(r"# ([a-z_-]+ = .+)")


def uncommented() -> dict[str, Any]:
    """The file with every setting in force."""
    return tomllib.loads("\n".join(SETTING.sub(r"\1", line) for line in LINES))


def defaults(struct: type[msgspec.Struct]) -> dict[str, Any]:
    """The keys of a table and their defaults, as TOML has them."""
    made: dict[str, Any] = msgspec.to_builtins(struct())
    return msgspec.json.decode(msgspec.json.encode(made))  # type: ignore[no-any-return]


def test_the_file_as_it_stands_changes_nothing() -> None:
    assert load({}, str(PATH)) == Settings()


def test_every_key_is_there_at_its_default_and_no_other() -> None:
    file = uncommented()
    assert file == defaults(Settings)
    assert file["limits"] == defaults(Limits)
    assert file["passwords"] == defaults(PasswordCost)


def test_the_keys_stand_in_the_order_of_the_structs() -> None:
    file = uncommented()
    for table, struct in ((file, Settings), (file["limits"], Limits)):
        assert list(table) == list(defaults(struct))


def test_every_setting_has_a_comment_of_its_own() -> None:
    for above, line in pairwise(LINES):
        if SETTING.fullmatch(line):
            assert re.match(r"# [A-Za-z\"].+[.:)]$", above), line


def test_with_every_setting_in_force_the_configuration_is_the_default(tmp_path: Path) -> None:
    path = tmp_path / "imd.toml"
    path.write_text("\n".join(SETTING.sub(r"\1", line) for line in LINES))
    assert load({}, str(path)) == Settings()
