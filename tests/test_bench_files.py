"""The short form of ``python -m tests.bench_files``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench_files.cargo import MIB
from tests.bench_files.figures import MOST_GROWTH
from tests.bench_files.places import place
from tests.bench_files.proof import broken, measured


@pytest.mark.limit(240)
async def test_file_goes_up_and_down_beside_texts_and_is_whole_after_breaks(
    tmp_path: Path,
) -> None:
    async with place("directory", 1, str(tmp_path)) as servers:
        proof = await measured(servers, tmp_path, 12 * MIB, seed=1, seconds=0.2)
        for figures in (proof.up, proof.down):
            assert figures.growth <= MOST_GROWTH
            assert figures.seconds > 0 < figures.cpu
        await broken(servers, tmp_path, 12 * MIB, seed=1, breaks=2)
