"""Reads a Containerfile: what of the format ours uses, and nothing else."""

from __future__ import annotations

import json
import re
from pathlib import Path

from msgspec import Struct, field

#: Instructions that say something about the image, and do nothing while it is built.
NOTED = ("CMD", "ENTRYPOINT", "EXPOSE", "HEALTHCHECK", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR")
_CHECK = re.compile(r"(?:--\S+ +)*CMD +(\[.*\])")


class Step(Struct, frozen=True):
    """One instruction, with its lines joined."""

    word: str
    rest: str


class Stage(Struct):
    """What one FROM begins: ``base`` is an image or the name of a stage before."""

    base: str
    name: str
    steps: list[Step] = field(default_factory=list)

    def last(self, word: str) -> str:
        """What the last instruction of a kind says."""
        return [step.rest for step in self.steps if step.word == word][-1]

    def words(self, word: str) -> list[str]:
        """The same of one in the form that needs no shell."""
        said: list[str] = json.loads(self.last(word))
        return said

    @property
    def environment(self) -> dict[str, str]:
        """All of ENV."""
        said = " ".join(step.rest for step in self.steps if step.word == "ENV")
        return dict(pair.split("=", 1) for pair in said.split())

    @property
    def check(self) -> list[str]:
        """The command of HEALTHCHECK."""
        found = _CHECK.fullmatch(self.last("HEALTHCHECK"))
        assert found, "HEALTHCHECK with a command that needs no shell"
        words: list[str] = json.loads(found[1])
        return words


def read(path: Path) -> list[Stage]:
    """The stages of a file.  Raises ``ValueError`` for an instruction that ours does not use."""
    lines = [line for line in path.read_text("utf-8").splitlines() if not line.startswith("#")]
    text = re.sub(r"\\\n\s*", "", "\n".join(lines))
    stages: list[Stage] = []
    for line in filter(None, text.splitlines()):
        word, _, rest = line.partition(" ")
        if word == "FROM":
            base, _, name = rest.partition(" AS ")
            stages.append(Stage(base, name))
        elif word in ("RUN", "COPY", "ENV", *NOTED):
            stages[-1].steps.append(Step(word, rest))
        else:
            raise ValueError(f"{word} is not known here")
    return stages
