"""Run the campaign for many seeds: ``python -m tests.campaign --seeds 1-200``.

One line for each seed.  Exits 1 if there was a violation; the histories, tables and logs of
such a run are kept in the directory that is named.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from imd.ops import monotonic

monotonic.install()

from tests.campaign.evidence import Evidence, save  # noqa: E402 - they install the reactor
from tests.campaign.place import Engines  # noqa: E402
from tests.campaign.plan import FAULTS, Sizes, plan  # noqa: E402
from tests.campaign.run import Campaign, Outcome  # noqa: E402
from tests.campaign.variants import VARIANTS  # noqa: E402
from tests.process import reactor  # noqa: E402


def main(argv: list[str]) -> int:
    """Run all seeds; the exit code."""
    options = _options(argv)
    engines = Engines(*options.postgres)
    engines.start()
    outcomes: list[Outcome] = []
    failed: list[Any] = []

    async def all_seeds() -> None:
        for seed in seeds(options.seeds):
            outcomes.append(await one(seed, options, engines))
            outcomes[-1].evidence = Evidence([], [], [], [])

    def begin() -> None:
        done = Deferred.fromCoroutine(all_seeds())
        done.addErrback(failed.append)
        done.addCallback(lambda _: reactor.stop())

    reactor.callWhenRunning(begin)
    try:
        reactor.run()
    finally:
        engines.close()
    for failure in failed:
        print(failure.getTraceback(), file=sys.stderr)
    print(summary(outcomes))
    return 1 if failed or any(outcome.violations for outcome in outcomes) else 0


async def one(seed: str, options: argparse.Namespace, engines: Engines) -> Outcome:
    """Run one seed and tell of it."""
    outcome = await Campaign(plan(seed, _sizes(options)), engines, options.variant).run()
    print(line(outcome), flush=True)
    if outcome.violations:
        where = Path(options.keep or tempfile.gettempdir(), f"imd-campaign-{seed}")
        save(outcome.evidence, where)
        text = "\n".join(map(str, outcome.violations))
        (where / "violations").write_text(text)
        print(f"  kept in {where}")
        for violation in outcome.violations[:10]:
            print(f"  {str(violation)[:500]}", flush=True)
    return outcome


def line(outcome: Outcome) -> str:
    """A run on one line."""
    faults = " ".join(f"{kind}×{n}" for kind, n in sorted(outcome.faults.items()))
    phases = " ".join(f"{phase} {took:.0f}" for phase, took in outcome.seconds.items())
    return (
        f"seed {outcome.seed}: {outcome.faults.total()} faults"
        f" ({outcome.amid} amid messages), {outcome.messages} messages,"
        f" {outcome.acked} acked, {len(outcome.violations)} violations,"
        f" {sum(outcome.seconds.values()):.0f} s ({phases}), {outcome.repairs} repairs,"
        f" connected after {outcome.reconnected:.1f} s, converged {outcome.converged:.1f} s"
        f" later [{faults}]"
    )


def summary(outcomes: list[Outcome]) -> str:
    """All runs together."""
    faults: Counter[str] = Counter()
    for outcome in outcomes:
        faults.update(outcome.faults)
    bad = [outcome.seed for outcome in outcomes if outcome.violations]
    lines = [
        f"{len(outcomes)} seeds, {sum(o.messages for o in outcomes)} messages,"
        f" {faults.total()} faults, {len(bad)} seeds with violations: {', '.join(bad) or 'none'}"
    ]
    lines += [f"  {kind}: {n}" for kind, n in sorted(faults.items())]
    return "\n".join(lines)


def seeds(text: str) -> Iterator[str]:
    """``1-3,7`` is 1, 2, 3, 7."""
    for part in text.split(","):
        first, _, last = part.partition("-")
        yield from map(str, range(int(first), int(last or first) + 1))


def _sizes(options: argparse.Namespace) -> Sizes:
    return Sizes(
        options.users,
        options.devices,
        options.messages,
        60.0 * options.minutes,
        options.every,
        options.peace,
        options.careful,
        tuple(options.only),
        options.each,
        options.quiet,
    )


def _options(argv: list[str]) -> argparse.Namespace:
    default = Sizes()
    parser = argparse.ArgumentParser(prog="python -m tests.campaign", description=__doc__)
    parser.add_argument("--seeds", default="1", help="1-200, or 1,5,9")
    parser.add_argument("--users", type=int, default=default.users)
    parser.add_argument("--devices", type=int, default=default.devices, help="of each user")
    parser.add_argument("--messages", type=int, default=default.messages)
    parser.add_argument("--minutes", type=float, default=default.seconds / 60)
    parser.add_argument("--every", type=float, default=default.every, help="seconds to a fault")
    parser.add_argument("--peace", type=float, default=default.peace, help="to a quarrel")
    parser.add_argument("--careful", type=int, default=default.careful, help="users to a loss")
    parser.add_argument("--only", nargs="*", default=[], choices=list(FAULTS), metavar="KIND")
    parser.add_argument("--each", action="store_true", help="every kind at least once")
    parser.add_argument("--quiet", action="store_true", help="wait until sweeps find nothing")
    parser.add_argument("--variant", default="", choices=["", *VARIANTS], help="a broken server")
    parser.add_argument("--postgres", nargs="*", default=[], help="settings, as fsync=off")
    parser.add_argument("--keep", default="", help="where to keep runs with violations")
    return parser.parse_args(argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
