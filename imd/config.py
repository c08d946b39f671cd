"""The configuration: defaults < TOML file < command line, checked before anything starts."""

from __future__ import annotations

import os
import re
import stat
import tomllib
from codecs import BOM_UTF8
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, field

from imd.checks import (
    MOST,
    check_http,
    check_networks,
    check_node,
    check_numbers,
    check_origin,
    check_printable,
    unknown,
)
from imd.errors import ConfigError
from imd.keeping import Keeping
from imd.limits import Limits
from imd.readers import Readers
from imd.s3account import S3Account
from imd.tls import TransferTls

#: Characters of a token that nobody guesses.
MIN_TOKEN = 16
#: Days to keep: fewer than clients keep what they have not sent would store it twice.
LEAST_DAYS, MOST_DAYS = 8, 36_500
#: Characters of the longest token that a request can have.
MAX_TOKEN = 256
#: A configuration file is small; a larger one is a mistake.
MOST_BYTES = 1 << 20
LOGS = ("text", "json", "journald")
ROLES = ("connector", "transfer", "all")
#: How the URL of a store, and of user status, that several nodes share begins.
POSTGRESQL = ("postgresql://", "postgres://")
S3 = "s3://"
REDIS = ("redis://", "rediss://", "redis+unix://", "redis+sentinel://", "rediss+sentinel://")
LISTEN = "tcp:8080:interface=127.0.0.1:backlog=4096"


class PasswordCost(Struct, frozen=True, forbid_unknown_fields=True):
    """What hashing a password costs: memory in KiB, and passes over it (OWASP: about 50 ms)."""

    memory_kib: int = 19 * 1024
    passes: int = 2


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """Everything an operator can set; the keys are those of the file and of the options."""

    role: str = "all"
    listen: str = LISTEN
    data: str = "./imd-data"
    store: str = "sqlite"
    #: A file with the URL, in place of ``store``.
    store_file: str = field(name="store-file", default="")
    #: Serve even where PostgreSQL may lose commits in a crash; in the file only.
    unsafe_durability: bool = field(name="unsafe-durability", default=False)
    status: str = "memory"
    #: A file with the URL, in place of ``status``.
    status_file: str = field(name="status-file", default="")
    files: str = ""
    transfer: tuple[str, ...] = ()
    transfer_listen: str = field(name="transfer-listen", default="")
    node: str = ""
    auth: tuple[str, ...] = ("password",)
    origin: tuple[str, ...] = ()
    #: Names by which clients may call this server, beside addresses and names without a dot.
    hosts: tuple[str, ...] = ()
    #: Networks of proxies, whose X-Forwarded-For is believed.
    proxies: tuple[str, ...] = ()
    #: A file with the token of administrators over HTTP; empty is no such thing.
    admin_token_file: str = field(name="admin-token-file", default="")
    #: How the log is written; see ``imd.ops.logs``.
    log: str = "text"
    #: Whether the steps of each message are logged, by ids; see ``imd.journey``.
    log_messages: bool = field(name="log-messages", default=False)
    limits: Limits = Limits()
    passwords: PasswordCost = PasswordCost()
    retention: Keeping = Keeping()
    s3: S3Account = S3Account()
    metrics: Readers = Readers()
    transfer_tls: TransferTls = field(name="transfer-tls", default=TransferTls())


#: What msgspec says of a key in a table of the file.
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_HOST = re.compile(r"[A-Za-z0-9._-]+")
#: Keys that may hold secrets; a file with one of them must be private.
_SECRET_SCHEMES = (*POSTGRESQL, *REDIS)
_KNOWN = {f.encode_name: f for f in msgspec.structs.fields(Settings)}
#: All keys by their table.
_TABLES: dict[str, tuple[str, ...]] = {"": tuple(_KNOWN)} | {
    name: tuple(each.encode_name for each in msgspec.structs.fields(f.type))
    for name, f in _KNOWN.items()
    if isinstance(f.type, type) and issubclass(f.type, Struct)
}


def load(options: Mapping[str, Any], path: str | None) -> Settings:
    """Merge and check.  ``options`` has the keys that the command line has set.

    Raises ``ConfigError`` that names the key.
    """
    for key in ("store", "status"):
        if _has_secret({key: options.get(key)}):
            raise ConfigError(key, "other users see the command line; write it into --config=FILE")
    settings = merge(options, path)
    _check(settings)
    return settings


def merge(options: Mapping[str, Any], path: str | None) -> Settings:
    """As ``load``, for tools that need only some of the settings and check those themselves."""
    settings = _convert((_read(Path(path)) if path else {}) | dict(options))
    for key in ("store", "status"):
        settings = _handed_over(settings, key)
    return settings


def _handed_over(settings: Settings, key: str) -> Settings:
    """With the URL that a file holds, where one is named."""
    path = getattr(settings, f"{key}_file")
    if not path:
        return settings
    if getattr(settings, key) != getattr(Settings(), key):
        raise ConfigError(f"{key}-file", f"stands beside {key}; leave one of them out")
    text = _private(f"{key}-file", Path(path))
    if not text.strip().startswith(POSTGRESQL if key == "store" else REDIS):
        raise ConfigError(f"{key}-file", f"{path} holds no URL that {key} may have")
    return msgspec.structs.replace(settings, **{key: text.strip()})


def _private(key: str, path: Path) -> str:
    """The text of a file that nobody else may read."""
    text, mode = _open(key, path)
    if mode & (stat.S_IRWXG | stat.S_IRWXO) and not _is_credential(path):
        raise ConfigError(key, f"others can read {path}; run: chmod 600 {path}")
    return text


def admin_token(settings: Settings) -> str:
    """The token of administrators; empty if there is none.  Raises ``ConfigError``."""
    key, path = "admin-token-file", Path(settings.admin_token_file)
    if not settings.admin_token_file:
        return ""
    token = _private(key, path).strip()
    if not MIN_TOKEN <= len(token) <= MAX_TOKEN or not (token.isascii() and token.isprintable()):
        raise ConfigError(key, f"{path} has to hold {MIN_TOKEN} to {MAX_TOKEN} ASCII characters")
    return token


def _is_credential(path: Path) -> bool:
    """Whether systemd hands it over (``LoadCredential=``): only this process can reach it."""
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    return directory is not None and path.parent == Path(directory)


def _open(key: str, path: Path) -> tuple[str, int]:
    """The text of a file, and its mode."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            raw = file.read(MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise ConfigError(key, f"cannot read {path}: {why}") from None
    if len(raw) > MOST_BYTES:
        raise ConfigError(key, f"{path} is larger than {MOST_BYTES} bytes")
    if raw.startswith(BOM_UTF8):
        raise ConfigError(key, f"{path} begins with a byte order mark; save it without one")
    try:
        return raw.decode(), mode
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError(key, f"{path} is not UTF-8 (at line {line}); save it so") from None


def _read(path: Path) -> dict[str, Any]:
    text, mode = _open("config", path)
    try:
        table = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        # Not only TOMLDecodeError: tomllib lets out what int and the stack refuse.
        raise ConfigError("config", f"{path}: {error}") from None
    is_open = mode & (stat.S_IRWXG | stat.S_IRWXO) and not _is_credential(path)
    if is_open and _has_secret(table):
        raise ConfigError("config", f"{path} holds secrets; run: chmod 600 {path}")
    return table


def _has_secret(table: Mapping[str, Any]) -> bool:
    values = (table.get("store", ""), table.get("status", ""))
    urls = [v for v in values if isinstance(v, str) and v.startswith(_SECRET_SCHEMES)]
    has_key = _named(table, "s3", "secret") or _named(table, "metrics", "token")
    return has_key or any("@" in url or "password=" in url for url in urls)


def _named(table: Mapping[str, Any], section: str, key: str) -> bool:
    found = table.get(section)
    return isinstance(found, Mapping) and bool(found.get(key))


def _convert(table: Mapping[str, Any]) -> Settings:
    for key in table:
        if key not in _KNOWN:
            raise ConfigError(_shown(key), unknown(key, _KNOWN, _TABLES))
    values: dict[str, Any] = {}
    for key, value in table.items():
        try:
            values[_KNOWN[key].name] = msgspec.convert(value, _KNOWN[key].type)
        except msgspec.ValidationError as error:
            raise ConfigError(*_blame(key, error)) from None
    settings = Settings(**values)
    check_printable("", settings)
    return settings


def _blame(key: str, error: msgspec.ValidationError) -> tuple[str, str]:
    """The full name of the key an error is about, and the error without its path."""
    text, _, path = str(error).partition(" - at `$")
    field = _UNKNOWN.fullmatch(text)
    if field:
        here = _TABLES[key]
        elsewhere = {table: names for table, names in _TABLES.items() if names != here}
        return f"{key}{path.rstrip('`')}.{_shown(field[1])}", unknown(field[1], here, elsewhere)
    return key + path.rstrip("`"), text


def _shown(key: str) -> str:
    """A key on one line, whatever is in it."""
    return key if key.isprintable() else ascii(key)


def _check(settings: Settings) -> None:
    if settings.role not in ROLES:
        raise ConfigError("role", f"one of {', '.join(ROLES)}")
    if not settings.data:
        raise ConfigError("data", "name a directory")
    if not settings.auth or len(set(settings.auth)) < len(settings.auth):
        raise ConfigError("auth", "name at least one way to log in, and none of them twice")
    if settings.log not in LOGS:
        raise ConfigError("log", f"one of {', '.join(LOGS)}")
    if settings.role != "transfer":
        _check_engines(settings)
    _check_files(settings)
    _check_limits(settings)
    _check_retention(settings.retention)
    _check_names(settings)
    if 0 < len(settings.metrics.token) < MIN_TOKEN:
        raise ConfigError("metrics.token", f"at least {MIN_TOKEN} characters, or none")


def _check_limits(settings: Settings) -> None:
    limits = settings.limits
    check_numbers("limits", limits, _LIMITS)
    check_numbers("passwords", settings.passwords, _COSTS)
    if limits.silence_seconds <= limits.heartbeat_seconds:
        more = f"more than heartbeat_seconds ({limits.heartbeat_seconds}), or nobody is in time"
        raise ConfigError("limits.silence_seconds", more)
    check_networks("limits.trusted_addresses", limits.trusted_addresses)
    check_networks("proxies", settings.proxies)
    check_networks("metrics.readers", settings.metrics.readers)


def _check_retention(keeping: Keeping) -> None:
    for f in msgspec.structs.fields(keeping):
        days = getattr(keeping, f.name)
        if days and not LEAST_DAYS <= days <= MOST_DAYS:
            raise ConfigError(
                f"retention.{f.encode_name}", f"0 for ever, or {LEAST_DAYS} to {MOST_DAYS} days"
            )


def _check_names(settings: Settings) -> None:
    check_node(settings.node)
    for host in settings.hosts:
        if host != "*" and not _HOST.fullmatch(host):
            raise ConfigError("hosts", f"{_shown(host)} is no name; write it without port and path")
    for origin in settings.origin:
        check_origin(origin)
    if len(set(settings.transfer)) < len(settings.transfer):
        raise ConfigError("transfer", "name each of them once")
    for side in ("connector", "transfer"):
        if not _HOST.fullmatch(getattr(settings.transfer_tls, side)):
            raise ConfigError(f"transfer-tls.{side}", "a DNS name, as in certificates")


def _check_engines(settings: Settings) -> None:
    store, status, shared = settings.store, settings.status, settings.role == "connector"
    if store != "sqlite" and not store.startswith(POSTGRESQL):
        raise ConfigError("store", '"sqlite", or a URL: postgresql://…')
    if status != "memory" and not status.startswith(REDIS):
        raise ConfigError("status", '"memory", or a URL: redis://…, rediss://…, redis+sentinel://…')
    if store == "sqlite" and (shared or status != "memory"):
        raise ConfigError("store", "SQLite serves one process; several need postgresql://…")
    if status == "memory" and (shared or settings.transfer):
        raise ConfigError("status", "memory knows one process; several need redis://…")
    if shared and not settings.transfer:
        raise ConfigError("transfer", "a connector needs the endpoint of at least one transfer")


def _check_files(settings: Settings) -> None:
    bucket = settings.files.removeprefix(S3).partition("/")[0]
    if not settings.files.startswith(S3):
        if "://" in settings.files:
            raise ConfigError("files", "a directory, or s3://BUCKET/PREFIX")
    elif not bucket:
        raise ConfigError("files", "name the bucket: s3://BUCKET/PREFIX")
    elif not settings.s3.key or not settings.s3.secret:
        raise ConfigError("s3.key", "s3:// needs s3.key and s3.secret")
    elif not settings.s3.region:
        raise ConfigError("s3.region", "name the region, or leave it out")
    if settings.s3.endpoint:
        check_http("s3.endpoint", settings.s3.endpoint)


#: Limits that may be 0, for "no limit".
_LIMITS = dict.fromkeys(("rate", "other_rate", "file_total_bytes", "file_reserve_bytes"), (0, MOST))
#: What argon2 takes, and what a machine may have.
_COSTS = {"memory_kib": (8, 1 << 22), "passes": (1, 100)}


def argv(values: Mapping[str, Any], repeated: Sequence[str]) -> dict[str, Any]:
    """The options that were given, as keys of the configuration."""
    given = {key: value for key, value in values.items() if value is not None}
    return {key: tuple(v) if key in repeated else v for key, v in given.items() if v != []}
