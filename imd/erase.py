"""``imd erase``: an account, and what its user wrote, is taken away for good."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from imd.user import Call, Failed, add_places, carry_out


def main(argv: Sequence[str]) -> int:
    """Run the command; 0, 1 if it was refused, 78 for a bad configuration."""
    what = "Erase an account, and what its user wrote."
    parser = argparse.ArgumentParser(prog="imd erase", description=what)
    parser.set_defaults(run=_erase)
    parser.add_argument("name", metavar="USER", help="the login name")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    add_places(parser)
    return carry_out(parser.parse_args(argv))


def _erase(call: Call, options: argparse.Namespace) -> None:
    repeat = options.name if options.yes else _asked(options.name)
    done = call("user.erase", {"user": options.name, "repeat": repeat})
    print(f"erased {done['messages']} messages and {done['files']} files")


def _asked(name: str) -> str:
    if not sys.stdin.isatty():
        raise Failed("nobody to ask whether this is meant; give --yes")
    print(f"This erases {name} and all that {name} wrote, and cannot be undone.")
    return input("Type the name again: ")
