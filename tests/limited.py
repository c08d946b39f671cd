"""Which test proves which limit, so that a limit without a test is noticed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any, TypeVar

Test = TypeVar("Test", bound=Callable[..., Any])

#: Fields of ``imd.limits.Limits`` to the tests that prove them.
TESTS: dict[str, list[str]] = defaultdict(list)


def limits(*fields: str) -> Callable[[Test], Test]:
    """A test that proves these limits."""

    def enter(test: Test) -> Test:
        for field in fields:
            TESTS[field].append(test.__qualname__)
        return test

    return enter
