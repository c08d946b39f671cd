"""Many rows in one statement."""

from __future__ import annotations

import sqlite3

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from imd.storage.rows import LONGEST, change, chunks, lookup


class RowsTests(SynchronousTestCase):
    """Lists of VALUES."""

    @given(st.integers(0, 3 * LONGEST), st.integers(1, 3))
    def test_all_rows_are_there_in_order_in_few_lengths(self, count: int, width: int) -> None:
        rows = [tuple(range(n, n + width)) for n in range(count)]
        found = list(chunks(rows))
        self.assertEqual([v for _, part in found for v in part], [v for row in rows for v in row])
        for values, parameters in found:
            length = len(parameters) // width
            self.assertEqual(values, ",".join(["(" + ",".join("?" * width) + ")"] * length))
            self.assertLessEqual(length, LONGEST)
            self.assertEqual(length & (length - 1), 0, "no power of two")

    def test_change_and_lookup_take_any_number_of_rows(self) -> None:
        db = sqlite3.connect(":memory:")
        self.addCleanup(db.close)
        db.execute("CREATE TABLE t (k INTEGER, v TEXT)")
        query = (
            "SELECT json_group_array(json_array(t.k, t.v)) "
            "FROM (VALUES {values}) AS i JOIN t ON t.k = i.column1"
        )
        for count in 0, 1, LONGEST, LONGEST + 1, 3 * LONGEST - 1:
            db.execute("DELETE FROM t")
            rows = [[n, f"text {n}"] for n in range(count)]
            change(db, "INSERT INTO t VALUES {values}", rows)
            self.assertEqual(sorted(lookup(db, query, [(n,) for n in range(count)])), rows)
            self.assertEqual(lookup(db, query, [(-1,)]), [])
