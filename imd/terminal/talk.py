"""What ``imd chat`` does with what comes from the server and from the keyboard."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from msgspec import to_builtins
from twisted.internet.defer import Deferred
from twisted.logger import Logger

from imd.client import Client, Disconnected, LoginFailed, Message, Refused
from imd.client.system import new_id
from imd.decoding import BadValue, decode_file
from imd.tasks import sleep, spawn
from imd.terminal import acts, grammar
from imd.terminal.codes import Exit
from imd.terminal.escapes import visible
from imd.terminal.grammar import COMMANDS, Misread
from imd.terminal.mine import Mine, Outgoing
from imd.terminal.paths import path_candidates
from imd.terminal.rendering import MANY, Shown, content, counted, spoken, status_line
from imd.terminal.screen import Screen
from imd.terminal.transfers import Transfers
from imd.wire import FileBody

#: Messages shown when a conversation is opened.
PAGE = 20
#: Seconds that leaving waits for messages to be sent: at a keyboard, and in a script.
HURRIED, PATIENT = 2.0, 30.0
#: Characters of a message of another conversation that are shown.
PREVIEW = 60

_log = Logger()


class Talk:
    """One person with one client at one screen."""

    def __init__(self, client: Client, user: str, first: str | None) -> None:
        """``first`` is whom to talk to at once."""
        self.client = client
        self.user = user
        self.screen: Screen
        #: The conversation that is open; what is typed goes there.
        self.open: int | None = None
        #: The smallest seq that is on the screen, by conversation.
        self.oldest: dict[int, int] = {}
        self.logged_out = False
        self.leaving = False
        self._first = None if first is None else first.lower()
        #: Conversations whose last messages are being read, to be shown then.
        self._opening: set[int] = set()
        self._unread: dict[int, int] = {}
        self._names: set[str] = set()
        self._asked: set[str] = set()
        self.transfers = Transfers(client, lambda: self.screen.refresh())
        self._mine = Outgoing(client, self._changed, self._refused)
        #: Ids of messages that this run has shown when they were typed.
        self._typed: set[str] = set()
        self._told = ""
        client.on_message(self._message)
        client.on_receipt(self._receipt)
        client.on_event(self._event)
        client.on_state(self._state)
        client.on_withdrawn(self._withdrawn)

    # -- running

    async def run(self) -> int:
        """Read and carry out lines until the person, or the client, has had enough."""
        screen = self.screen
        self.client.finished().addCallback(lambda _: screen.close())
        self._mine.restore()
        for conversation in self.client.conversations:
            self._count(conversation)
        if screen.patient:
            await self._arrived()
        else:
            self.note("/help lists the commands")
        first = Deferred.fromCoroutine(self._begin())
        if screen.patient:
            await first
        while not self.leaving:
            line = await screen.read()
            if line is None:
                break
            await self._take(line)
        await self._leave()
        await screen.flushed()
        return Exit.OK

    async def _arrived(self) -> None:
        try:
            await self.client.ready().addTimeout(PATIENT, self.client.reactor)
        except Exception as error:
            self.note(f"not connected: {error}")

    async def _begin(self) -> None:
        """Open what was asked for on the command line, unless another was opened meanwhile."""
        if self._first is None:
            return
        if self.client.conversation_with(self._first) is None:
            await self._arrived()
        if self.open is None:
            await self.handle(f"/to {self._first}")

    async def _take(self, line: str) -> None:
        """Carry out a line; a person goes on typing meanwhile."""
        word = line[1:].strip().partition(" ")[0].lower() if line.startswith("/") else ""
        asks = word in COMMANDS and COMMANDS[word].asks
        if self.screen.patient or asks or word in ("quit", "logout"):
            await self.handle(line)
        else:
            spawn(self.handle(line), _log, "a command")

    async def _leave(self) -> None:
        """Give what is pending a moment; the rest goes out at the next start."""
        self.transfers.stop()
        clock = self.client.reactor
        end = clock.seconds() + (PATIENT if self.screen.patient else HURRIED)
        while self.client.pending and self.client.state == "ready" and clock.seconds() < end:
            await sleep(clock, 0.05)
        if self.client.pending:
            self.note(f"{self.client.pending} not sent yet; kept, and sent at the next start")

    # -- lines

    async def handle(self, typed: str) -> None:
        """Carry out one line; whatever is wrong with it is shown."""
        try:
            line = grammar.read(typed)
            if line is None:
                return
            if not line.command:
                self._say(line.argument)
            elif COMMANDS[line.command].online and self.client.state != "ready":
                self.note(f"/{line.command}: not connected, try again later")
            else:
                await acts.ACTS[line.command](self, line.argument)
        except Misread as error:
            self.note(str(error))
        except Refused as error:
            self.note(f"refused: {error}")
        except Disconnected:
            self.note("the connection ended; nobody knows whether that was done")
        except LoginFailed:
            self.screen.close()

    def _say(self, text: str) -> None:
        """Send a text to the open conversation; it is kept before this returns to the reactor."""
        text = text.encode("utf-8", "replace").decode()
        self._send(Mine(new_id(), self.receiver(), text, int(time.time() * 1000)))

    def receiver(self) -> int:
        """The conversation that is open; raises ``Misread`` if none is."""
        if self.open is None:
            raise Misread("to whom? /to NAME")
        return self.open

    def post(self, conversation: int, file: FileBody) -> None:
        """Send a file that was uploaded, although another conversation may be open by now."""
        text = content("file", to_builtins(file), self.transfers.number(file))
        self._send(Mine(new_id(), conversation, text, int(time.time() * 1000), file=file))

    def _send(self, mine: Mine) -> None:
        self._typed.add(mine.id)
        self._mine.send(mine)
        if mine.conversation == self.open and self.open not in self._opening:
            self._show(self._shown(mine.at, "me", mine.text))

    def _content(self, message: Message) -> str:
        """What to show of a message; a file can be named by its number from then on."""
        number = None
        if message.kind == "file":
            with suppress(BadValue):
                number = self.transfers.number(decode_file(message.body))
        return content(message.kind, message.content, number)

    def _refused(self, mine: Mine, error: Refused) -> None:
        name = self.name_of(mine.conversation)
        self.note(f"NOT SENT to {name}: {error}: {_short(mine.text)}")

    # -- conversations

    def enter(self, conversation: int) -> None:
        """Open a conversation: from now on texts go there; its last messages are shown."""
        self.open = conversation
        self._told = ""
        spawn(self._enter(conversation), _log, "opening a conversation")

    async def _enter(self, conversation: int) -> None:
        self._opening.add(conversation)
        try:
            mine = self.client.conversations[conversation]
            older = await self.older(conversation, mine.have + 1, PAGE)
        finally:
            self._opening.discard(conversation)
        if self.open == conversation:
            self.note(f"conversation with {self.name_of(conversation)}")
            top = older[-1].seq if older else 0
            self.show_messages([*older, *self.client.store.messages(conversation, top)])
            for waiting in self._mine.waiting(conversation):
                self._show(self._shown(waiting.at, "me", waiting.text, "pending"))
            self._changed()

    async def older(self, conversation: int, before: int, count: int) -> Sequence[Message]:
        """Up to ``count`` messages below ``before``: those stored here, else the server's."""
        mine = self.client.conversations[conversation]
        after = max(mine.base, before - 1 - count)
        stored = self.client.store.messages(conversation, after, count)
        rows = [message for message in stored if message.seq < before]
        first = rows[0].seq if rows else before
        if len(rows) == count or first <= mine.floor or self.client.state != "ready":
            return rows
        try:
            return await self.client.history(conversation, before, count)
        except (Refused, Disconnected) as error:
            self.note(f"older messages cannot be read now: {error}")
            return rows

    def show_messages(self, messages: Sequence[Message], live: bool = False) -> None:
        """Show messages of the open conversation; they are read with that.

        Of old ones of mine it is shown how far they have come by now.
        """
        for message in messages:
            mine = message.sender == self.client.me
            name = "me" if mine else self.name_of(message.conversation, message.sender)
            stage = self.client.status(message) if mine and not live else ""
            text = self._content(message)
            self._show(self._shown(message.at, name, text, stage))
            seen = self.oldest.get(message.conversation, message.seq)
            self.oldest[message.conversation] = min(seen, message.seq)
            if mine:
                self._mine.seen(message, text)
        if messages:
            self.client.read(messages[-1])
            self._count(messages[-1].conversation)

    def name_of(self, conversation: int, user: int | None = None) -> str:
        """The name of the other member, or of a certain one."""
        known = self.client.conversations.get(conversation)
        for peer in () if known is None else known.peers:
            if user is None or peer.user == user:
                return peer.name
        return "?"

    def _count(self, conversation: int) -> None:
        mine = self.client.conversations[conversation]
        rows = self.client.store.messages(conversation, mine.read, MANY + 1)
        # On a new installation some may lie below what is stored here.
        older = max(0, mine.base - mine.read)
        self._unread[conversation] = older + sum(m.sender != self.client.me for m in rows)

    def unread(self) -> Mapping[str, int]:
        """Names with unread messages."""
        return {self.name_of(each): n for each, n in self._unread.items() if n}

    def knows(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """The friend list: names to complete, and requests that nobody has seen."""
        self._names = {str(entry["name"]) for entry in entries}
        for entry in entries:
            if entry.get("state") == "pending":
                self._request(str(entry["name"]), str(entry.get("note", "")))

    def _request(self, name: str, note: str) -> None:
        if name not in self._asked:
            self._asked.add(name)
            words = f": “{note}”" if note else ""
            self.note(f"{name} asks for friendship{words}; /accept {name} or /decline {name}")

    # -- what comes

    def _message(self, message: Message) -> None:
        if message.id in self._typed:
            self._typed.discard(message.id)
        elif message.conversation == self.open:
            if self.open not in self._opening:
                self.show_messages([message], live=True)
        elif message.sender != self.client.me:
            self._count(message.conversation)
            name = self.name_of(message.conversation)
            count = counted(self._unread[message.conversation])
            text = _short(self._content(message))
            self.note(f"{name} ({count} unread): {text}")
        self._changed()

    def _receipt(self, receipt: Any) -> None:
        if receipt.user == self.client.me:
            self._count(receipt.conversation)
        self._changed()

    async def _event(self, name: str, data: Any) -> None:
        other = str(data.get("name", "?"))
        if name == "friend.requested":
            self._names.add(other)
            self._request(other, str(data.get("note", "")))
        elif name == "friend.accepted":
            self._asked.discard(other)
            self._names.add(other)
            self.note(f"you and {other} are friends; /to {other}")
        elif name == "friend.removed":
            self._asked.discard(other)
            self.note(f"you and {other} are not friends, or a request has ended")

    async def _state(self, state: str) -> None:
        if not self.screen.painted and state in ("ready", "waiting"):
            self.note("online" if state == "ready" else "offline, trying again")
        self.screen.refresh()
        if state == "ready":
            with suppress(Refused):
                self.knows(await self.client.friends.list())

    def _withdrawn(self, withdrawn: Any) -> None:
        name = self.name_of(withdrawn.conversation)
        self.note(f"the server was restored: messages of {name} after {withdrawn.above} are gone")

    # -- the screen

    def note(self, text: str) -> None:
        """Show a line that is no message."""
        self.screen.show([visible(text)], faint=True)

    def list(self, lines: Sequence[str]) -> None:
        """Show lines that were made by ``imd.terminal.rendering``."""
        self.screen.show(lines)

    def _shown(self, at: int, name: str, text: str, stage: str = "") -> Shown:
        ticks = self.screen.ticks[stage] if stage else ""
        then, now = time.localtime(at / 1000), time.localtime()
        today = then[:3] == now[:3]
        return Shown(time.strftime("%H:%M" if today else "%Y-%m-%d %H:%M", then), name, text, ticks)

    def _show(self, shown: Shown) -> None:
        self.screen.show(spoken(shown, self.screen.width, self.screen.cells))

    def _changed(self) -> None:
        """Tell how far my last message got: the status line does, or else a line of its own."""
        stage = self._stage()
        if not self.screen.painted and stage not in ("", self._told):
            self.screen.show([stage], faint=True)
        self._told = stage
        self.screen.refresh()

    def _stage(self) -> str:
        stage = self._mine.stage(self.open)
        return self.screen.ticks[stage] if stage else ""

    # -- Sources

    def prompt(self) -> str:
        """See ``Sources``."""
        return "> " if self.open is None else f"{visible(self.name_of(self.open))}> "

    def status(self) -> str:
        """See ``Sources``."""
        other = "" if self.open is None else self.name_of(self.open)
        client = self.client
        me = client.name or self.user
        return status_line(
            client.state,
            me,
            other,
            self._stage(),
            client.pending,
            dict(self.unread()),
            self.transfers.moving(),
        )

    def candidates(self, line: str) -> Sequence[str]:
        """See ``Sources``."""
        path = grammar.path_typed(line)
        if path is not None:
            before = len(path) - len(path.rpartition(" ")[2])
            return [each[before:] for each in path_candidates(path)]
        peers = {p.name for c in self.client.conversations.values() for p in c.peers}
        return grammar.candidates(line, self._names | peers)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= PREVIEW else line[: PREVIEW - 1] + "…"
