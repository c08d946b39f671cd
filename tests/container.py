"""Builds the image without a container engine, and runs it: ``python -m tests.container``.

The steps of ``etc/container/Containerfile`` are executed in roots that debootstrap has made; what
comes out is started as a container would be: as the user of the image, in namespaces of its own,
without capabilities, on files that nobody can write to but for the volume and ``/tmp``.  Two users
then talk through it, the health check is asked, and SIGTERM ends it.  Needs root, Debian's
``debootstrap``, its archive and PyPI, and some minutes.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from imd.ops import monotonic

monotonic.install()

# Whatever imports the reactor has to come after that.
from twisted.internet.defer import Deferred  # noqa: E402
from twisted.internet.task import react  # noqa: E402

from tests.containerfile import Stage, Step, read  # noqa: E402
from tests.outages import until  # noqa: E402
from tests.process import ROOT, free_port, reactor  # noqa: E402
from tests.raw import pair  # noqa: E402

FILE = ROOT / "etc" / "container" / "Containerfile"
#: What debootstrap makes is this image, but for some documentation.
IMAGE, SUITE = "docker.io/library/debian:12-slim", "bookworm"
#: Where a build finds this machine's authorities: there may be one that registries are behind.
_AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
#: Becomes the container.  Arguments: root, volume, user, group, then its command.
_ENTER = """
set -e
mount --rbind "$1" "$1"
cd "$1"
mount -t proc proc proc
mount -t tmpfs -o mode=755 tmpfs dev
for node in null zero random urandom; do touch dev/$node; mount --bind /dev/$node dev/$node; done
mount -t tmpfs -o mode=1777 tmpfs tmp
mount --bind "$2" var/lib/imd
mount -o remount,bind,ro "$1"
user=$3 group=$4
shift 4
exec chroot . /usr/bin/setpriv --reuid=$user --regid=$group --clear-groups --no-new-privs \\
    --pdeathsig=KILL --bounding-set=-all --inh-caps=-all env -i --chdir=/var/lib/imd "$@"
"""


def say(line: str) -> None:
    """Tell what is done."""
    print(f"container: {line}", flush=True)


def archive() -> str:
    """Where this machine has Debian's packages from."""
    command = ["apt-get", "indextargets", "--format", "$(RELEASE) $(SITE)", "Created-By: Packages"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return next(site for suite, site in map(str.split, done.stdout.splitlines()) if suite == SUITE)


def bootstrap(base: Path) -> None:
    """Make the root of the base image, if it is not there."""
    if (base / "usr/bin/dpkg").exists() and not (base / "debootstrap").exists():
        return
    say(f"debootstrap makes {IMAGE}")
    command = ["debootstrap", "--variant=minbase", SUITE, str(base), archive()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"debootstrap fails:\n{done.stdout[-2000:]}{done.stderr}")


class Build:
    """The stages of a file, each a directory."""

    def __init__(self, top: Path, base: Path) -> None:
        self._top = top
        self._base = base
        self._roots: dict[str, Path] = {}

    def stage(self, stage: Stage, number: int) -> Path:
        """Execute all steps; the root that comes out."""
        assert stage.base == IMAGE, f"{stage.base} is not what debootstrap makes"
        root = self._top / f"stage{number}"
        subprocess.run(["cp", "--archive", str(self._base), str(root)], check=True)
        self._roots[stage.name] = root
        environment: dict[str, str] = {}
        for step in stage.steps:
            if step.word == "ENV":
                environment |= dict(each.split("=", 1) for each in step.rest.split())
            elif step.word == "COPY":
                self._copy(root, step)
            elif step.word == "RUN":
                self._run(root, step, environment)
        return root

    def _copy(self, root: Path, step: Step) -> None:
        say(f"COPY {step.rest}")
        words = shlex.split(step.rest)
        source = ROOT
        if words[0].startswith("--from="):
            source = self._roots[words.pop(0).removeprefix("--from=")]
        *names, where = words
        target = root / where.lstrip("/")
        for name in names:
            path = source / name.lstrip("/")
            if path.is_dir():
                skip = shutil.ignore_patterns("__pycache__", "secrets") if source == ROOT else None
                shutil.copytree(path, target, symlinks=True, dirs_exist_ok=True, ignore=skip)
            else:
                target.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, target)

    def _run(self, root: Path, step: Step, environment: dict[str, str]) -> None:
        say(f"RUN {step.rest}")
        authorities = root / "imd-build-authorities"
        shutil.copy(_AUTHORITIES, authorities)
        shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
        enter = 'mount -t proc proc "$1/proc" && mount --bind /dev "$1/dev" && exec chroot "$@"'
        shell = ["sh", "-c", enter, "sh", str(root), "/bin/sh", "-c", step.rest]
        path = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
        of_build = {"DEBIAN_FRONTEND": "noninteractive", "PIP_CERT": f"/{authorities.name}"}
        done = subprocess.run(
            ["unshare", "--mount", "--pid", "--fork", "--kill-child=KILL", *shell],
            env=path | environment | of_build,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        authorities.unlink()
        if done.returncode:
            raise SystemExit(f"it fails with {done.returncode}:\n{done.stdout}{done.stderr}")


class Container:
    """The image, running; its port 8080 is another one here."""

    def __init__(self, root: Path, stage: Stage, volume: Path) -> None:
        self.port = free_port()
        self._root, self._stage, self._volume = root, stage, volume
        user, group = stage.last("USER").split(":")
        os.chown(volume, int(user), int(group))
        self._user = [user, group]
        self._process = self._start([*stage.words("ENTRYPOINT"), *stage.words("CMD")])

    def _start(self, command: Sequence[str]) -> subprocess.Popen[str]:
        environment = [f"{key}={value}" for key, value in self._stage.environment.items()]
        here = [word.replace("8080", str(self.port)) for word in command]
        enter = ["sh", "-c", _ENTER, "sh", str(self._root), str(self._volume), *self._user]
        spaces = ["unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child=KILL"]
        return subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *spaces, *enter, *environment, *here],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    @property
    def first(self) -> int:
        """Process 1 of the container, as this machine counts."""
        pid = self._process.pid
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text())

    def is_healthy(self) -> bool:
        """Whether the health check says so."""
        check = self._start(self._stage.check)
        output, _ = check.communicate(timeout=60)
        if self._process.poll() is not None:
            raise SystemExit(f"it has ended:\n{self._process.communicate()[0]}{output}")
        return check.returncode == 0

    def facts(self) -> dict[str, str]:
        """What the kernel says of process 1."""
        lines = Path(f"/proc/{self.first}/status").read_text().splitlines()
        return dict(line.split(":\t", 1) for line in lines)

    def stop(self) -> tuple[float, int, str]:
        """Send the image's signal to process 1: seconds, exit code, and what was printed."""
        began = time.monotonic()
        os.kill(self.first, signal.Signals[self._stage.last("STOPSIGNAL")])
        output, _ = self._process.communicate(timeout=30)
        return time.monotonic() - began, self._process.returncode, output

    def kill(self) -> None:
        """End it, however."""
        self._process.kill()
        self._process.wait()


async def talk(port: int) -> None:
    """Two users log in, one sends, the other receives."""
    alice, bob, conversation = await pair(port)
    id = alice.text(conversation, "through the container")
    await alice.hear("ack", id=id)
    pushed = await bob.hear("msg", id=id)
    assert pushed["body"]["text"] == "through the container", pushed
    for raw in (alice, bob):
        raw.sendClose()
        await raw.closed


def check(container: Container, user: str) -> None:
    """What must hold of the process."""
    facts = container.facts()
    assert facts["Uid"].split() == [user] * 4, facts["Uid"]
    assert int(facts["CapEff"], 16) == int(facts["CapBnd"], 16) == 0, facts
    assert facts["NoNewPrivs"] == "1", facts
    assert facts["NSpid"].split()[-1] == "1", facts["NSpid"]
    say(f"process 1 is {facts['Name']}, user {user}, without capabilities, on read-only files")


async def use(root: Path, stage: Stage, volume: Path) -> None:
    """Run the image, talk through it, and stop it."""
    container = Container(root, stage, volume)
    try:
        await until(container.is_healthy)
        say("the health check says that it is healthy")
        check(container, stage.last("USER").split(":")[0])
        await Deferred.fromCoroutine(talk(container.port)).addTimeout(120, reactor)
        say("two users logged in, and a message went from one to the other")
        seconds, code, output = container.stop()
    finally:
        container.kill()
    # Not 143: no signal ends process 1 that it sends to itself.
    assert code == 0, output
    assert "Traceback" not in output, output
    say(f"{stage.last('STOPSIGNAL')} ended it with {code} after {seconds:.1f} s")


async def build_and_use(base: Path | None) -> None:
    """All of it."""
    with ExitStack() as stack:
        top = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="imd-container-")))
        top.chmod(0o755)
        base = base or top / "base"
        bootstrap(base)
        build, stages = Build(top, base), read(FILE)
        roots = [build.stage(stage, number) for number, stage in enumerate(stages)]
        size = subprocess.run(["du", "-sm", roots[-1]], capture_output=True, text=True, check=True)
        say(f"the image has {size.stdout.split()[0]} MiB, its base included")
        (top / "volume").mkdir(mode=0o700)
        await use(roots[-1], stages[-1], top / "volume")
    say("passed")


def main(argv: Sequence[str]) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m tests.container", description=__doc__)
    parser.add_argument("--base", type=Path, help="a directory of debootstrap, made or used again")
    given = parser.parse_args(argv)
    react(lambda _: Deferred.fromCoroutine(build_and_use(given.base)))


if __name__ == "__main__":
    main(sys.argv[1:])
