"""``imd chat``: a person talks to friends, line by line."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from collections.abc import Sequence

from imd.client import Client
from imd.terminal.codes import Ending, Exit
from imd.terminal.options import Access, Parser, access, add_access
from imd.terminal.places import Place
from imd.terminal.running import Begin, guarded, log_to, place_of, run_client
from imd.terminal.screen import PaintedScreen, PlainScreen
from imd.terminal.talk import Talk

#: Terminals that only take lines.
_DUMB = ("", "dumb", "unknown")


def main(argv: Sequence[str]) -> int:
    """Run the command; the exit codes are in ``imd.terminal.codes``."""
    return guarded("imd chat", lambda: _main(argv))


def _main(argv: Sequence[str]) -> Ending:
    given = _parser().parse_intermixed_args(argv)
    may = access(given, os.environ)
    place = place_of(may)
    place.take(0.0)
    return Chat(may, place, given.name).run()


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="imd chat",
        description="Talk to friends. A line is sent to whoever is open; lines that begin with /"
        " are commands, which /help lists. Without a terminal, plain lines go in and out.",
    )
    parser.add_argument("name", metavar="NAME", nargs="?", help="talk to NAME at once")
    add_access(parser, "chat")
    return parser


class Chat:
    """One run of the program."""

    def __init__(self, access: Access, place: Place, first: str | None) -> None:
        self._access = access
        self._place = place
        self._first = first
        self._talk: Talk | None = None
        self._painted: PaintedScreen | None = None

    def run(self) -> Ending:
        """Chat until the end."""
        if _can_paint():
            _share_the_loop()
        try:
            end = run_client(self._access, self._place, self._prepare, own=True)
        finally:
            if self._painted is not None:
                self._painted.leave()
        if self._talk is not None and self._talk.logged_out:
            self._place.forget_token()
            return Ending(Exit.OK)
        return Ending(Exit.OK) if end.interrupted else end

    def _prepare(self, client: Client) -> Begin:
        talk = self._talk = Talk(client, self._access.user, self._first)
        if _can_paint():
            talk.screen = self._painted = PaintedScreen(talk)
        else:
            talk.screen = PlainScreen(client.reactor, sys.stdin.isatty())
        log_to(talk.note)
        return talk.run


def _can_paint() -> bool:
    tty = sys.stdin.isatty() and sys.stdout.isatty()
    return tty and os.environ.get("TERM", "") not in _DUMB


def _share_the_loop() -> None:
    """Let the reactor run on the event loop that the screen needs."""
    from twisted.internet import asyncioreactor

    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    asyncioreactor.install(loop)
