"""The dashboard, the alerts and the manual speak of figures that exist, and of all that do."""

from __future__ import annotations

import json
import re

from imd.ops.metrics import Figure
from imd.watched import COMMON, CONNECTOR
from tests.process import ROOT

FIGURES = (*COMMON, *CONNECTOR)
DASHBOARD = json.loads((ROOT / "etc" / "grafana.json").read_text("utf-8"))
RULES = (ROOT / "etc" / "prometheus-rules.yml").read_text("utf-8")
MANUAL = (ROOT / "docs" / "operations.rst").read_text("utf-8")
#: Shown nowhere but in the manual: the version, and sizes that say little by themselves.
PLAIN = {"imd_info", "imd_reactor_lag_last_seconds", "imd_timers"}
PLAIN |= {f"imd_closed_{what}_{way}" for what in ("frames", "bytes") for way in ("in", "out")}


def samples(figure: Figure) -> set[str]:
    """The names that a query may use."""
    if figure.kind == "histogram":
        return {f"{figure.name}_{end}" for end in ("bucket", "sum", "count")}
    return {figure.name + ("_total" if figure.kind == "counter" else "")}


def used(text: str) -> set[str]:
    """Names of ours in a query."""
    return set(re.findall(r"\bimd_[a-z_]+", text))


EXPRESSIONS = [t["expr"] for panel in DASHBOARD["panels"] for t in panel["targets"]]
ALERTS = re.findall(r"^ +expr: (.+)$", RULES, re.MULTILINE)
EXISTING = {name for figure in FIGURES for name in samples(figure)}


def test_every_query_is_of_figures_that_exist() -> None:
    assert len(ALERTS) == RULES.count("- alert: ")
    for query in (*EXPRESSIONS, *ALERTS):
        assert used(query) <= EXISTING, query
        assert query.count("(") == query.count(")"), query


def test_every_figure_is_shown_or_is_not_worth_it() -> None:
    shown = used(" ".join(EXPRESSIONS))
    missing = {figure.name for figure in FIGURES if not samples(figure) & shown}
    assert missing == PLAIN
    assert "process_resident_memory_bytes" in " ".join(EXPRESSIONS)


def test_panels_have_a_title_and_a_place_of_their_own() -> None:
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in DASHBOARD["panels"]]
    assert len(set(places)) == len(places)
    assert all(panel["title"] for panel in DASHBOARD["panels"])


def test_the_manual_has_every_figure_with_its_meaning() -> None:
    rows = dict(re.findall(r"^``(imd_\w+)``\n    \w+\.  (.+)$", MANUAL, re.MULTILINE))
    assert rows == {figure.name: figure.text for figure in FIGURES}
