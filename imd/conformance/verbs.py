"""The verbs of scenarios: what the server does, and what the client is told to do."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from imd.conformance.logs import ELSEWHERE, ME
from imd.conformance.server import Session
from imd.conformance.stage import Stage
from imd.conformance.waiting import Broken
from imd.tasks import sleep

Verb = Callable[..., Awaitable[None]]


async def conversation(stage: Stage, fields: dict[str, Any], text: list[str] | None = None) -> None:
    """Make a conversation, or change it; ``text`` is appended, a message for each."""
    stage.logs.change(**fields)
    for each in text or ():
        stage.logs.append(fields["conv"], each)


async def fill(stage: Stage, conv: int, count: int) -> None:
    """Append ``count`` messages of the other member, and say nothing."""
    for number in range(count):
        stage.logs.append(conv, f"text {number}")


async def elsewhere(stage: Stage, conv: int, text: str) -> None:
    """Another device of the same user appends a message."""
    stage.logs.append(conv, text, **{"from": ME, "device": ELSEWHERE})


async def commit(stage: Stage, id: str) -> None:
    """Commit a message of the client, and say nothing."""
    stage.logs.commit(stage.watch.sends[id])


async def ack(stage: Stage, id: str) -> None:
    """Commit a message of the client if it is not, and acknowledge it."""
    stage.acknowledge(stage.watch.sends[id])


async def epoch(stage: Stage, name: str) -> None:
    """The server was restored: tokens of before mean nothing any more."""
    stage.logs.epoch = name
    stage.watch.installation()


async def auto(stage: Stage, fields: dict[str, bool]) -> None:
    """What the server answers by itself from now on."""
    stage.auto.update(fields)


async def limits(stage: Stage, fields: dict[str, int]) -> None:
    """Limits for the next ``welcome``."""
    stage.limits.update(fields)


async def settings(stage: Stage, fields: dict[str, Any]) -> None:
    """``heartbeat`` of the next welcome, ``page`` (items that a fetch brings at most), and
    ``refusal``: the code with which each fetch is refused.
    """
    stage.settings.update(fields)


# -- what the server sends


async def frame(stage: Stage, *frames: dict[str, Any]) -> None:
    """Send frames as they are, in one message."""
    stage.say(*frames)


async def raw(stage: Stage, text: str) -> None:
    """Send a message as it is."""
    session_of(stage).write(text)


async def push(stage: Stage, conv: int, *seqs: int) -> None:
    """Push messages of a log, each in a message of its own, in this order."""
    for seq in seqs:
        stage.say(stage.logs.msg(conv, seq))


async def push_range(stage: Stage, conv: int, first: int, last: int) -> None:
    """Push all messages from ``first`` to ``last``."""
    await push(stage, conv, *range(first, last + 1))


async def welcome(stage: Stage, fields: dict[str, Any] | None = None) -> None:
    """Welcome the client whose ``hello`` has come."""
    token = "password" in stage.bound["hello"]
    stage.say(stage.welcome(stage.bound["req"], fields or {}, token))


async def heads(stage: Stage, fields: dict[str, Any] | None = None) -> None:
    """All heads that changed since the client's token; ``fields`` replace parts."""
    answer = stage.heads(stage.bound["req"], stage.bound["hello"].get("since"))
    answer |= fields or {}
    stage.say({name: value for name, value in answer.items() if value is not None})


async def pages(stage: Stage) -> None:
    """As ``heads``, one conversation a page."""
    answer = stage.heads(stage.bound["req"], stage.bound["hello"].get("since"))
    *items, last = answer["items"]
    for item in items:
        stage.say({"type": "heads", "req": answer["req"], "items": [item], "done": False})
    stage.say({**answer, "items": [last]})


async def answer(stage: Stage) -> None:
    """Answer the ``fetch`` that was expected last."""
    stage.say(stage.logs.run(stage.bound["frame"], stage.settings["page"]))


# -- how the server behaves otherwise


async def close(stage: Stage, code: int, reason: str = "") -> None:
    """Close the connection with a code."""
    session = session_of(stage)
    stage.last = stage.pace.now()
    session.shut(code, reason)
    await stage.pace.until(lambda: session.gone or None, 5, "the client answers a close frame")


async def drop(stage: Stage) -> None:
    """End the connection without a goodbye."""
    stage.last = stage.pace.now()
    session_of(stage).drop()


async def hang(stage: Stage) -> None:
    """The connection stays open, and nobody is there."""
    stage.last = stage.pace.now()
    session_of(stage).hang()


async def refuse(stage: Stage, refuses: bool) -> None:
    """While true, connections end at once."""
    stage.port.refuses = refuses


async def wait(stage: Stage, seconds: float) -> None:
    """Let protocol seconds pass."""
    await sleep(stage.reactor, seconds * stage.pace.scale)


# -- the client


async def start(stage: Stage) -> None:
    """Start the client."""
    stage.open()


async def crash(stage: Stage) -> None:
    """Kill the client; ``start`` starts it again with what it has stored."""
    session = stage.session
    await stage.crash()
    if session is not None and not session.gone:
        session.drop()


async def client(stage: Stage, order: dict[str, Any]) -> None:
    """Tell the driver to do something."""
    stage.last = stage.pace.now()
    stage.tell(order)


def session_of(stage: Stage) -> Session:
    """The connection that the scenario talks to."""
    if stage.session is None:
        raise Broken("there is no connection")
    return stage.session


VERBS: dict[str, Verb] = {
    "conversation": conversation,
    "fill": fill,
    "elsewhere": elsewhere,
    "commit": commit,
    "ack": ack,
    "epoch": epoch,
    "auto": auto,
    "limits": limits,
    "settings": settings,
    "frame": frame,
    "raw": raw,
    "push": push,
    "push-range": push_range,
    "welcome": welcome,
    "heads": heads,
    "pages": pages,
    "answer": answer,
    "close": close,
    "drop": drop,
    "hang": hang,
    "refuse": refuse,
    "wait": wait,
    "start": start,
    "crash": crash,
    "client": client,
}
