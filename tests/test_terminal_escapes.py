"""Text of others never controls a terminal."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from imd.terminal.escapes import MARKS, escape, visible


class VisibleTests(SynchronousTestCase):
    """``visible``."""

    def test_what_can_be_read_is_left_alone(self) -> None:
        for text in ("", "plain text", "Grüße", "日本語", "👩\u200d💻", "a\u0301", "می\u200cخواهم"):
            self.assertEqual(visible(text), text)

    def test_what_a_terminal_would_obey_is_shown_as_an_escape(self) -> None:
        shown = {
            "\x1b[2J": r"\x1b[2J",
            "\x07\x00\x7f": r"\x07\x00\x7f",
            "\x9b31m": r"\x9b31m",
            "a\nb\rc": r"a\x0ab\x0dc",
            "\u2028\u2029": r"\u2028\u2029",
            "\u202eexe": r"\u202eexe",
            "\u2066\u061c\ufeff": r"\u2066\u061c\ufeff",
            "\ud800": r"\ud800",
            "\U000e0041": r"\U000e0041",
        }
        for text, expected in shown.items():
            self.assertEqual(visible(text), expected)

    def test_a_tab_is_blanks(self) -> None:
        self.assertEqual(visible("a\tb"), "a    b")

    def test_marks_above_one_another_are_few(self) -> None:
        self.assertEqual(visible("a" + "\u0300" * 99 + "b"), "a" + "\u0300" * MARKS + "b")

    @given(st.text())
    def test_nothing_that_hides_or_controls_is_left(self, text: str) -> None:
        left = {unicodedata.category(c) for c in visible(text) if c not in "\u200c\u200d"}
        self.assertEqual(left & {"Cc", "Cf", "Cs", "Zl", "Zp", "Co", "Cn"}, set())

    @given(st.characters())
    def test_an_escape_is_what_python_would_read(self, character: str) -> None:
        self.assertEqual(escape(character).encode().decode("unicode_escape"), character)
