"""``imd user``: accounts, for an operator; on the store itself or, with ``--url``, over HTTP."""

from __future__ import annotations

import argparse
import getpass
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from imd.admin import Admin
from imd.auth.password import Passwords
from imd.config import Settings, admin_token, merge
from imd.errors import ConfigError, Refusal, Unavailable
from imd.interfaces.storage import Storage
from imd.offline import Here, with_storage
from imd.ops.logs import clean
from imd.sources import Sources

#: ``EX_CONFIG`` of sysexits.h, as of the daemon.
CONFIG_CODE = 78
SECONDS = 30
#: Bytes of standard input that are read for a password; more is refused later.
MOST_INPUT = 8192

Call = Callable[[str, Mapping[str, Any]], Any]


class Failed(Exception):
    """It was not done; the text says why."""


def main(argv: Sequence[str]) -> int:
    """Run the command; 0, 1 if it was refused, 78 for a bad configuration."""
    return carry_out(_parser().parse_args(argv))


def carry_out(options: argparse.Namespace) -> int:
    """Run ``options.run``, where the options say; the exit code as of ``main``."""
    try:
        settings = _settings(options)
        options.run(_caller(settings, options.url), options)
    except ConfigError as error:
        sys.stderr.write(f"imd: {error}\n")
        return CONFIG_CODE
    except (Refusal, Unavailable, Failed) as error:
        sys.stderr.write(f"imd: {clean(getattr(error, 'message', str(error)))}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="imd user", description="Look after accounts.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, (run, what, takes_name) in _COMMANDS.items():
        command = commands.add_parser(name, help=what, description=what)
        command.set_defaults(run=run)
        if takes_name:
            command.add_argument("name", metavar="NAME")
        if name in ("add", "passwd"):
            from_input = "read the password from standard input, one line"
            command.add_argument("--password-stdin", action="store_true", help=from_input)
        if name == "sessions":
            command.add_argument("--revoke", metavar="DEVICE", type=int, help="log a device out")
            command.add_argument("--all", action="store_true", help="log all devices out")
        add_places(command)
    return parser


def add_places(command: argparse.ArgumentParser) -> None:
    """Options that say which server or store is meant."""
    command.add_argument("--config", metavar="FILE", help="the configuration file of the server")
    command.add_argument("--store", metavar="URL", help='"sqlite", or postgresql://…')
    command.add_argument("--data", metavar="DIRECTORY", help="of the embedded store")
    command.add_argument("--url", metavar="URL", help="a server, to ask over HTTP instead")
    token = "a file with its admin token; else that of the configuration"  # noqa: S105
    command.add_argument("--token-file", metavar="FILE", help=token)


def _settings(options: argparse.Namespace) -> Settings:
    given = {key: getattr(options, key) for key in ("store", "data") if getattr(options, key)}
    if options.token_file:
        given["admin-token-file"] = options.token_file
    return merge(given, options.config)


def _caller(settings: Settings, url: str | None) -> Call:
    """What carries out an order, there or here."""
    if url is None:
        return lambda order, params: with_storage(
            settings, lambda storage: _order(settings, storage, order, params)
        )
    token = admin_token(settings)
    if not token:
        raise ConfigError("admin-token-file", "--url needs the admin token; give --token-file")
    return lambda order, params: _post(url, token, order, params)


async def _order(
    settings: Settings, storage: Storage, order: str, params: Mapping[str, Any]
) -> Any:
    cost = settings.passwords
    passwords = Passwords(Here(), cost.memory_kib, cost.passes)

    async def evict(user: int) -> None:
        """Servers find it in storage."""

    admin = Admin(storage, passwords, Sources(), evict)
    raw = msgspec.json.encode(params)
    return msgspec.to_builtins(await admin.call(order, raw, "the command line"))


def _post(url: str, token: str, order: str, params: Mapping[str, Any]) -> Any:
    if not url.startswith(("http://", "https://")):
        raise Failed("--url: http://… or https://…")
    request = urllib.request.Request(  # noqa: S310
        f"{url.rstrip('/')}/v1/admin/{order}",
        data=msgspec.json.encode(params),
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:  # noqa: S310
            return msgspec.json.decode(answer.read())
    except urllib.error.HTTPError as error:
        raise Failed(_told(error)) from None
    except (OSError, ValueError) as error:
        raise Failed(f"{url}: {getattr(error, 'reason', error)}") from None


def _told(error: urllib.error.HTTPError) -> str:
    try:
        message: str = msgspec.json.decode(error.read())["error"]["message"]
        return message
    except (ValueError, KeyError, TypeError, OSError):
        return f"{error.url}: {error.code} {error.reason}"


# -- commands


def _add(call: Call, options: argparse.Namespace) -> None:
    made = call("user.add", {"user": options.name, "password": _password(options)})
    print(f"made {made['name']} (user {made['user']})")


def _passwd(call: Call, options: argparse.Namespace) -> None:
    done = call("user.passwd", {"user": options.name, "password": _password(options)})
    print(f"set the password; {done['devices']} devices were logged out")


def _disable(call: Call, options: argparse.Namespace) -> None:
    done = call("user.disable", {"user": options.name})
    print(f"{done['name']} is disabled; sessions end within 5 seconds")


def _enable(call: Call, options: argparse.Namespace) -> None:
    print(f"{call('user.enable', {'user': options.name})['name']} is enabled")


def _sessions(call: Call, options: argparse.Namespace) -> None:
    if options.all or options.revoke is not None:
        params = {"user": options.name} | ({} if options.all else {"device": options.revoke})
        print(f"{call('user.revoke', params)['devices']} devices were logged out")
        return
    for item in call("user.sessions", {"user": options.name})["items"]:
        label = clean(item["label"])
        print(f"{item['device']:<17} seen {_time(item['seen'])}  {label}")


def _list(call: Call, options: argparse.Namespace) -> None:
    after, more = "", True
    while more:
        page = call("user.list", {"after": after})
        more = page["more"]
        for item in page["items"]:
            after = item["name"]
            state = "disabled" if item["disabled"] else "enabled"
            print(f"{after:32}  {state:8}  {item['user']:<16}  {clean(item['display'])}".rstrip())


_COMMANDS: dict[str, tuple[Callable[[Call, argparse.Namespace], None], str, bool]] = {
    "add": (_add, "Make an account.", True),
    "disable": (_disable, "Lock an account out, and end its sessions.", True),
    "enable": (_enable, "Let an account in again.", True),
    "passwd": (_passwd, "Set a password, and log all devices out.", True),
    "sessions": (_sessions, "List the devices of an account, or log them out.", True),
    "list": (_list, "List all accounts.", False),
}


def _password(options: argparse.Namespace) -> str:
    """From standard input, or from the keyboard; others see the command line."""
    if options.password_stdin:
        return sys.stdin.readline(MOST_INPUT).removesuffix("\n")
    if not sys.stdin.isatty():
        raise Failed("nobody to ask for the password; give --password-stdin")
    first = getpass.getpass(f"password of {options.name}: ")
    if getpass.getpass("once more: ") != first:
        raise Failed("the two are not the same")
    return first


def _time(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).isoformat("T", "seconds")
