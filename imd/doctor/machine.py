"""What this machine and its files are like."""

from __future__ import annotations

import ctypes
import os
import re
import resource
from importlib import metadata
from pathlib import Path

from imd.config import S3, Settings
from imd.doctor import judge
from imd.doctor.judge import Finding, Folder
from imd.storage.database import NAME, schema

#: Where a SQLite file keeps its user_version, the version of the schema.
_VERSION_AT = 60
#: adjtimex: what it returns for a clock that nothing synchronizes; room for its structure.
_TIME_ERROR = 5
_TIMEX_BYTES = 512
_REQUIRED = re.compile(r"([A-Za-z0-9_.-]+)(?:\[.*\])?[<>=,0-9. ]*>=([0-9.]+)[^;]*")


def limits(settings: Settings) -> list[Finding]:
    """Open files and sockets."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = 1 << 62 if soft == resource.RLIM_INFINITY else soft
    return [judge.open_files(most, settings.limits.connections), *_listener(settings.listen)]


def _listener(listen: str) -> list[Finding]:
    kind, _, rest = listen.removeprefix("haproxy:").partition(":")
    words = rest.split(":")
    if kind not in ("tcp", "tcp6", "ssl"):
        return []
    asked = next((word[8:] for word in words if word.startswith("backlog=")), "50")
    said = [judge.backlog(int(asked), _numbers("/proc/sys/net/core/somaxconn", 1 << 16)[0])]
    port = words[0].removeprefix("port=")
    ports = _numbers("/proc/sys/net/ipv4/ip_local_port_range", 0, 0)
    return [*said, judge.port(int(port), *ports[:2])] if port.isdigit() else said


def _numbers(path: str, *default: int) -> tuple[int, ...]:
    try:
        return tuple(int(word) for word in Path(path).read_text(encoding="ascii").split())
    except OSError:
        return default


def clock() -> Finding:
    """Whether something keeps the clock right."""
    return judge.synchronized(_is_synchronized())


def _is_synchronized() -> bool | None:
    # With nothing in its structure it changes nothing, and anybody may call it.
    try:
        state: int = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES))
    except (OSError, AttributeError):
        return None
    return None if state < 0 else state != _TIME_ERROR


def libraries() -> list[Finding]:
    """Those that imd was installed with; none where it runs from its sources."""
    try:
        needed = metadata.requires("imd") or []
    except metadata.PackageNotFoundError:
        return [judge.ok("library", "imd runs from its sources; nothing is known of what it needs")]
    found = [_REQUIRED.fullmatch(text) for text in needed if "extra ==" not in text]
    return [judge.library(m[1], m[2].rstrip("."), _installed(m[1])) for m in found if m]


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


# -- files


def folders(settings: Settings) -> list[Finding]:
    """The directories that a process with these settings writes into."""
    said: list[Finding] = []
    embedded = settings.role != "transfer" and settings.store == "sqlite"
    if embedded or (settings.role == "transfer" and not settings.transfer_listen):
        said += judge.folder("data", look(Path(settings.data)), local=embedded)
    if embedded:
        said += _embedded(Path(settings.data, NAME))
    if settings.role != "transfer" and not settings.files.startswith(S3):
        path = Path(settings.files or Path(settings.data, "files"))
        said += judge.folder("files", look(path), settings.limits.file_reserve_bytes)
    return said


def look(path: Path) -> Folder:
    """What is known of a directory, or of the nearest one above it that is there."""
    # Not Path.exists: what another user has closed to us is as good as not there.
    there = next(one for one in (path, *path.absolute().parents) if os.path.exists(one))
    found, room = there.stat(), os.statvfs(there)
    writable = there.is_dir() and os.access(there, os.W_OK | os.X_OK)
    free = room.f_bavail * room.f_frsize
    mine = found.st_uid == os.geteuid()
    return Folder(
        str(path), there == path, writable, mine, found.st_mode & 0o777, free, _kind(there)
    )


def _kind(path: Path) -> str:
    """The type of the file system that a path is on."""
    whole, best, kind = str(path.resolve()), "", "unknown"
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        before, _, after = line.partition(" - ")
        point = before.split()[4].replace("\\040", " ")
        below = whole == point or whole.startswith(point.rstrip("/") + "/")
        if below and len(point) >= len(best):
            best, kind = point, after.split()[0]
    return kind


def _embedded(path: Path) -> list[Finding]:
    """The schema of SQLite, read from the file as it lies there."""
    try:
        with path.open("rb") as file:
            version = int.from_bytes(file.read(_VERSION_AT + 4)[_VERSION_AT:])
        # What stands in the log is newer than the file; to read it would make files beside it.
        if (log := path.with_name(f"{path.name}-wal")).exists() and log.stat().st_size:
            return [judge.ok("store.schema", f"{path} is open; its server has looked at it")]
    except FileNotFoundError:
        return [judge.ok("store.schema", f"{path} will be made at the start")]
    except OSError as error:
        todo = "run doctor as the server's user"
        return [judge.fail("store.schema", f"cannot read {path}: {error.strerror}", todo)]
    text = f"{path} has schema {version}, this imd knows {len(schema())}"
    if version > len(schema()):
        return [judge.fail("store.schema", text, "install a newer imd")]
    return [judge.ok("store.schema", text)]
