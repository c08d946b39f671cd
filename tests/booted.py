"""A systemd that is process 1 of a machine of its own: namespaces over this machine's files.

What it changes is gone when it ends: its files lie in memory over those of this machine, which
stay as they are, and all its processes die with the first.  The network is this machine's.
Needs root, and what a container may withhold: ``Refused`` says what that was.
"""

from __future__ import annotations

import contextlib
import os
import pty
import shlex
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.process import ROOT

#: Seconds that systemd may take to come up, and to end.
PATIENCE = 180.0
SYSTEMD = "/usr/lib/systemd/systemd"
_LIBRARY = Path("/usr/lib/systemd/system")
#: What a service needs of those that every Debian has.
_TARGETS = "basic multi-user network-online paths shutdown slices sockets sysinit timers umount"
_CGROUPS = Path("/sys/fs/cgroup")
#: Said when nothing is left that a machine could refuse.
_MADE = "imd-test: this is a machine of its own"
#: As in a virtual environment, whose own Python may be where units cannot see it.
_TWISTD = f"""#!/bin/sh
export PYTHONPATH=/opt/source:/opt/packages PYTHONDONTWRITEBYTECODE=1
export LD_LIBRARY_PATH=/opt/python/lib
exec /opt/python/bin/python{sys.version_info.major}.{sys.version_info.minor} -c \\
    "import sys; sys.argv[0] = 'twistd'; from twisted.scripts.twistd import run; run()" "$@"
"""

#: Makes the root and becomes its process 1.  Arguments: a directory, and the terminal.
_ENTER = f"""
set -e
mount -t tmpfs -o mode=755 tmpfs "$1"
cd "$1"
mkdir over work root
mount -t overlay -o lowerdir=/,upperdir=$1/over,workdir=$1/work overlay root
cd root
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
if [ -f {_CGROUPS}/cgroup.controllers ]; then
    mount -t cgroup2 cgroup2 sys/fs/cgroup
else
    mount -t tmpfs -o mode=755 tmpfs sys/fs/cgroup
    mkdir sys/fs/cgroup/unified sys/fs/cgroup/systemd
    mount -t cgroup2 cgroup2 sys/fs/cgroup/unified
    mount -t cgroup -o none,name=systemd systemd sys/fs/cgroup/systemd
fi
for place in dev run tmp var/tmp etc/systemd opt; do mount -t tmpfs -o mode=755 tmpfs $place; done
chmod 1777 tmp var/tmp
mkdir -p dev/pts dev/shm etc/systemd/system opt/imd/bin opt/python opt/packages opt/source etc/imd
mount -t devpts -o newinstance,ptmxmode=0666 devpts dev/pts
for node in null zero full random urandom tty; do
    touch dev/$node; mount --bind /dev/$node dev/$node
done
ln -s pts/ptmx dev/ptmx
touch dev/console
mount --bind "$2" dev/console
mount --bind {shlex.quote(sys.base_prefix)} opt/python
mount --bind {shlex.quote(sysconfig.get_path("purelib"))} opt/packages
mount --bind {shlex.quote(str(ROOT))} opt/source
cp -r "$1".etc/. etc/
: > etc/fstab
: > etc/machine-id
cp "$1".twistd opt/imd/bin/twistd
grep -q ^imd: etc/passwd || echo imd:x:64999:64999::/nonexistent:/bin/false >> etc/passwd
grep -q ^imd: etc/group || echo imd:x:64999: >> etc/group
hostname imd-test
mkdir tmp/old
pivot_root . tmp/old
umount -l /tmp/old
mount --make-rshared /
echo {_MADE}
exec env -i container=test PATH=/usr/sbin:/usr/bin SYSTEMD_UNIT_PATH=/etc/systemd/system \\
    {SYSTEMD} --unit=multi-user.target --log-target=console --log-color=no --show-status=no
"""


class Refused(Exception):
    """This machine does not let us; says why."""


class Booted:
    """A machine, from its start to its end; ``etc`` are files of its /etc."""

    def __init__(self, etc: dict[str, str]) -> None:
        self._top = tempfile.TemporaryDirectory(prefix="imd-booted-")
        self._root = Path(self._top.name) / "machine"
        self._root.mkdir()
        self._write(etc)
        self._group = f"imd-test-{os.getpid()}"
        self._console = b""
        self._process: subprocess.Popen[bytes] | None = None

    def _write(self, etc: dict[str, str]) -> None:
        top = Path(f"{self._root}.etc")
        targets = {
            f"systemd/system/{name}.target": (_LIBRARY / f"{name}.target").read_text()
            for name in _TARGETS.split()
        }
        system = {"systemd/system.conf": "[Manager]\nDefaultStandardOutput=tty\n"}
        for name, text in (targets | system | etc).items():
            path = top / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        twistd = Path(f"{self._root}.twistd")
        twistd.write_text(_TWISTD)
        twistd.chmod(0o755)

    @property
    def console(self) -> str:
        """What systemd and its services have printed."""
        return self._console.decode(errors="replace").replace("\r\n", "\n")

    def boot(self) -> None:
        """Start, and wait until systemd takes orders.  Raises ``Refused``."""
        terminal, slave = pty.openpty()
        enter = ["sh", "-c", _ENTER, "sh", str(self._root), os.ttyname(slave)]
        spaces = ["--mount", "--pid", "--uts", "--ipc", "--cgroup", "--propagation=private"]
        inside = ["unshare", *spaces, "--fork", "--kill-child=KILL", *enter]
        with self._grouped() as join:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "sh", "-c", f'{join} exec "$@"', "sh", *inside],
                stdin=subprocess.DEVNULL,
                stdout=slave,
                stderr=slave,
                start_new_session=True,
            )
        os.close(slave)
        threading.Thread(target=self._read, args=(terminal,), daemon=True).start()
        self._wait()

    def _read(self, terminal: int) -> None:
        with contextlib.suppress(OSError):
            while data := os.read(terminal, 4096):
                self._console += data
        os.close(terminal)

    def _wait(self) -> None:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and self._process and self._process.poll() is None:
            if self._first() and self.run("systemctl", "is-system-running").stdout.strip() in (
                "running",
                "degraded",
            ):
                return
            time.sleep(0.1)
        assert _MADE not in self.console, f"systemd does not come up:\n{self.console}"
        raise Refused(self.console.strip() or "no namespaces")

    def _first(self) -> int | None:
        """Process 1, as this machine counts; None before it is there."""
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        with contextlib.suppress(OSError, ValueError):
            pid = int(children.read_text())
            if Path(f"/proc/{pid}/comm").read_text() == "systemd\n":
                return pid
        return None

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in there, to its end."""
        enter = ["nsenter", f"--target={self._first()}", "--mount", "--pid", "--uts", "--ipc"]
        return subprocess.run(
            [*enter, "--cgroup", "--root", "--wd=/", *command],
            capture_output=True,
            text=True,
            check=False,
            timeout=2 * PATIENCE,
            env={"PATH": "/usr/sbin:/usr/bin", "SYSTEMD_PAGER": ""},
        )

    def systemctl(self, *words: str) -> None:
        """Give an order, which has to succeed."""
        done = self.run("systemctl", *words)
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}\n{self.console}"

    def until(self, true: Callable[[], bool], why: str) -> None:
        """Wait until a condition holds."""
        end = time.monotonic() + 2 * PATIENCE
        while not true():
            assert time.monotonic() < end, f"{why}: never\n{self.console}"
            time.sleep(0.1)

    def show(self, unit: str, field: str) -> str:
        """What systemd knows of a unit."""
        return self.run("systemctl", "show", "--value", f"--property={field}", unit).stdout.strip()

    # -- control groups, where this machine has them

    @contextlib.contextmanager
    def _grouped(self) -> Iterator[str]:
        """Groups of its own; what a shell has to say to join them."""
        try:
            for place in self._groups():
                place.mkdir(exist_ok=True)
        except OSError as error:
            raise Refused(f"control groups: {error}") from None
        yield "".join(f"echo $$ > {place}/cgroup.procs; " for place in self._groups())

    def _groups(self) -> list[Path]:
        if (_CGROUPS / "cgroup.controllers").exists():
            return [_CGROUPS / self._group]
        return [_CGROUPS / name / self._group for name in ("systemd", "unified")]

    def close(self) -> None:
        """End all of it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        for place in self._groups():
            self._remove(place)
        self._top.cleanup()

    def _remove(self, group: Path) -> None:
        """Remove a group and those below it, once all that were in it are dead."""
        below = sorted((Path(each) for each, _, _ in os.walk(group)), reverse=True)
        end = time.monotonic() + PATIENCE
        while below:
            try:
                below[0].rmdir()
                below.pop(0)
            except FileNotFoundError:
                below.pop(0)
            except OSError:
                assert time.monotonic() < end, f"processes are left in {below[0]}"
                time.sleep(0.05)
