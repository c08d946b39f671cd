"""The parts of the proof."""

from __future__ import annotations

from pathlib import Path

from msgspec import Struct

from imd.tasks import sleep
from tests.bench_files.cargo import Cargo, points
from tests.bench_files.figures import Figures, Texts
from tests.bench_files.places import Place
from tests.process import reactor

#: Seconds of texts before anything is measured.
WARM_UP = 2.0


class Proof(Struct):
    """Texts by themselves, and beside a file on its way up, and down."""

    alone: Figures
    up: Figures
    down: Figures


async def measured(place: Place, top: Path, size: int, seed: int, seconds: float) -> Proof:
    """Move a file, and measure."""
    cargo = Cargo(place, top, size, seed)
    await cargo.login()
    texts = Texts(place.subject)
    await texts.start()
    await sleep(reactor, min(WARM_UP, seconds))
    alone = await texts.beside(lambda: sleep(reactor, seconds))
    file = await cargo.slot()
    up = await texts.beside(lambda: cargo.upload(file))
    down = await texts.beside(lambda: cargo.fetch(file))
    await texts.stop()
    return Proof(alone, up, down)


async def broken(place: Place, top: Path, size: int, seed: int, breaks: int) -> None:
    """Move a file that breaks off so often each way, and is whole in the end."""
    cargo = Cargo(place, top, size, seed)
    await cargo.login()
    file = await cargo.slot()
    await cargo.upload_in_pieces(file, points(size, seed, breaks))
    came = await cargo.fetch_in_pieces(file, points(size, seed + 1, breaks))
    assert came == cargo.sha256, f"{came} came, {cargo.sha256} was sent"
