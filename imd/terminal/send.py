"""``imd send``: one message, or one a line, from a script; the exit code says how it went."""

from __future__ import annotations

import argparse
import os
import sys
import uuid
from collections.abc import Sequence
from typing import Any

from msgspec import Struct
from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.defer import TimeoutError as Overdue
from twisted.logger import Logger

from imd.client import Client, ClientError, Sent
from imd.client.system import new_id
from imd.tasks import spawn
from imd.terminal.attach import Attachment, Carrier, attachments, earlier_file
from imd.terminal.codes import Ending, Exit
from imd.terminal.options import Parser, access, add_access, seconds
from imd.terminal.running import guarded, log_to, place_of, report_kept, run_client
from imd.terminal.worker import LINE_BYTES, Lines, Worker

#: How far a message has to get, from the least to the most.
STAGES = ("sent", "delivered", "read")
#: Lines that are on their way at once.
WINDOW = 64

_log = Logger()


class Task(Struct, frozen=True):
    """What is to be sent, and what to wait for."""

    to: str
    text: str | None
    files: tuple[Attachment, ...]
    lines: bool
    id: str | None
    stage: str
    seconds: float


def main(argv: Sequence[str]) -> int:
    """Run the command; the exit codes are in ``imd.terminal.codes``."""
    return guarded("imd send", lambda: _main(argv))


def _main(argv: Sequence[str]) -> Ending:
    given = _parser().parse_intermixed_args(argv)
    may = access(given, os.environ)
    task = _task(given)
    place = place_of(may)
    place.take(task.seconds)
    log_to(lambda line: sys.stderr.write(f"imd send: {line}\n"))
    return run_client(may, place, lambda client: Delivery(client, task).run, mark_delay=0.0)


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="imd send",
        description="Send a message to a friend. Exit 0: the receipt that was asked for has come."
        " 69, 75: not yet; the message is kept, and goes out with the next imd send."
        " 77: refused, for good. All codes are in docs/terminal.rst.",
    )
    parser.add_argument("to", metavar="TO", help="the name of the friend")
    parser.add_argument("text", metavar="TEXT", nargs="?", help="the text; standard input if -")
    parser.add_argument(
        "--file",
        metavar="FILE",
        action="append",
        default=[],
        help="send FILE, standard input if -; again for more; TEXT goes with the first",
    )
    parser.add_argument("--name", help="what the one FILE is called at the other end")
    parser.add_argument("--lines", action="store_true", help="each line of the input is a message")
    parser.add_argument("--wait", choices=STAGES, default="sent", help="for which receipt (sent)")
    parser.add_argument(
        "--timeout",
        type=seconds,
        default=30.0,
        help="seconds to wait; of a file, for it to move (30)",
    )
    parser.add_argument(
        "--id", type=_uuid, metavar="UUID", help="run again with the same, it is one message only"
    )
    add_access(parser, "send")
    return parser


def _uuid(text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text}: no UUID") from None


def _task(given: argparse.Namespace) -> Task:
    files = attachments(given.file, given.name, given.text)
    if files and given.lines:
        raise Ending(Exit.USAGE, "--lines: each line is a message, and no file goes with it")
    text = None if given.text in (None, "-") else _decoded(os.fsencode(given.text))
    if text is None and not given.lines and not (files and given.text is None):
        text = _decoded(sys.stdin.buffer.read()).rstrip("\n")
    if text is not None and given.lines:
        raise Ending(Exit.USAGE, "--lines reads standard input; it takes no TEXT")
    if text is not None and not text.strip():
        raise Ending(Exit.DATA, "the message is empty")
    return Task(given.to.lower(), text, files, given.lines, given.id, given.wait, given.timeout)


def _decoded(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise Ending(Exit.DATA, f"the text is not UTF-8: {error}") from None


class Delivery:
    """Sends what the task says, and waits until it has come as far as was asked."""

    def __init__(self, client: Client, task: Task) -> None:
        self._client = client
        self._task = task
        self._clock = client.reactor
        self._free = DeferredSemaphore(WINDOW)
        self._failure: Exception | None = None
        #: Whoever waits for receipts looks again when one of these fires.
        self._grown: list[Deferred[None]] = []
        client.on_receipt(self._receipt)

    async def run(self) -> int:
        """Send everything; raises ``Ending``."""
        report_kept(self._client)
        conversation = await self._conversation()
        if self._task.files:
            await self._files(conversation)
        elif self._task.text is not None:
            await self._one(conversation, self._task.text, self._task.id)
        else:
            await self._stream(conversation)
        return Exit.OK

    async def _conversation(self) -> int:
        """The conversation; known from the last run, or else as soon as we are connected."""
        known = self._client.conversation_with(self._task.to)
        if known is None:
            await self._in_time(self._client.ready(), "")
            known = self._client.conversation_with(self._task.to)
        if known is None:
            raise Ending(Exit.NO_USER, f"{self._task.to} is not a friend of {self._client.name}")
        return known

    async def _files(self, conversation: int) -> None:
        """One after the other; the first that does not go ends it."""
        await self._in_time(self._client.ready(), "")
        carrier, caption = Carrier(self._client, self._task.seconds), self._task.text
        for number, given in enumerate(self._task.files):
            id = (self._id(number) if number else self._task.id) or new_id()
            earlier = earlier_file(self._client, conversation, id)
            body = await carrier.bring(given, caption, earlier)
            sending = self._client.send_file(conversation, body, id=id)
            waiting = Deferred.fromCoroutine(self._arrive(sending))
            await self._in_time(waiting, f" (id {id})")
            caption = None

    async def _stream(self, conversation: int) -> None:
        reader, number, lines = Worker(self._clock), 0, Lines(sys.stdin.fileno())
        while line := await reader.do(lambda: lines.next(LINE_BYTES)):
            text = _decoded(line).rstrip("\r\n")
            number += 1
            if text.strip():
                await self._free.acquire()
                spawn(self._line(conversation, text, self._id(number)), _log, "a line")
        for _ in range(WINDOW):
            await self._free.acquire()
        if self._failure is not None:
            raise self._failure

    async def _line(self, conversation: int, text: str, id: str | None) -> None:
        """One of many: what goes wrong with it is told once the others were sent as well."""
        try:
            await self._one(conversation, text, id)
        except (ClientError, Ending) as error:
            self._failure = self._failure or error
        finally:
            self._free.release()

    def _id(self, number: int) -> str | None:
        """The id of a line: the same in every run with the same ``--id``."""
        given = self._task.id
        return None if given is None else str(uuid.uuid5(uuid.UUID(given), str(number)))

    async def _one(self, conversation: int, text: str, id: str | None) -> None:
        id = id or new_id()
        await self._in_time(self._arrived(conversation, text, id), f" (id {id})")

    def _arrived(self, conversation: int, text: str, id: str) -> Deferred[None]:
        return Deferred.fromCoroutine(self._arrive(self._client.send(conversation, text, id=id)))

    async def _arrive(self, sending: Deferred[Sent]) -> None:
        sent = await sending
        while STAGES.index(self._client.status(sent)) < STAGES.index(self._task.stage):
            grown: Deferred[None] = Deferred()
            self._grown.append(grown)
            await grown

    def _receipt(self, receipt: Any) -> None:
        grown, self._grown = self._grown, []
        for each in grown:
            each.callback(None)

    async def _in_time(self, waiting: Deferred[Any], what: str) -> None:
        try:
            await waiting.addTimeout(self._task.seconds, self._clock)
        except Overdue:
            raise self._late(what) from None

    def _late(self, what: str) -> Ending:
        kept = f"; kept, and sent by the next run{what}" if self._client.pending else what
        if self._client.state != "ready":
            return Ending(Exit.UNAVAILABLE, f"the server was not reached in time{kept}")
        return Ending(Exit.TEMPORARY, f"not {self._task.stage} in time{kept}")
