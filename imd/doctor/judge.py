"""From facts to findings.  Nothing is looked at here, so every judgement can be tested alone."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum

from msgspec import Struct

#: Seconds by which clocks may differ before times look odd, and before tokens are refused.
CLOCK_WARN, CLOCK_FAIL = 1.0, 30.0
#: Days before the end of a certificate.
CERTIFICATE_WARN, CERTIFICATE_FAIL = 30, 3
#: Files that a process has open beside those of its clients.
OTHER_FILES = 100
#: The oldest Redis: the first whose scripts and ACLs are the ones that are used.
OLDEST_REDIS = (6, 2)
#: File systems of other machines.
REMOTE = frozenset(
    ("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "ceph", "fuse.sshfs", "glusterfs")
)
DURABLE = ("fsync", "full_page_writes", "synchronous_commit")


class Level(StrEnum):
    """How good it is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class Finding(Struct, frozen=True):
    """What was found about ``name``, and the next step unless all is well.

    ``wrong``: the configuration has to be corrected, nothing else.
    """

    level: Level
    name: str
    text: str
    todo: str = ""
    wrong: bool = False

    def __str__(self) -> str:
        return f"{self.level:4}  {self.name}  {self.text}{f'; {self.todo}' if self.todo else ''}"


def ok(name: str, text: str) -> Finding:
    """All is well."""
    return Finding(Level.OK, name, text)


def warn(name: str, text: str, todo: str) -> Finding:
    """It works, and should be looked at."""
    return Finding(Level.WARN, name, text, todo)


def fail(name: str, text: str, todo: str, wrong: bool = False) -> Finding:
    """It does not work, or loses something."""
    return Finding(Level.FAIL, name, text, todo, wrong)


def exit_code(findings: Sequence[Finding]) -> int:
    """78 if the configuration is wrong, 1 if anything else fails, else 0."""
    failed = [finding for finding in findings if finding.level is Level.FAIL]
    return 78 if any(finding.wrong for finding in failed) else int(bool(failed))


# -- engines


def clock(name: str, seconds: float, uncertainty: float) -> Finding:
    """The clock of an engine is ``seconds`` ahead of ours, known to ``uncertainty`` seconds."""
    off = max(0.0, abs(seconds) - uncertainty)
    text = f"its clock is {seconds:+.2f} s from ours"
    if off >= CLOCK_FAIL:
        return fail(name, text, "let NTP set the clocks of both machines")
    if off >= CLOCK_WARN:
        return warn(name, text, "let NTP set the clocks of both machines")
    return ok(name, text)


def synchronized(is_set: bool | None) -> Finding:
    """Whether the kernel says that something keeps our clock right; None: it does not tell."""
    if is_set is None:
        return ok("clock", "the kernel does not tell whether it is synchronized")
    if not is_set:
        return warn("clock", "nothing synchronizes it", "start chrony or systemd-timesyncd")
    return ok("clock", "synchronized")


def durability(settings: Mapping[str, str], unsafe: bool) -> Finding:
    """What a crash of PostgreSQL may lose; ``unsafe``: the operator has agreed to it."""
    weak = [f"{k}={settings[k]}" for k in DURABLE if settings[k] not in ("on", "remote_apply")]
    if not weak:
        return ok("store.durability", f"{', '.join(DURABLE)} are on")
    text = f"{', '.join(weak)}: a crash loses messages that were acknowledged"
    say = warn if unsafe else fail
    return say("store.durability", text, "set it to on in postgresql.conf")


def connections(most: int, used: int, needed: int) -> Finding:
    """Whether PostgreSQL has room for those of one more connector."""
    text = f"{used} of {most} connections are used, a connector takes {needed}"
    if used + needed > most:
        return warn("store.connections", text, "raise max_connections, if this node is not running")
    return ok("store.connections", text)


def redis_version(version: str) -> Finding:
    """Whether a Redis is new enough."""
    if numbers(version) < OLDEST_REDIS:
        least = ".".join(map(str, OLDEST_REDIS))
        return fail("status.version", f"Redis {version}", f"install {least} or later")
    return ok("status.version", f"Redis {version}")


def eviction(policy: str, maxmemory: int) -> Finding:
    """Whether Redis may drop leases."""
    text = f"maxmemory-policy {policy}, maxmemory {maxmemory}"
    if maxmemory and policy != "noeviction":
        todo = "set maxmemory-policy noeviction: a lease that is dropped makes its node look dead"
        return fail("status.memory", text, todo)
    return ok("status.memory", text)


def numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version."""
    found = re.match(r"[0-9]+(\.[0-9]+)*", version)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def library(name: str, least: str, installed: str | None) -> Finding:
    """Whether a library is there and new enough."""
    if installed is None:
        return fail(f"library.{name}", "is not installed", f"run: pip install '{name}>={least}'")
    if numbers(installed) < numbers(least):
        return fail(f"library.{name}", installed, f"run: pip install '{name}>={least}'")
    return ok(f"library.{name}", installed)


# -- the machine


def open_files(limit: int, clients: int) -> Finding:
    """RLIMIT_NOFILE against the connections of ``[limits]``."""
    needed = clients + OTHER_FILES
    text = f"{limit} open files, {clients} connections take {needed}"
    if limit < needed:
        todo = f"set LimitNOFILE={needed} (ulimit -n), or a smaller limits.connections"
        return warn("limits.nofile", text, todo)
    return ok("limits.nofile", text)


def backlog(wanted: int, most: int) -> Finding:
    """``backlog`` of the listener against net.core.somaxconn."""
    text = f"backlog {wanted}, net.core.somaxconn {most}"
    if wanted > most:
        return warn("listen.backlog", text, f"run: sysctl net.core.somaxconn={wanted}")
    return ok("listen.backlog", text)


def port(number: int, first: int, last: int) -> Finding:
    """The listening port against those that the kernel gives to whoever connects."""
    text = f"port {number}, ephemeral ports {first} to {last}"
    if first <= number <= last:
        todo = f"take another, or run: sysctl net.ipv4.ip_local_reserved_ports={number}"
        return warn("listen.port", text, todo)
    return ok("listen.port", text)


class Folder(Struct, frozen=True):
    """What is known of a directory; ``exists`` false: all is about the nearest one above it."""

    path: str
    exists: bool
    writable: bool
    mine: bool
    mode: int
    free: int
    kind: str


def folder(name: str, found: Folder, reserve: int = 0, local: bool = False) -> list[Finding]:
    """A directory.  ``reserve``: bytes that have to be free; ``local``: on this machine."""
    text = f"{found.path} ({found.kind}, {found.free >> 20} MiB free)"
    if not found.writable:
        return [
            fail(name, f"{text} is not writable", "run doctor as the server's user, or chown it")
        ]
    said = [ok(name, text if found.exists else f"{text} will be made at the start")]
    if local and found.kind in REMOTE:
        todo = "SQLite needs a disk of this machine; move data"
        said.append(fail(f"{name}.disk", f"{found.kind} is a network file system", todo))
    if found.exists and not found.mine:
        said.append(warn(f"{name}.owner", "it belongs to another user", "chown it to the server's"))
    if found.exists and found.mode & 0o077:
        text = f"mode {found.mode:o}: others can look into it"
        said.append(warn(f"{name}.mode", text, f"run: chmod 700 {found.path}"))
    if found.free < reserve:
        text = f"less is free than file_reserve_bytes ({reserve >> 20} MiB): no uploads"
        said.append(fail(f"{name}.free", text, "make room"))
    return said


# -- certificates


class Pem(Struct, frozen=True):
    """What is known of a certificate file: of its first certificate, and all that it needs."""

    path: str
    #: Days from today on at which it begins and ends.
    begins: float
    ends: float
    names: tuple[str, ...]
    #: Whether the key fits; None where there is none to compare.
    key_fits: bool | None = None
    #: Whether it leads to an authority that is known; None where any may be.
    chained: bool | None = None
    #: Whether others can read the key.
    key_open: bool = False


def certificate(name: str, pem: Pem, wanted: Sequence[str] = ()) -> list[Finding]:
    """A certificate that is shown to others; ``wanted``: names of which it needs each."""
    text = f"{pem.path} for {', '.join(pem.names) or 'no name'}, {pem.ends:.0f} days left"
    said = []
    if pem.ends <= 0:
        said.append(fail(name, f"{pem.path} has expired", "renew it, then send SIGHUP"))
    elif pem.begins > 0:
        said.append(fail(name, f"{pem.path} is not valid yet", "look at the clock"))
    elif pem.ends < CERTIFICATE_FAIL:
        said.append(fail(name, text, "renew it now, then send SIGHUP"))
    elif pem.ends < CERTIFICATE_WARN:
        said.append(warn(name, text, "renew it, then send SIGHUP"))
    else:
        said.append(ok(name, text))
    if pem.key_fits is False:
        said.append(fail(f"{name}.key", "the key is of another certificate", "name its own", True))
    if pem.key_open:
        said.append(warn(f"{name}.key", "others can read the private key", "run: chmod 600 on it"))
    if pem.chained is False:
        todo = "add the certificates in between, or name the right authority"
        said.append(fail(f"{name}.chain", "it leads to none of the authorities", todo))
    lacking = [host for host in wanted if not _covers(pem.names, host)]
    if lacking:
        said.append(fail(f"{name}.names", f"it lacks {', '.join(lacking)}", "have it made anew"))
    return said


def _covers(names: Sequence[str], host: str) -> bool:
    """Whether a certificate for ``names`` is good for a host; ``*.x`` wants any name below x."""
    if host.startswith("*."):
        return any(name.endswith(host[1:]) or name == host[2:] for name in names)
    return host in names or f"*.{host.partition('.')[2]}" in names


# -- a node that runs


def readiness(url: str, status: int, text: str) -> Finding:
    """What /readyz has answered."""
    said = " ".join(text.split())[:200]
    if status == 200:
        return ok("node", f"{url} says {said}")
    todo = "see the lines above, and the log of the node"
    return fail("node", f"{url} answers {status} {said}", todo)
