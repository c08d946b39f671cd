"""``imd user``: accounts, for an operator; on the store itself or, with ``--url``, over HTTP."""

from __future__ import annotations

import argparse
import getpass
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from imd.ops.logs import clean
from imd.ordering import Failed, Orders, Run, add_places, carry_out

#: Bytes of standard input that are read for a password; more is refused later.
MOST_INPUT = 8192


def main(argv: Sequence[str]) -> int:
    """Run the command; 0, 1 if it was refused, 78 for a bad configuration."""
    options = _parser().parse_args(argv)
    run, *_ = _COMMANDS[options.command]
    return carry_out(options, run, _ask, makes=options.command == "add")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="imd user", description="Look after accounts.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    for name, (_, what, takes_name) in _COMMANDS.items():
        command = commands.add_parser(name, help=what, description=what)
        if takes_name:
            command.add_argument("name", metavar="NAME")
        if name in _WITH_PASSWORD:
            from_input = "read the password from standard input, one line"
            command.add_argument("--password-stdin", action="store_true", help=from_input)
        if name == "sessions":
            command.add_argument("--revoke", metavar="DEVICE", type=int, help="log a device out")
            command.add_argument("--all", action="store_true", help="log all devices out")
        add_places(command)
    return parser


def _ask(options: argparse.Namespace) -> None:
    if options.command in _WITH_PASSWORD:
        options.password = _password(options)


async def _add(orders: Orders, options: argparse.Namespace) -> None:
    made = await orders.call("user.add", {"user": options.name, "password": options.password})
    print(f"made {made['name']} (user {made['user']})")


async def _passwd(orders: Orders, options: argparse.Namespace) -> None:
    done = await orders.call("user.passwd", {"user": options.name, "password": options.password})
    print(f"set the password; {done['devices']} devices were logged out")


async def _disable(orders: Orders, options: argparse.Namespace) -> None:
    done = await orders.call("user.disable", {"user": options.name})
    print(f"{done['name']} is disabled; sessions end within 5 seconds")


async def _enable(orders: Orders, options: argparse.Namespace) -> None:
    done = await orders.call("user.enable", {"user": options.name})
    print(f"{done['name']} is enabled")


async def _sessions(orders: Orders, options: argparse.Namespace) -> None:
    if options.all or options.revoke is not None:
        params = {"user": options.name} | ({} if options.all else {"device": options.revoke})
        print(f"{(await orders.call('user.revoke', params))['devices']} devices were logged out")
        return
    for item in (await orders.call("user.sessions", {"user": options.name}))["items"]:
        label = clean(item["label"])
        print(f"{item['device']:<17} seen {_time(item['seen'])}  {label}")


async def _list(orders: Orders, options: argparse.Namespace) -> None:
    after, more = "", True
    while more:
        page = await orders.call("user.list", {"after": after})
        more = page["more"]
        for item in page["items"]:
            after = item["name"]
            state = "disabled" if item["disabled"] else "enabled"
            print(f"{after:32}  {state:8}  {item['user']:<16}  {clean(item['display'])}".rstrip())


_COMMANDS: dict[str, tuple[Run, str, bool]] = {
    "add": (_add, "Make an account.", True),
    "disable": (_disable, "Lock an account out, and end its sessions.", True),
    "enable": (_enable, "Let an account in again.", True),
    "passwd": (_passwd, "Set a password, and log all devices out.", True),
    "sessions": (_sessions, "List the devices of an account, or log them out.", True),
    "list": (_list, "List all accounts.", False),
}
_WITH_PASSWORD = ("add", "passwd")


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
