"""What a person may type in ``imd chat``: the commands, and how a line is read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec import Struct


class Command(Struct, frozen=True):
    """One command: what it takes, what it does, and when it can be carried out."""

    takes: str
    help: str
    #: It needs an answer of the server.
    online: bool = False
    #: Its argument is a name, which may be completed.
    name: bool = False
    #: Its last argument is a path, which may be completed.
    path: bool = False
    #: It asks for something more before it is done.
    asks: bool = False


COMMANDS = {
    "to": Command("NAME", "open the conversation with NAME", name=True),
    "history": Command("[N]", "show N older messages (20)", online=True),
    "file": Command("PATH", "send a file to whoever is open", online=True, path=True),
    "save": Command("ID [PATH]", "save file ID: here, or as PATH", online=True, path=True),
    "friends": Command("", "your friends and requests, and what is unread", online=True),
    "who": Command("NAME", "what is known about NAME", online=True, name=True),
    "add": Command("NAME [NOTE]", "ask for friendship", online=True, name=True),
    "accept": Command("NAME", "accept a request", online=True, name=True),
    "decline": Command("NAME", "decline a request", online=True, name=True),
    "remove": Command("NAME", "end a friendship, or take back a request", online=True, name=True),
    "block": Command("NAME", "take nothing more from NAME", online=True, name=True),
    "unblock": Command("NAME", "lift a block", online=True, name=True),
    "display": Command("[TEXT]", "the name that others see; without TEXT, none", online=True),
    "devices": Command("", "where you are logged in", online=True),
    "revoke": Command("DEVICE", "log a device out, by its number in /devices", online=True),
    "password": Command("", "change your password; logs out all other devices", True, asks=True),
    "logout": Command("", "forget the login of this device, and quit", online=True),
    "help": Command("", "this list"),
    "quit": Command("", "leave; what was not sent yet goes out at the next start"),
}


class Line(Struct, frozen=True):
    """A line that was typed: a command with its argument, or a text (``command`` is empty)."""

    command: str
    argument: str


class Misread(Exception):
    """A line that is no text and no command; the message says why."""


def read(line: str) -> Line | None:
    """Understand a line; None for an empty one.  ``//x`` is the text ``/x``.

    Raises ``Misread``.
    """
    if not line.strip():
        return None
    if not line.startswith("/"):
        return Line("", line)
    if line.startswith("//"):
        return Line("", line[1:])
    word, _, rest = line[1:].strip().partition(" ")
    return _checked(word.lower(), rest.strip())


def _checked(word: str, argument: str) -> Line:
    command = COMMANDS.get(word)
    if command is None:
        raise Misread(f"/{word}: no such command; /help lists them, //{word} sends it as a text")
    if argument and not command.takes:
        raise Misread(f"/{word} takes nothing more")
    if command.takes and not command.takes.startswith("[") and not argument:
        raise Misread(f"usage: /{word} {command.takes}")
    if command.takes in ("NAME", "DEVICE") and " " in argument:
        raise Misread(f"usage: /{word} {command.takes}")
    return Line(word, argument)


def number(argument: str, default: int, most: int) -> int:
    """A count of at least 1; a greater one than ``most`` is ``most``.  Raises ``Misread``."""
    if not argument:
        return default
    if not (argument.isascii() and argument.isdigit()) or int(argument) == 0:
        raise Misread(f"{argument}: not a number")
    return min(int(argument), most)


def candidates(line: str, names: Iterable[str]) -> Sequence[str]:
    """How the last word of ``line`` (up to the cursor) may go on: whole words."""
    if not line.startswith("/"):
        return ()
    word, blank, rest = line[1:].partition(" ")
    if not blank:
        return [f"/{name}" for name in COMMANDS if name.startswith(word.lower())]
    command = COMMANDS.get(word.lower())
    if command is None or not command.name or " " in rest:
        return ()
    return sorted(name for name in names if name.startswith(rest.lower()))


def path_typed(line: str) -> str | None:
    """The path that is being typed at the end of a line; None if there is none."""
    word, blank, rest = line[1:].partition(" ")
    command = COMMANDS.get(word.lower()) if line.startswith("/") and blank else None
    if command is None or not command.path:
        return None
    if command.takes == "PATH":
        return rest.lstrip()
    number, blank, path = rest.lstrip().partition(" ")
    return path.lstrip() if number and blank else None


def manual() -> Sequence[str]:
    """The lines of ``/help``."""
    width = max(len(f"{name} {command.takes}") for name, command in COMMANDS.items()) + 1
    lines = [
        f"{f'/{name} {command.takes}':{width}}  {command.help}"
        for name, command in COMMANDS.items()
    ]
    keys = "Tab completes; Ctrl-C clears the line, Ctrl-D quits; a text that begins with / is //…"
    return [*lines, keys]
