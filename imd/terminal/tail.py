"""``imd tail``: prints messages as they come, for scripts; nothing is lost between two runs.

A message counts as delivered once its line was handed to the kernel and that is stored here.  If
the program dies in between, the line comes again: at least once, and the ``id`` tells.  With
``--save``, the file of a message is on the disk before its line is printed.
"""

from __future__ import annotations

import argparse
import os
import select
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from imd.client import (
    Client,
    ClientError,
    Conversation,
    Damaged,
    Disconnected,
    Message,
    Refused,
)
from imd.decoding import BadValue, decode_file
from imd.errors import Code
from imd.tasks import sleep
from imd.terminal.codes import Ending, Exit
from imd.terminal.options import Parser, access, add_access, seconds
from imd.terminal.rendering import Shown, content, json_line, spoken
from imd.terminal.running import guarded, log_to, place_of, run_client
from imd.terminal.saving import Saver
from imd.terminal.worker import Worker, write_all
from imd.wire import FileBody

#: Seconds for the server to confirm what was marked, before the program ends.
GOODBYE_SECONDS = 5.0
#: Seconds between two looks at what has come, and at whether anybody still reads the output.
LOOK_SECONDS = 0.05
STDOUT = 1

_log = Logger()


class Task(Struct, frozen=True):
    """Whose messages are wanted (nobody: all), and what to do with them."""

    names: frozenset[str]
    json: bool
    once: bool
    mark_read: bool
    seconds: float
    #: Where files go; None leaves them on the server.
    save: Path | None = None


def main(argv: Sequence[str]) -> int:
    """Run the command; the exit codes are in ``imd.terminal.codes``."""
    return guarded("imd tail", lambda: _main(argv))


def _main(argv: Sequence[str]) -> Ending:
    given = _parser().parse_intermixed_args(argv)
    may = access(given, os.environ)
    names = frozenset(name.lower() for name in given.names)
    save = None if given.save is None else Path(given.save)
    if save is not None and not (save.is_dir() and os.access(save, os.W_OK | os.X_OK)):
        raise Ending(Exit.OUTPUT, f"--save {save}: not a directory that can be written")
    task = Task(names, given.json, given.once, given.mark_read, given.timeout, save)
    place = place_of(may)
    place.take(0.0)
    log_to(lambda line: sys.stderr.write(f"imd tail: {line}\n"))
    end = run_client(may, place, lambda client: Tail(client, task).run, mark_delay=0.0)
    return Ending(Exit.OK) if end.interrupted and not task.once else end


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="imd tail",
        description="Print the messages of friends as they come, from where the last run ended."
        " All exit codes are in docs/terminal.rst.",
    )
    parser.add_argument("names", metavar="FROM", nargs="*", help="only of these friends")
    parser.add_argument("--json", action="store_true", help="an object a line, in ASCII")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--follow", action="store_true", help="go on for ever (this is usual)")
    how.add_argument("--once", action="store_true", help="print what there is, and end")
    parser.add_argument("--mark-read", action="store_true", help="tell the senders it was read")
    parser.add_argument("--save", metavar="DIR", help="save files into DIR, and over nothing there")
    parser.add_argument(
        "--timeout", type=seconds, default=30.0, help="seconds for --once to reach the server (30)"
    )
    add_access(parser, "tail")
    return parser


class Tail:
    """Prints what the task wants.

    A conversation that is not wanted waits, unmarked, for a run that wants it.
    """

    def __init__(self, client: Client, task: Task) -> None:
        self._client = client
        self._task = task
        self._output = Worker(client.reactor)
        self._saver = Saver(client)
        self._failure: Exception | None = None
        #: Messages that are neither printed nor given up.
        self._parked: list[Deferred[None]] = []
        self._reader = select.poll()
        self._reader.register(STDOUT, 0)
        client.on_message(self._print)

    async def run(self) -> int:
        """Print until there is no more (``once``), or until the output fails."""
        start = self._client.reactor.seconds()
        while not self._complete():
            self._look()
            late = self._client.reactor.seconds() - start > self._task.seconds
            if self._task.once and late and self._client.state != "ready":
                raise Ending(Exit.UNAVAILABLE, "the server was not reached in time")
            await self._pause()
        await self._confirmed()
        return Exit.OK

    async def _pause(self) -> None:
        await sleep(self._client.reactor, LOOK_SECONDS if self._task.once else 1.0)

    def _look(self) -> None:
        """End once nobody reads the output any more: the next message may be far away."""
        if self._failure is not None:
            raise self._failure
        if self._reader.poll(0):
            raise BrokenPipeError

    def _complete(self) -> bool:
        if not self._task.once or self._client.state != "ready":
            return False
        wanted = self._wanted()
        if self._task.names - {peer.name for each in wanted for peer in each.peers}:
            raise Ending(Exit.NO_USER, "not all of these are friends")
        return all(each.handled >= each.known for each in wanted)

    def _wanted(self) -> Sequence[Conversation]:
        every = self._client.conversations.values()
        return [each for each in every if self._wants(each)]

    def _wants(self, conversation: Conversation) -> bool:
        names = self._task.names
        return not names or any(peer.name in names for peer in conversation.peers)

    async def _confirmed(self) -> None:
        """Wait a little for the server to say that it knows what we have."""
        end = self._client.reactor.seconds() + GOODBYE_SECONDS
        while self._client.reactor.seconds() < end and any(map(_owed, self._wanted())):
            await self._pause()

    async def _print(self, message: Message) -> None:
        """Returns once the line was written; only then the message counts as delivered."""
        if not self._wants(self._client.conversations[message.conversation]):
            await self._park()
        try:
            saved = await self._save(message)
            data = (self._line(message, saved) + "\n").encode()
            await self._output.do(lambda: write_all(STDOUT, data))
        except (OSError, ClientError, Ending) as error:
            self._failure = error
            await self._park()
        if self._task.mark_read:
            self._client.read(message)

    async def _save(self, message: Message) -> Path | None:
        """Save the file of a message, however often the server goes away meanwhile.

        None if there is none, or no more: the sender has ended the friendship, for example.
        """
        if self._task.save is None or message.kind != "file":
            return None
        try:
            return await self._patiently(decode_file(message.body), self._task.save)
        except (Refused, Damaged, BadValue) as error:
            if isinstance(error, Refused) and error.code != Code.NOT_FOUND:
                raise
            _log.warn("the file of {id} was not saved: {error}", id=message.id, error=error)
            return None

    async def _patiently(self, body: FileBody, directory: Path) -> Path:
        while True:
            try:
                return await self._saver.into(body, directory)
            except Disconnected:
                if self._task.once:
                    raise
            except OSError as error:
                raise Ending(Exit.OUTPUT, f"{body.name} was not saved: {error.strerror}") from error
            await self._client.ready()

    async def _park(self) -> None:
        """Leave the message where it is, and with it all that follow in its conversation."""
        parked: Deferred[None] = Deferred()
        self._parked.append(parked)
        await parked

    def _line(self, message: Message, saved: Path | None) -> str:
        name = self._name(message)
        text = content(message.kind, message.content)
        if not self._task.json:
            when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(message.at / 1000))
            note = f"\nsaved as {saved}" if saved is not None else ""
            return "\n".join(spoken(Shown(when, name, text + note), 0, len))
        extra = {}
        if self._task.save is not None and message.kind == "file":
            extra = {"saved": None if saved is None else str(saved)}
        return json_line(
            {
                "id": message.id,
                "from": name,
                "user": message.sender,
                "conversation": message.conversation,
                "seq": message.seq,
                "at": message.at,
                "kind": message.kind,
                "text": text,
                "body": message.content,
            }
            | extra
        )

    def _name(self, message: Message) -> str:
        peers = self._client.conversations[message.conversation].peers
        return next((peer.name for peer in peers if peer.user == message.sender), "?")


def _owed(mine: Conversation) -> bool:
    return mine.delivered > mine.told_delivered or mine.read > mine.told_read
