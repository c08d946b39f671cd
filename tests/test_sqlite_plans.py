"""How SQLite goes about the statements that grow with the number of conversations."""

from __future__ import annotations

import sqlite3

from twisted.trial.unittest import SynchronousTestCase

from imd.storage.database import schema
from imd.storage.sqlite_reads import _HEADS


class PlanTests(SynchronousTestCase):
    def test_a_page_of_heads_reads_one_page_and_sorts_nothing(self) -> None:
        db = sqlite3.connect(":memory:")
        self.addCleanup(db.close)
        for script in schema():
            db.executescript(script)
        rows = db.execute(f"EXPLAIN QUERY PLAN {_HEADS}", (1, 0, -1, None, 200))
        plan = [step for *_, step in rows]
        self.assertIn("SEARCH m USING INDEX member_user (user=? AND conversation>?)", plan[0])
        self.assertFalse([step for step in plan if "TEMP B-TREE" in step])
