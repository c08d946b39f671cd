"""The verbs of scenarios that judge: what the client has to do, and what it must not."""

from __future__ import annotations

import contextlib
from typing import Any

from imd.conformance import verbs
from imd.conformance.delays import Delays, bound
from imd.conformance.script import match
from imd.conformance.server import Session
from imd.conformance.stage import Stage
from imd.conformance.verbs import Verb
from imd.conformance.waiting import Broken

#: Protocol seconds within which something has to happen, unless the scenario says.
WITHIN = 5.0
#: Lower bounds are missed by so much at most, since clocks are not the same.
EARLY = 0.9
#: Frames that may come at any time: passed over unless they are what is expected.
PASSING = frozenset(("mark", "ping", "call", "history"))
#: Real seconds that a machine may add to a delay of R9.
LATE = 0.5


def kind_of(frame: dict[str, Any]) -> str:
    """The type of a frame; a ``fetch`` that repairs nothing is ``history``."""
    return "history" if frame["type"] == "fetch" and "after" not in frame else frame["type"]


def in_time(stage: Stage, times: dict[str, float] | None, what: str) -> None:
    """It happened now; was that not too early?"""
    after = (times or {}).get("after", 0.0) * EARLY
    if passed(stage) < after:
        raise Broken(f"{what} after {passed(stage):.2f} s, which is too early")


def passed(stage: Stage) -> float:
    """Protocol seconds since the server or the driver was last told to do something."""
    return (stage.pace.now() - stage.last) / stage.pace.scale


async def connect(
    stage: Stage, pattern: dict[str, Any] | None = None, times: dict[str, float] | None = None
) -> None:
    """The client connects and says a ``hello`` that is like the pattern."""
    session = await _connection(stage, (times or {}).get("within", WITHIN))
    in_time(stage, times, "the client connects")
    stage.session = session
    hello = await stage.pace.until(lambda: _next(session), WITHIN, "hello")
    _bind(stage, {**(pattern or {}), "type": "hello"}, hello)
    stage.bound |= {"hello": hello, "req": hello["req"]}


async def _connection(stage: Stage, within: float) -> Session:
    what = "the client connects"
    if stage.starting:
        session = await stage.pace.patient(lambda: _fresh(stage), what)
        stage.starting = False
        return session
    return await stage.pace.until(lambda: _fresh(stage), within, what)


def _fresh(stage: Stage) -> Session | None:
    while stage.fresh:
        session = stage.fresh.pop(0)
        if not session.gone or session.frames:
            return session
    return None


def _next(session: Session) -> dict[str, Any] | None:
    return session.frames.pop(0) if session.frames else None


def _bind(stage: Stage, pattern: Any, value: Any) -> None:
    found = match(pattern, value, stage.bound)
    if found is None:
        raise Broken(f"expected {pattern}, and there came {value}")
    stage.bound |= found


async def admit(
    stage: Stage, pattern: dict[str, Any] | None = None, times: dict[str, float] | None = None
) -> None:
    """``connect``, ``welcome`` and ``heads``."""
    await connect(stage, pattern, times)
    stage.say(
        stage.welcome(stage.bound["req"], {}, "password" in stage.bound["hello"]),
        stage.heads(stage.bound["req"], stage.bound["hello"].get("since")),
    )


async def expect(
    stage: Stage, pattern: dict[str, Any], times: dict[str, float] | None = None
) -> None:
    """The next frame is like the pattern; of those that may come at any time, the next such."""
    kind, session = kind_of(pattern), verbs.session_of(stage)

    def look() -> dict[str, Any] | None:
        for frame in session.frames:
            like = match(pattern, frame, stage.bound) is not None
            if like or not (kind_of(frame) in PASSING or kind in PASSING):
                session.frames.remove(frame)
                return frame
        if session.gone:
            raise Broken(f"the connection ended before {kind} came")
        return None

    frame = await stage.pace.until(look, (times or {}).get("within", WITHIN), str(pattern))
    _bind(stage, pattern, frame)
    in_time(stage, times, str(pattern))
    stage.bound["frame"] = frame
    if "req" in frame:
        stage.bound["req"] = frame["req"]


async def none(stage: Stage, kinds: list[str], seconds: float) -> None:
    """No such frame comes for so long, nor has come unexpected."""
    session = verbs.session_of(stage)

    def look() -> dict[str, Any] | None:
        return next((each for each in session.frames if kind_of(each) in kinds), None)

    found = await stage.pace.never(look, seconds)
    if found is not None:
        raise Broken(f"this must not come: {found}")


async def at_most(stage: Stage, count: int, kind: str, seconds: float) -> None:
    """No more than ``count`` such frames come in so long, those counted that wait already."""
    session = verbs.session_of(stage)

    def look() -> int | None:
        came = sum(kind_of(frame) == kind for frame in session.frames)
        return came if came > count else None

    if await stage.pace.never(look, seconds) is not None:
        raise Broken(f"more than {count} of {kind} in {seconds:g} s")


async def seldom(stage: Stage, pattern: dict[str, Any], seconds: float) -> None:
    """Such frames come until one is like the pattern, and no more than one in ``seconds``.

    They are counted from when something was last done: however late they come, and however
    many at once, there was time for so many since then.
    """
    kind, session, came = kind_of(pattern), verbs.session_of(stage), 0

    def look() -> dict[str, Any] | None:
        nonlocal came
        for frame in [each for each in session.frames if kind_of(each) == kind]:
            session.frames.remove(frame)
            came += 1
            if came - 1 > passed(stage) / (seconds * EARLY):
                raise Broken(f"{came} of {kind} in {passed(stage):.2f} s")
            if match(pattern, frame, stage.bound) is not None:
                return frame
        return None

    await stage.pace.until(look, WITHIN, str(pattern))


async def lost(stage: Stage, times: dict[str, float]) -> None:
    """The client ends the connection by itself, or makes another one."""
    session = verbs.session_of(stage)

    def look() -> bool | None:
        return session.gone or bool(stage.fresh) or None

    await stage.pace.until(look, times["within"], "the client gives up the connection")
    in_time(stage, times, "the client gives up the connection")


async def away(stage: Stage, seconds: float) -> None:
    """The client does not connect for so long."""
    if await stage.pace.never(lambda: bool(stage.fresh) or None, seconds) is not None:
        raise Broken(f"the client connected after {passed(stage):.2f} s")


async def backoff(stage: Stage) -> None:
    """Lose the connection, and do not admit the client, until its delays are certain (R9)."""
    delays = Delays(LATE / stage.pace.scale)
    while not delays.certain:
        await verbs.drop(stage)
        await connect(stage, None, {"within": bound(delays.count)})
        delays.add(passed(stage))
        if delays.fault is not None:
            raise Broken(delays.fault)


async def shown(stage: Stage, conv: int, *seqs: int) -> None:
    """What the client has shown of a conversation since it started, exactly."""
    wanted = list(seqs)

    def look() -> bool | None:
        came = stage.shown.get(conv, [])
        return True if len(came) >= len(wanted) else None

    with contextlib.suppress(Broken):
        await stage.pace.until(look, WITHIN, "shown")
    if stage.shown.get(conv, []) != wanted:
        raise Broken(f"shown of {conv}: {stage.shown.get(conv, [])}, and not {wanted}")


async def shown_range(stage: Stage, conv: int, first: int, last: int) -> None:
    """As ``shown``, for all from ``first`` to ``last``."""
    await shown(stage, conv, *range(first, last + 1))


async def report(stage: Stage, pattern: dict[str, Any]) -> None:
    """The driver reports something like the pattern."""

    def look() -> dict[str, Any] | None:
        for each in stage.reports:
            if match(pattern, each, stage.bound) is not None:
                stage.reports.remove(each)
                return each
        return None

    _bind(stage, pattern, await stage.pace.until(look, WITHIN, f"the report {pattern}"))


async def stored(stage: Stage, conv: int, pattern: dict[str, Any]) -> None:
    """What the client has stored is like the pattern soon; it is asked until it is."""
    end = stage.pace.now() + WITHIN * stage.pace.scale + stage.pace.slack
    while True:
        stage.tell({"do": "stored", "conv": conv})
        told = await stage.pace.until(lambda: stage.take({"stored"}), WITHIN, "what is stored")
        if match({"stored": pattern}, told, stage.bound) is not None:
            return
        if stage.pace.now() > end:
            raise Broken(f"stored is {told['stored']}, and not {pattern}")
        await verbs.wait(stage, 0.5)


async def silent(stage: Stage, names: list[str], seconds: float) -> None:
    """The driver makes no report of these names for so long, nor has it."""

    def look() -> dict[str, Any] | None:
        return next((each for each in stage.reports if each.keys() & set(names)), None)

    found = await stage.pace.never(look, seconds)
    if found is not None:
        raise Broken(f"this must not be reported: {found}")


CHECKS: dict[str, Verb] = {
    "connect": connect,
    "admit": admit,
    "expect": expect,
    "none": none,
    "at-most": at_most,
    "seldom": seldom,
    "lost": lost,
    "away": away,
    "backoff": backoff,
    "shown": shown,
    "shown-range": shown_range,
    "report": report,
    "stored": stored,
    "silent": silent,
}
