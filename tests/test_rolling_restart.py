"""The short form of ``python -m tests.rolling_restart``."""

from __future__ import annotations

import pytest

from tests.rolling_restart import measured


@pytest.mark.limit(600)
async def test_restarts_of_everything_lose_nothing_and_everybody_is_back() -> None:
    result = await measured(rounds=2, pairs=4)
    assert len(result.codes) == 8
    # How soon they are back is up to the machine too; the command holds them to it.
    result.check(back=60.0)
