"""Which way imports point, and how long things may be.  ``docs/design.rst`` says why."""

from __future__ import annotations

import ast
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process import ROOT

#: No I/O, no clock, no Twisted; they import each other only.
PURE = {"checks", "steps"}
PURE |= {"counts", "decoding", "effects", "errors", "events", "filelinks", "friendship", "hints"}
PURE |= {"keeping", "limits", "media", "methods", "model", "names", "orders", "ranges"}
PURE |= {"readers", "s3account"}
PURE |= {"session", "throttle", "tls", "version", "wire"}
#: What imd does, over ports; sees the pure rooms and itself.
APPLICATION = {"accounts", "friends", "interfaces", "lane", "marks", "messaging", "registry"}
APPLICATION |= {"admin", "arrivals", "delivery", "cluster", "downloads", "evictions", "journey"}
APPLICATION |= {"logins", "online", "reach", "retention"}
APPLICATION |= {"recent", "records", "rounds", "routing", "sweep", "tasks", "times", "uploads"}
#: May see everything: they put the parts together.
EDGE = {"__main__", "cli", "daemon", "doctor", "engines", "erase", "export", "migrate"}
EDGE |= {"offline", "ordering", "sources", "tap", "trace", "user", "watched"}
#: Programs on top of another room.
ABOVE = {"conformance": {"client"}, "terminal": {"client"}}
#: Modules that are as pure as a pure room, although their room is not.
PURE_MODULES = {
    f"imd/terminal/{name}.py" for name in ("escapes", "filenames", "grammar", "rendering")
}
PURE_MODULES |= {f"imd/conformance/{name}.py" for name in ("delays", "logs", "script", "watch")}
PURE_MODULES |= {"imd/doctor/judge.py"}
#: What a pure room must not import.
OUTSIDE = {"asyncio", "autobahn", "os", "random", "secrets", "socket", "sqlite3", "threading"}
OUTSIDE |= {"time", "twisted", "zope"}

Function = ast.FunctionDef | ast.AsyncFunctionDef
PATHS = sorted((ROOT / "imd").rglob("*.py"))
TREES = {str(path.relative_to(ROOT)): ast.parse(path.read_text("utf-8")) for path in PATHS}


def room(name: str) -> str:
    """The part of imd that a module belongs to; of the package itself, its version."""
    parts = name.removesuffix(".py").replace("/", ".").split(".")
    return parts[1] if len(parts) > 1 and parts[1] != "__init__" else "version"


def imports(tree: ast.Module) -> Iterator[str]:
    """The full name of everything that is imported, at any depth."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            package = node.module == "imd"
            yield from (f"imd.{a.name}" if package else str(node.module) for a in node.names)


def seen(mine: str) -> set[str]:
    """The rooms that a room may import."""
    if mine in PURE:
        return PURE
    return (
        PURE | APPLICATION | ({mine} if mine not in APPLICATION else set()) | ABOVE.get(mine, set())
    )


@pytest.mark.parametrize("path", TREES)
def test_imports_point_up_and_never_sideways(path: str) -> None:
    mine = room(path)
    for name in imports(TREES[path]):
        top = name.split(".")[0]
        if top == "imd" and mine not in EDGE:
            assert room(name.replace("__version__", "version")) in seen(mine), name
        elif mine in PURE or path in PURE_MODULES:
            assert top not in OUTSIDE, f"{name} in a pure module"


def test_the_rule_knows_every_room() -> None:
    rooms = {room(path) for path in TREES}
    assert rooms >= PURE | APPLICATION | EDGE | set(ABOVE)
    assert set(TREES) >= PURE_MODULES


def test_only_the_edge_chooses_a_reactor() -> None:
    for path, tree in TREES.items():
        for node in tree.body:
            if isinstance(node, ast.ImportFrom) and node.module == "twisted.internet":
                assert "reactor" not in [alias.name for alias in node.names], path


# -- what a reader may expect


def functions(tree: ast.AST) -> Iterator[Function]:
    """All functions, those inside others as well."""
    return (node for node in ast.walk(tree) if isinstance(node, Function))


def public(tree: ast.Module | ast.ClassDef) -> Iterator[Function | ast.ClassDef]:
    """What others may use: of the module, and of its public classes."""
    for node in tree.body:
        if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_"):
            yield node
            if isinstance(node, ast.ClassDef):
                yield from public(node)


def length(function: Function) -> int:
    """Lines of a function, its docstring and decorators excluded."""
    lines = (function.end_lineno or 0) - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function) is not None:
        lines -= (first.end_lineno or 0) - first.lineno + 1
    return lines


@pytest.mark.parametrize("path", TREES)
def test_modules_and_what_is_public_in_them_have_docstrings(path: str) -> None:
    assert ast.get_docstring(TREES[path])
    bare = [node.name for node in public(TREES[path]) if not ast.get_docstring(node)]
    assert bare == []


def test_functions_are_short() -> None:
    lengths = {
        f"{path}:{function.name}": length(function)
        for path, tree in TREES.items()
        for function in functions(tree)
    }
    long = {name: lines for name, lines in lengths.items() if lines > 30}
    assert max(lengths.values()) <= 50, long
    assert len(long) <= 0.05 * len(lengths), long
    assert statistics.median(lengths.values()) <= 8


def test_files_are_short() -> None:
    lines = {path: len(Path(ROOT / path).read_text("utf-8").splitlines()) for path in TREES}
    assert [path for path, count in lines.items() if count > 400] == []
