"""The command ``imd conformance``."""

from __future__ import annotations

import argparse
import fnmatch
import sys
from itertools import groupby
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from imd.conformance.play import Kit, Verdict, scenarios
from imd.conformance.script import Scenario

#: The client that is tested unless another is named.
PYTHON = (sys.executable, "-m", "imd.conformance.python_driver")


def main(argv: list[str]) -> int:
    """Run; 0 if the client passed, 1 if it did not, 2 for a wrong option."""
    options = _parse(argv)
    chosen = [each for each in scenarios() if fnmatch.fnmatch(each.name, options.only)]
    if options.list:
        sys.stdout.writelines(f"{each.rule:4} {each.name:32} {each.title}\n" for each in chosen)
        return 0
    from twisted.internet import reactor

    outcome: list[int] = []

    def end(result: Any) -> None:
        if isinstance(result, int):
            outcome.append(result)
        else:
            result.printTraceback(sys.stderr)
        if reactor.running:
            reactor.stop()

    def begin() -> None:
        Deferred.fromCoroutine(_run(options, chosen, reactor)).addBoth(end)

    reactor.callWhenRunning(begin)
    reactor.run()
    return outcome[0] if outcome else 1


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("imd conformance", description=__doc__)
    parser.add_argument("driver", nargs="*", help="the driver's command; else the Python client's")
    parser.add_argument("--only", default="*", metavar="GLOB", help="scenarios by name, as 'r3-*'")
    parser.add_argument("--list", action="store_true", help="list the scenarios")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="real seconds of a protocol second [1]"
    )
    parser.add_argument(
        "--slack", type=float, default=2.0, help="real seconds that a client may be late [2]"
    )
    parser.add_argument("--static", type=Path, help="a directory to serve at /static/")
    return parser.parse_args(argv)


async def _run(options: argparse.Namespace, chosen: list[Scenario], reactor: Any) -> int:
    kit = Kit(reactor, options.driver or PYTHON, options.scale, options.slack, options.static)
    verdicts = []
    try:
        for scenario in chosen:
            verdicts.append(await kit.play(scenario))
            _say(verdicts[-1])
    finally:
        await kit.stop()
    _summary(verdicts)
    return 1 if not verdicts or any(verdict.faults for verdict in verdicts) else 0


def _say(verdict: Verdict) -> None:
    scenario = verdict.scenario
    word = "FAIL" if verdict.faults else "pass"
    line = (
        f"{word}  {scenario.rule:4} {scenario.name:32} {verdict.seconds:6.1f} s  {scenario.title}"
    )
    sys.stdout.write("\n      ".join([line, *verdict.faults]) + "\n")
    sys.stdout.flush()


def _summary(verdicts: list[Verdict]) -> None:
    def rule(verdict: Verdict) -> str:
        return verdict.scenario.rule

    for name, group in groupby(sorted(verdicts, key=rule), rule):
        each = list(group)
        failed = sum(bool(verdict.faults) for verdict in each)
        sys.stdout.write(f"{name:4} {len(each) - failed} of {len(each)} passed\n")
