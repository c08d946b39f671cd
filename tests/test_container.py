"""The files of ``etc/container`` are held against those who read them, and against the code.

``python -m tests.container`` builds and runs the image; this is what takes no minutes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_spec import PyCompose
from twisted.internet.threads import deferToThread

from imd.config import Settings, load
from imd.tap import Options
from tests.containerfile import Stage, read
from tests.debian import program
from tests.process import ROOT, Server, environment
from tests.servers import redis_binary

TOP = ROOT / "etc" / "container"
COMPOSE: dict[str, Any] = yaml.safe_load((TOP / "compose.yml").read_text("utf-8"))
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if service["image"] == "imd"]
CONNECTORS = ["connector-1", "connector-2"]
TRANSFERS = ["transfer-1", "transfer-2"]
#: Seconds that a stop may take at most: sessions, then stores.
STOPPED = 30


@pytest.fixture(scope="module")
def image() -> Stage:
    """The last stage of the file, which is the image."""
    return read(TOP / "Containerfile")[-1]


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the script makes; the owners are root's business."""
    directory = tmp_path_factory.mktemp("container") / "secrets"
    script = (TOP / "secrets.sh").read_text("utf-8").replace("chown ", ": ")
    subprocess.run(["sh", "-c", script, "secrets.sh", directory], check=True)
    return directory


def settings(name: str, secrets: Path, directory: Path) -> Settings:
    """One of our files of settings, with the secrets where they are here."""
    text = (TOP / f"{name}.toml").read_text("utf-8").replace("/run/secrets", str(secrets))
    path = directory / f"{name}.toml"
    path.write_text(text)
    return load({}, str(path))


def options(*words: str) -> Settings:
    """What the server takes of its command line."""
    parsed = Options()
    parsed.parseOptions(list(words))
    made: Settings = parsed.settings
    return made


# -- the image


def test_hadolint_has_nothing_to_say() -> None:
    # Versions are Debian's to choose: with them pinned no security update would come.
    tool = Path(sysconfig.get_path("scripts"), "hadolint")
    done = subprocess.run(
        [tool, "--ignore=DL3008", TOP / "Containerfile"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_image_starts_what_imd_takes_without_a_shell_and_without_root(image: Stage) -> None:
    assert image.words("ENTRYPOINT") == ["/opt/imd/bin/twistd", "-n", "--pidfile=", "imd"]
    made = options(*image.words("CMD"))
    assert (made.role, made.listen) == ("all", "tcp:8080:backlog=4096")
    assert made.data == image.last("VOLUME") == image.last("WORKDIR")
    user, group = image.last("USER").split(":")
    assert user.isdigit()
    assert int(user) > 999
    assert user == group
    assert image.last("STOPSIGNAL") == "SIGTERM"


def test_what_is_copied_is_there_and_secrets_are_not() -> None:
    build = read(TOP / "Containerfile")[0]
    copied = [name for s in build.steps if s.word == "COPY" for name in s.rest.split()[:-1]]
    assert all((ROOT / name).exists() for name in copied)
    ignored = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    assert {f"!{name}" for name in copied} == {line for line in ignored if line[0] == "!"}
    assert ignored[-1] == "etc/container/secrets"


async def test_the_health_check_tells_a_server_that_is_ready_from_none(image: Stage) -> None:
    server = Server()
    _, *check = [word.replace("8080", str(server.port)) for word in image.check]

    def code() -> int:
        done = subprocess.run(
            [sys.executable, *check], env=environment(), capture_output=True, check=False
        )
        return done.returncode

    assert await deferToThread(code) == 1
    await server.start()
    try:
        # On a machine that is busy an answer may take longer than one check waits.
        while await deferToThread(code) != 0:
            pass
    finally:
        await server.close()


# -- the cluster


def test_the_cluster_is_what_the_compose_specification_takes() -> None:
    PyCompose.from_json(json.dumps(COMPOSE)).validate()
    known = {*CONNECTORS, *TRANSFERS, "balancer", "migrate", "postgres", "redis"}
    assert set(SERVICES) == known


@pytest.mark.parametrize("name", SERVICES)
def test_every_network_volume_secret_and_file_that_is_used_exists(name: str) -> None:
    service = SERVICES[name]
    assert set(service["networks"]) <= set(COMPOSE["networks"])
    assert set(service.get("secrets", ())) <= set(COMPOSE["secrets"])
    assert set(service.get("depends_on", ())) <= set(SERVICES)
    for config in service.get("configs", ()):
        assert (TOP / COMPOSE["configs"][config["source"]]["file"]).is_file()
    for volume in service.get("volumes", ()):
        source = volume.partition(":")[0]
        assert source in COMPOSE["volumes"] or (TOP / source).is_file()


def test_the_script_makes_every_secret_for_its_reader_alone(secrets: Path) -> None:
    files = {path.name for path in secrets.iterdir()}
    named = {key: Path(secret["file"]).name for key, secret in COMPOSE["secrets"].items()}
    assert files == set(named) == set(named.values())
    assert {path.stat().st_mode & 0o777 for path in secrets.iterdir()} == {0o400}


@pytest.mark.parametrize("name", OURS)
def test_our_containers_are_hardened_and_have_time_to_stop(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert int(service["stop_grace_period"].removesuffix("s")) > STOPPED
    assert service["ulimits"]["nofile"]["soft"] > Settings().limits.connections
    build = service["build"]
    assert (TOP / build["context"] / build["dockerfile"]).resolve() == TOP / "Containerfile"


@pytest.mark.parametrize("name", [*CONNECTORS, *TRANSFERS])
def test_each_is_started_with_settings_that_imd_takes(
    name: str, secrets: Path, tmp_path: Path
) -> None:
    role, service = name.partition("-")[0], SERVICES[name]
    (config,) = service["configs"]
    assert service["command"] == [f"--config={config['target']}"]
    made = settings(config["source"], secrets, tmp_path)
    assert made.role == role
    used = tomllib.loads((TOP / f"{role}.toml").read_text("utf-8"))["transfer-tls"]
    assert {Path(path).name for path in used.values()} <= set(service["secrets"])
    assert Path(made.transfer_tls.key).name == f"{role}-key"


def test_connectors_dial_the_transfers_and_believe_the_balancer(
    secrets: Path, tmp_path: Path
) -> None:
    made = settings("connector", secrets, tmp_path)
    assert list(made.transfer) == [f"tls:{name}:9001" for name in TRANSFERS]
    assert settings("transfer", secrets, tmp_path).transfer_listen == "tls:9001"
    front = COMPOSE["networks"]["front"]
    assert list(made.proxies) == [front["ipam"]["config"][0]["subnet"]]
    inside = {name for name, service in SERVICES.items() if "front" in service["networks"]}
    assert inside == {"balancer", *CONNECTORS}
    assert all(COMPOSE["networks"][name]["internal"] for name in ("front", "back"))
    assert [name for name in SERVICES if "ports" in SERVICES[name]] == ["balancer"]


def test_connectors_wait_for_the_tables_and_these_for_postgresql() -> None:
    for name in CONNECTORS:
        waits = SERVICES[name]["depends_on"]["migrate"]["condition"]
        assert waits == "service_completed_successfully"
    migrate = SERVICES["migrate"]
    assert migrate["depends_on"]["postgres"]["condition"] == "service_healthy"
    command = migrate["entrypoint"]
    assert command == ["/opt/imd/bin/imd", "migrate", "--config=/etc/imd/connector.toml"]


def test_postgresql_keeps_its_promises_and_redis_keeps_nothing() -> None:
    flags = SERVICES["postgres"]["command"]
    assert {"fsync=on", "full_page_writes=on", "synchronous_commit=on"} <= set(flags)
    assert SERVICES["postgres"]["volumes"] == ["database:/var/lib/postgresql/data"]
    command = SERVICES["redis"]["command"]
    assert json.dumps(command).count('"--save", ""') == 1
    assert "volumes" not in SERVICES["redis"]


def test_redis_takes_its_command_and_the_user_of_the_script(secrets: Path) -> None:
    _, *flags = SERVICES["redis"]["command"]
    flags = [flag.replace("/run/secrets", str(secrets)) for flag in flags]
    # It ends with an error for a flag or a user that it does not take, else it listens nowhere.
    with subprocess.Popen(
        [redis_binary(), *flags, "--port", "0", "--unixsocket", str(secrets.parent / "s")],
        stdout=subprocess.PIPE,
        text=True,
        cwd=secrets.parent,
    ) as server:
        assert server.stdout is not None
        said = next((line for line in server.stdout if "eady to accept connections" in line), "")
        server.terminate()
        rest = server.stdout.read()
    assert said, rest


def test_haproxy_takes_its_file(tmp_path: Path) -> None:
    text = (TOP / "haproxy.cfg").read_text("utf-8")
    path = tmp_path / "haproxy.cfg"
    path.write_text(text)
    done = subprocess.run(
        [program("haproxy"), "-c", "-V", "-f", path], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for name in CONNECTORS:
        assert f"server {name} {name}:8080" in text
    assert "bind :8000" in text
    assert SERVICES["balancer"]["ports"] == ["8000:8000"]
    assert "timeout tunnel 90s" in text
    assert Settings().limits.silence_seconds < 90
    assert os.path.basename(SERVICES["balancer"]["volumes"][0].split(":")[0]) == "haproxy.cfg"
