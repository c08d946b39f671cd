"""Ranges of bytes: what is understood, what is ignored, what cannot be had."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from imd.ranges import Unsatisfiable, number, sent, wanted


class WantedTests(SynchronousTestCase):
    """``Range``."""

    def test_one_range_is_cut_to_what_there_is(self) -> None:
        for header, span in {
            "bytes=0-0": (0, 1),
            "bytes=2-5": (2, 6),
            "bytes=9-": (9, 10),
            "bytes=9-99": (9, 10),
            "bytes=-3": (7, 10),
            "bytes=-99": (0, 10),
            "Bytes = 1-2 ": (1, 3),
        }.items():
            self.assertEqual(wanted(header, 10), span, header)

    def test_behind_the_end_is_nothing(self) -> None:
        for header, size in (
            ("bytes=10-", 10),
            ("bytes=10-11", 10),
            ("bytes=-0", 10),
            ("bytes=0-", 0),
        ):
            with self.assertRaises(Unsatisfiable, msg=header):
                wanted(header, size)

    def test_whatever_else_it_is_it_is_ignored(self) -> None:
        for header in (
            *(None, "", "bytes", "bytes=", "bytes=-", "bytes=5", "lines=0-1", "bytes=5-4"),
            *("bytes=a-b", "bytes=0-1,3-4", "bytes=-1-2", "bytes=0-x", "bytes=-x", "bytes=+1-2"),
            *("bytes=\u0661-", "bytes=1_0-", "bytes=" + "9" * 99 + "-", "bytes=0x1-2"),
        ):
            self.assertIsNone(wanted(header, 10), header)


class SentTests(SynchronousTestCase):
    """``Content-Range``."""

    def test_it_says_where_the_bytes_belong(self) -> None:
        self.assertEqual(sent("bytes 0-9/10"), (0, 10, 10))
        self.assertEqual(sent(" Bytes 3-3/10 "), (3, 4, 10))

    def test_what_makes_no_sense_is_none(self) -> None:
        for header in (
            *("", "bytes", "bytes 0-9", "bytes 0-9/*", "bytes */10", "lines 0-9/10", "bytes 9/10"),
            *("bytes 5-4/10", "bytes 0-10/10", "bytes a-9/10", "bytes 0-b/10", "bytes 0-9/c"),
        ):
            self.assertIsNone(sent(header), header)

    def test_number_is_decimal_digits(self) -> None:
        self.assertEqual([number(t) for t in ("0", "007", "9" * 16)], [0, 7, 9999999999999999])
        for text in "", "-1", "+1", "1.0", " 1", "1e3", "9" * 17, "\u0661":
            self.assertIsNone(number(text), text)
