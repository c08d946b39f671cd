"""``imd``: the tools beside the daemon."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib import import_module

from imd.ops import monotonic
from imd.version import __version__

#: Name of a command to the module whose ``main(argv) -> int`` runs it, and what it does.
COMMANDS = {
    "bench": ("imd.bench.main", "measure a server, and check that it loses nothing"),
    "chat": ("imd.terminal.chat", "talk to friends in the terminal"),
    "conformance": ("imd.conformance.main", "test a client against the rules of the protocol"),
    "doctor": ("imd.doctor.main", "look at everything that a server depends on"),
    "erase": ("imd.erase", "erase an account, and what its user wrote"),
    "export": ("imd.export", "write out what the server keeps of one user, as JSON lines"),
    "message": ("imd.trace", "what became of one message: imd message trace ID"),
    "migrate": ("imd.migrate", "create or upgrade the schema of a PostgreSQL store"),
    "schema": ("imd.schema", "write the AsyncAPI and OpenAPI documents"),
    "send": ("imd.terminal.send", "send a message, from a script"),
    "tail": ("imd.terminal.tail", "print the messages that come, for a script"),
    "user": ("imd.user", "add, disable and list accounts; set passwords, end sessions"),
}


def main(argv: list[str] | None = None) -> int:
    """Run a command; returns the exit code, 2 for a command that does not exist."""
    arguments = sys.argv[1:] if argv is None else argv
    name = arguments[0] if arguments else "--help"
    if name in ("-h", "--help"):
        sys.stdout.write(_usage())
        return 0
    if name == "--version":
        sys.stdout.write(f"imd {__version__}\n")
        return 0
    if name not in COMMANDS:
        sys.stderr.write(f"imd: {name}: no such command; see imd --help\n")
        return 2
    monotonic.install()
    run: Callable[[list[str]], int] = import_module(COMMANDS[name][0]).main
    return run(arguments[1:])


def _usage() -> str:
    lines = [f"  {name:11} {what}" for name, (_, what) in COMMANDS.items()]
    head = "usage: imd COMMAND [OPTION …]; the server itself is: twistd imd\n"
    return "\n".join([head, *lines, ""])
