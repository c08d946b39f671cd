"""The commands of ``imd chat``, one function each; see ``imd.terminal.grammar`` for the list."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from imd.client import Disconnected, LoginFailed
from imd.tasks import sleep
from imd.terminal import grammar
from imd.terminal.grammar import Misread
from imd.terminal.rendering import device_lines, friend_lines

if TYPE_CHECKING:
    from imd.terminal.talk import Talk

Act = Callable[["Talk", str], Coroutine[Any, Any, None]]

#: Messages that ``/history`` shows, usually and at most.
PAGE, MOST = 20, 200
#: Seconds that a script waits for a conversation to be found.
FOUND_SECONDS = 2.0


async def _to(talk: Talk, name: str) -> None:
    conversation = talk.client.conversation_with(name.lower())
    clock = talk.client.reactor
    end = clock.seconds() + FOUND_SECONDS
    while conversation is None and talk.screen.patient and clock.seconds() < end:
        # A friendship of this moment: its conversation comes with the next sync.
        await sleep(clock, 0.05)
        conversation = talk.client.conversation_with(name.lower())
    if conversation is None:
        raise Misread(f"no conversation with {name}; /add {name} asks for friendship")
    talk.enter(conversation)


async def _history(talk: Talk, argument: str) -> None:
    count = grammar.number(argument, PAGE, MOST)
    if talk.open is None:
        raise Misread("no conversation is open; /to NAME")
    known = talk.client.conversations[talk.open]
    rows = await talk.older(talk.open, talk.oldest.get(talk.open, known.have + 1), count)
    talk.note(f"{len(rows)} older messages" if rows else "there is nothing older")
    talk.show_messages(rows)


async def _file(talk: Talk, path: str) -> None:
    conversation = talk.receiver()
    if not talk.screen.painted:
        talk.note(f"sending {path}")
    body = await talk.transfers.send(path)
    talk.post(conversation, body)


async def _save(talk: Talk, argument: str) -> None:
    number, _, where = argument.partition(" ")
    body = talk.transfers.body(grammar.number(number, 0, 2**31))
    saved = await talk.transfers.save(body, where.strip() or ".")
    talk.note(f"{body.name} was saved as {saved}")


async def _friends(talk: Talk, argument: str) -> None:
    items = await talk.client.friends.list()
    talk.list(friend_lines(items, talk.unread()))
    talk.knows(items)


async def _who(talk: Talk, name: str) -> None:
    found = await talk.client.call("user.find", user=name)
    items = [item for item in await talk.client.friends.list() if item["user"] == found["user"]]
    if items:
        talk.list(friend_lines(items, talk.unread()))
    else:
        display = found.get("display")
        talk.note(f"{found['name']}, “{display}”" if display else found["name"])


async def _add(talk: Talk, argument: str) -> None:
    name, _, note = argument.partition(" ")
    entry = await talk.client.friends.add(name, note.strip() or None)
    if entry.get("state") == "accepted":
        talk.note(f"you and {entry['name']} are friends; /to {entry['name']}")
    else:
        talk.note(f"{entry['name']} was asked")


def _friend(method: str, done: str) -> Act:
    async def act(talk: Talk, name: str) -> None:
        entry = await getattr(talk.client.friends, method)(name)
        talk.note(f"{entry['name']}: {done}")

    return act


async def _display(talk: Talk, text: str) -> None:
    account = await talk.client.call("account.update", display=text)
    shown = account.get("display")
    talk.note(f"others see “{shown}”" if shown else "others see your name only")


async def _devices(talk: Talk, argument: str) -> None:
    items = (await talk.client.call("device.list"))["items"]
    talk.list(device_lines(items, _day))


def _day(at: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(at / 1000))


async def _revoke(talk: Talk, argument: str) -> None:
    device = grammar.number(argument, 0, 2**53 - 1)
    await talk.client.call("device.revoke", device=device)
    talk.note(f"device {device} is logged out")


async def _password(talk: Talk, argument: str) -> None:
    given = []
    for prompt in ("old password: ", "new password: ", "new password once more: "):
        answer = await talk.screen.ask(prompt)
        if not answer:
            raise Misread("the password was not changed")
        given.append(answer)
    if given[1] != given[2]:
        raise Misread("the two are not the same; the password was not changed")
    await talk.client.call("account.password", old=given[0], new=given[1])
    talk.note("the password was changed, and all other devices are logged out")


async def _logout(talk: Talk, argument: str) -> None:
    # The server may close before its answer has come; the device is gone either way.
    with suppress(Disconnected, LoginFailed):
        await talk.client.call("account.logout")
    talk.logged_out = talk.leaving = True


async def _help(talk: Talk, argument: str) -> None:
    talk.list(grammar.manual())


async def _quit(talk: Talk, argument: str) -> None:
    talk.leaving = True


ACTS: Mapping[str, Act] = {
    "to": _to,
    "history": _history,
    "file": _file,
    "save": _save,
    "friends": _friends,
    "who": _who,
    "add": _add,
    "accept": _friend("accept", "accepted"),
    "decline": _friend("decline", "declined"),
    "remove": _friend("remove", "removed"),
    "block": _friend("block", "blocked"),
    "unblock": _friend("unblock", "no longer blocked; friendship has to be asked for again"),
    "display": _display,
    "devices": _devices,
    "revoke": _revoke,
    "password": _password,
    "logout": _logout,
    "help": _help,
    "quit": _quit,
}
