"""The wheel holds what an installation needs, and nothing that would harm another package."""

from __future__ import annotations

import configparser
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from imd import __version__
from tests.process import ROOT, environment


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """A wheel of the sources; built from a copy, so that the build leaves nothing in them."""
    top = tmp_path_factory.mktemp("wheel")
    skip = shutil.ignore_patterns(".*", "build", "*.egg-info", "__pycache__", "imd-data", "tests")
    shutil.copytree(ROOT, top / "source", ignore=skip)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    built = subprocess.run(
        [*command, "--no-index", "--quiet", f"--wheel-dir={top}", str(top / "source")],
        capture_output=True,
        text=True,
        timeout=600,
        env=environment() | {"HOME": str(top)},
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    (path,) = top.glob("*.whl")
    return zipfile.ZipFile(path)


def test_the_name_says_version_and_that_it_runs_everywhere(wheel: zipfile.ZipFile) -> None:
    assert Path(str(wheel.filename)).name == f"imd-{__version__}-py3-none-any.whl"


def test_every_module_and_every_schema_is_in_it(wheel: zipfile.ZipFile) -> None:
    kinds = (".py", ".sql", ".typed", ".html", ".css", ".js", ".svg")
    sources = [p for p in (ROOT / "imd").rglob("*") if p.suffix in kinds]
    wanted = {str(path.relative_to(ROOT)) for path in sources}
    assert "imd/py.typed" in wanted
    assert "imd/storage/schema/sqlite/0001_start.sql" in wanted
    assert "imd/web/imd.js" in wanted
    assert wanted <= set(wheel.namelist())


def test_the_plugin_is_in_it_and_leaves_twisted_alone(wheel: zipfile.ZipFile) -> None:
    beside = {name for name in wheel.namelist() if name.startswith("twisted/")}
    assert beside == {"twisted/plugins/imd_auth.py", "twisted/plugins/imd_plugin.py"}


def test_only_packages_metadata_and_configuration_are_in_it(wheel: zipfile.ZipFile) -> None:
    tops = {name.split("/")[0] for name in wheel.namelist()}
    assert tops == {
        "imd",
        "twisted",
        f"imd-{__version__}.data",
        f"imd-{__version__}.dist-info",
    }
    data = [name for name in wheel.namelist() if name.startswith(f"imd-{__version__}.data/")]
    names = ("grafana.json", "imd.toml", "prometheus-rules.yml")
    config = [f"etc/imd/{name}" for name in names]
    units = [f"share/imd/systemd/{path.name}" for path in (ROOT / "etc" / "systemd").iterdir()]
    proxies = ["share/imd/haproxy/imd.cfg", "share/imd/nginx/imd.conf"]
    beside = (ROOT / "etc" / "container").iterdir()
    container = [f"share/imd/container/{path.name}" for path in beside if path.is_file()]
    files = sorted([*config, *container, *proxies, *units])
    assert sorted(data) == [f"imd-{__version__}.data/data/{name}" for name in files]


def test_the_command_is_declared(wheel: zipfile.ZipFile) -> None:
    entries = configparser.ConfigParser()
    entries.read_string(wheel.read(f"imd-{__version__}.dist-info/entry_points.txt").decode())
    assert dict(entries["console_scripts"]) == {"imd": "imd.cli:main"}
