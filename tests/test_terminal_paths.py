"""How a path that is being typed goes on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from imd.terminal.paths import path_candidates


def test_paths_go_on_as_the_directory_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a b.txt", "ab", ".hidden", "a\x1b[2J"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "attic").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert path_candidates("a") == ["a b.txt", "ab", "attic/"]
    assert path_candidates("a b") == ["a b.txt"]
    assert path_candidates("~/at") == ["~/attic/"]
    assert path_candidates(f"{tmp_path}/.") == [f"{tmp_path}/.hidden"]
    assert path_candidates("attic/") == []
    assert path_candidates(f"nowhere{os.sep}") == ()
