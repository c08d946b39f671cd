"""Where a password comes from: a file, a credential of systemd, or the keyboard.

Never from the command line or the environment, which other processes and logs may see.
"""

from __future__ import annotations

import getpass
import os
from collections.abc import Mapping
from pathlib import Path

from imd.terminal.codes import Ending, Exit
from imd.terminal.options import Access

#: The name of the credential (``LoadCredential=imd-password:FILE`` of systemd).
CREDENTIAL = "imd-password"


def password(access: Access, known: bool, environment: Mapping[str, str]) -> str | None:
    """The password; None if a login is ``known``, so that none is needed, and none is at hand.

    Raises ``Ending`` if there is no way to get it.
    """
    path = _file(access, environment)
    if path is not None and not (known and not path.exists()):
        return _read(path)
    return None if known else ask(f"password of {access.user}: ", access.register)


def _file(access: Access, environment: Mapping[str, str]) -> Path | None:
    if access.password_file is not None:
        return Path(access.password_file)
    directory = environment.get("CREDENTIALS_DIRECTORY")
    path = Path(directory, CREDENTIAL) if directory else None
    return path if path is not None and path.exists() else None


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8").removesuffix("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise Ending(Exit.NO_INPUT, f"{path}: {error}") from error


def ask(prompt: str, twice: bool = False) -> str:
    """Ask at the keyboard, without showing what is typed; ``twice`` for a new one."""
    if not _terminal():
        raise Ending(Exit.REFUSED, "no login yet, and nobody to ask; give --password-file FILE")
    given = _asked(prompt)
    if twice and _asked("once more: ") != given:
        raise Ending(Exit.USAGE, "the two are not the same")
    return given


def _asked(prompt: str) -> str:
    try:
        return getpass.getpass(prompt)
    except (EOFError, KeyboardInterrupt):
        raise Ending(Exit.TEMPORARY, "interrupted") from None


def _terminal() -> bool:
    """Whether there is a terminal to ask at, whatever standard input is."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
