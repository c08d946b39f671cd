"""How a client that keeps the rules is judged on a machine that has other things to do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from twisted.internet import reactor

from imd.conformance.play import Kit
from imd.conformance.script import Scenario

#: Real seconds of a protocol second.  A busy machine holds a process up for longer than the first:
#: the client then misses a bound of its own, or meets one of the server's.  What it does wrong it
#: does at any scale, so the second one decides, where a second of lateness is but two.
QUICK, SLOW = 0.05, 0.5


def client_kit(command: Sequence[str], scale: float, static: Path | None = None) -> Kit:
    """Plays against a client that is given time."""
    return Kit(reactor, command, scale=scale, slack=15.0, static=static)


async def assert_keeps(quick: Kit | None, slow: Kit, scenario: Scenario) -> None:
    """The client does what the scenario wants; what it did wrong is in the message if not.

    ``quick`` is None where the quick scale is too quick for the client.  ``slow`` is stopped.
    """
    try:
        if quick is not None and not (await quick.play(scenario)).faults:
            return
        assert (await slow.play(scenario)).faults == ()
    finally:
        await slow.stop()
