"""Playing scenarios, and saying what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from msgspec import Struct

from imd.conformance.checks import CHECKS
from imd.conformance.script import Scenario, ScriptError, Step, filled, parse
from imd.conformance.stage import Stage
from imd.conformance.subject import Subject
from imd.conformance.verbs import VERBS
from imd.conformance.waiting import Broken, Pace

#: Verbs whose values are patterns: their variables are bound, not filled in.
_PATTERNS = frozenset(("connect", "admit", "expect", "seldom", "report"))


class Verdict(Struct, frozen=True):
    """How a scenario ended: no ``faults`` is a pass.  ``seconds`` are real ones."""

    scenario: Scenario
    faults: tuple[str, ...]
    seconds: float


def scenarios() -> list[Scenario]:
    """All scenarios that come with imd, by name."""
    folder = resources.files("imd.conformance") / "scenarios"
    files = sorted((each for each in folder.iterdir()), key=lambda each: each.name)
    texts = [(each.name, each.read_text("utf-8")) for each in files if each.name.endswith(".txt")]
    return [each for name, text in texts for each in parse(name.removesuffix(".txt"), text)]


class Kit:
    """Plays scenarios against one driver, which lives as long as it behaves."""

    def __init__(
        self,
        reactor: Any,
        command: Sequence[str],
        scale: float = 1.0,
        slack: float = 2.0,
        static: Path | None = None,
    ) -> None:
        """``command`` starts the driver; ``static`` is served at ``/static/``.

        A protocol second takes ``scale`` real ones, for the server and for the client;
        upper bounds of time are longer by ``slack`` real seconds.
        """
        self._reactor = reactor
        self._command = command
        self._pace = Pace(reactor, scale, slack)
        self._static = static
        self._subject: Subject | None = None

    async def play(self, scenario: Scenario) -> Verdict:
        """Play one scenario."""
        began = self._pace.now()
        stage = Stage(self._reactor, self._pace, self._static)
        stage.bound |= scenario.bound
        faults: list[str] = []
        try:
            await stage.start(self._command, self._subject)
            for step in scenario.steps:
                await self._step(stage, scenario, step)
        except Broken as broken:
            faults.append(str(broken))
        finally:
            self._subject = await stage.finish()
        faults += stage.watch.faults
        return Verdict(scenario, tuple(faults), self._pace.now() - began)

    async def _step(self, stage: Stage, scenario: Scenario, step: Step) -> None:
        verb = VERBS.get(step.verb) or CHECKS.get(step.verb)
        where = f"{scenario.name}:{step.line}"
        if verb is None:
            raise ScriptError(f"{where}: no such verb: {step.verb}")
        values = step.values
        if step.verb not in _PATTERNS:
            values = tuple(
                filled(value, stage.bound | {"token": stage.logs.token}) for value in values
            )
        try:
            await verb(stage, *values)
        except Broken as broken:
            raise Broken(f"{where}: {step.verb}: {broken}") from None

    async def stop(self) -> None:
        """End the driver."""
        subject, self._subject = self._subject, None
        if subject is not None and subject.alive:
            await subject.kill()
