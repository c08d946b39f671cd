"""``imd erase``: an account, and what its user wrote, is taken away for good."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from imd.ordering import Failed, Orders, add_places, carry_out


def main(argv: Sequence[str]) -> int:
    """Run the command; 0, 1 if it was refused, 78 for a bad configuration."""
    what = "Erase an account, and what its user wrote."
    parser = argparse.ArgumentParser(prog="imd erase", description=what)
    parser.add_argument("name", metavar="USER", help="the login name")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    add_places(parser)
    return carry_out(parser.parse_args(argv), _erase, _ask)


async def _erase(orders: Orders, options: argparse.Namespace) -> None:
    done = await orders.call("user.erase", {"user": options.name, "repeat": options.repeat})
    print(f"erased {done['messages']} messages and {done['files']} files")


def _ask(options: argparse.Namespace) -> None:
    options.repeat = name = options.name
    if options.yes:
        return
    if not sys.stdin.isatty():
        raise Failed("nobody to ask whether this is meant; give --yes")
    print(f"This erases {name} and all that {name} wrote, and cannot be undone.")
    options.repeat = input("Type the name again: ")
