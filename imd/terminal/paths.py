"""How a path that is being typed may go on."""

from __future__ import annotations

import os
from collections.abc import Sequence

from imd.terminal.escapes import visible

#: No more than these are offered.
MOST = 200


def path_candidates(typed: str) -> Sequence[str]:
    """Paths that begin as ``typed``; those of directories end in ``/``.

    Hidden ones only for who has typed the dot; those that cannot be shown as they are never.
    """
    head, slash, base = typed.rpartition("/")
    start = head + slash
    try:
        with os.scandir(os.path.expanduser(start) or ".") as entries:
            found = [
                start + entry.name + ("/" if entry.is_dir() else "")
                for entry in entries
                if entry.name.startswith(base) and _is_offered(entry.name, base)
            ]
    except OSError:
        return ()
    return sorted(found)[:MOST]


def _is_offered(name: str, base: str) -> bool:
    return visible(name) == name and (base.startswith(".") or not name.startswith("."))
