"""The command ``imd schema``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from imd.schema import asyncapi, openapi

#: The documents by the name of their file.
DOCUMENTS: dict[str, Callable[[], dict[str, Any]]] = {
    "asyncapi.json": asyncapi.document,
    "openapi.json": openapi.document,
}


def main(argv: list[str]) -> int:
    """Write or check; 1 if a document is not current, 2 for a wrong option."""
    parser = argparse.ArgumentParser("imd schema", description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say what is not current")
    parser.add_argument("directory", nargs="?", default="docs", help="where they are [docs]")
    options = parser.parse_args(argv)
    directory = Path(options.directory)
    stale = [name for name in DOCUMENTS if not _is_current(directory / name)]
    if not options.check:
        return _write(directory, stale)
    for name in stale:
        again = f"imd schema {options.directory}"
        sys.stderr.write(f"imd schema: {directory / name} is not current; run: {again}\n")
    return 1 if stale else 0


def text(name: str) -> str:
    """A document as it stands in its file: the same structs always give the same bytes."""
    made = DOCUMENTS[name]()
    return json.dumps(made, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _is_current(path: Path) -> bool:
    try:
        return path.read_text(encoding="utf-8") == text(path.name)
    except (OSError, UnicodeDecodeError):
        return False


def _write(directory: Path, names: list[str]) -> int:
    try:
        for name in names:
            (directory / name).write_text(text(name), encoding="utf-8")
    except OSError as error:
        sys.stderr.write(f"imd schema: cannot write to {directory}: {error.strerror}\n")
        return 1
    return 0
