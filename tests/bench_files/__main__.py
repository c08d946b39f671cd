"""``python -m tests.bench_files [--store s3] [--connectors 2]``: the proof of file transfer."""

from __future__ import annotations

import argparse
import os
import secrets
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from imd.ops import monotonic

monotonic.install()

# Whatever imports the reactor has to come after that.
from twisted.internet.defer import Deferred  # noqa: E402
from twisted.internet.task import react  # noqa: E402

from imd.bench.main import environment  # noqa: E402
from tests.bench_files.cargo import MIB  # noqa: E402
from tests.bench_files.figures import MOST_GROWTH, MOST_SENT_MS, Figures  # noqa: E402
from tests.bench_files.places import STORES, place  # noqa: E402
from tests.bench_files.proof import Proof, broken, measured  # noqa: E402


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser("tests.bench_files", description=__doc__)
    parser.add_argument("--store", choices=STORES, default=STORES[0], help="where files are")
    parser.add_argument("--connectors", type=int, default=1, help="several share PostgreSQL [1]")
    parser.add_argument("--mib", type=int, default=1024, help="size of the file [1024]")
    parser.add_argument("--seconds", type=float, default=10, help="of texts without one [10]")
    parser.add_argument("--runs", type=int, default=1, help="measure so many times [1]")
    parser.add_argument("--breaks", type=int, default=10, help="each way; 0 leaves them out [10]")
    parser.add_argument("--seed", type=int, help="of the bytes and the breaks [random]")
    parser.add_argument("--directory", default=tempfile.gettempdir(), help="a disk with room")
    return parser.parse_args(arguments)


async def _main(options: argparse.Namespace) -> bool:
    seed = secrets.randbits(32) if options.seed is None else options.seed
    size, holds = options.mib * MIB, True
    print(environment())
    print(f"{options.connectors} connectors, files in {options.store}; seed {seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="imd-bytes-", dir=options.directory) as bytes_in:
        top = Path(bytes_in)
        for run in range(options.runs):
            async with place(options.store, options.connectors, options.directory) as servers:
                found = await measured(servers, top, size, seed + run, options.seconds)
            holds = _report(found, size) and holds
        if options.breaks:
            async with place(options.store, options.connectors, options.directory) as servers:
                await broken(servers, top, size, seed, options.breaks)
            print(f"{options.breaks} breaks up, {options.breaks} down: sha256 equal both ways")
    return holds


def _report(proof: Proof, size: int) -> bool:
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"load {load}")
    _tell("no file", proof.alone)
    for name, figures in (("up", proof.up), ("down", proof.down)):
        mib = size / MIB
        print(
            f"{name:8} {mib / figures.seconds:.0f} MiB/s, {figures.cpu / mib * 1024:.1f} s of CPU "
            f"a GiB, texts included; memory {figures.rss_before / MIB:.1f} MiB before, "
            f"{figures.rss_greatest / MIB:.1f} at most"
        )
        _tell(name, figures)
    sys.stdout.flush()
    return all(
        figures.growth <= MOST_GROWTH and figures.sent["p99"] <= MOST_SENT_MS
        for figures in (proof.up, proof.down)
    )


def _tell(name: str, figures: Figures) -> None:
    for what, times in (("sent", figures.sent), ("delivered", figures.delivered)):
        line = ", ".join(f"{key} {value:.1f}" for key, value in times.items())
        print(f"{name:8} texts {what:9} {line} ms")


def main(arguments: Sequence[str]) -> None:
    """Show it; ends with 1 where a bar does not hold."""
    options = _parse(arguments)

    async def prove() -> None:
        if not await _main(options):
            sys.exit("a transfer needs too much memory, or texts wait too long for it")

    react(lambda _: Deferred.fromCoroutine(prove()))


if __name__ == "__main__":
    main(sys.argv[1:])
