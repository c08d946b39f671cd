"""How a client that keeps the rules is judged on a machine that has other things to do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from twisted.internet import reactor

from imd.conformance.play import Kit
from imd.conformance.script import Scenario

#: Real seconds of a protocol second.  A busy machine holds a process up for longer than the first:
#: the client then misses a bound of its own, or meets one of the server's.  What it does wrong it
#: does at any scale, so the next one decides, where a second of lateness is but two, and in the
#: end the last, where it is but a fifth.
QUICK, *SLOWER = SCALES = (0.05, 0.5, 5.0)
#: Seconds that a scenario may take at all scales: the longest is one of 30 s, or of many delays.
LIMIT = 1800


def client_kit(command: Sequence[str], scale: float, static: Path | None = None) -> Kit:
    """Plays against a client that is given time."""
    return Kit(reactor, command, scale=scale, slack=60.0, static=static)


async def assert_keeps(
    quick: Kit, command: Sequence[str], scenario: Scenario, static: Path | None = None
) -> None:
    """The client does what the scenario wants; what it did wrong is in the message if not.

    ``quick`` plays at the scale ``QUICK``.
    """
    faults = (await quick.play(scenario)).faults
    for scale in SLOWER if faults else ():
        slower = client_kit(command, scale, static)
        try:
            faults = (await slower.play(scenario)).faults
        finally:
            await slower.stop()
        if not faults:
            break
    assert faults == ()
