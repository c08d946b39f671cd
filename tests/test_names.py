"""Names and labels: what is accepted, and in which form it is kept."""

from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from imd.errors import Code, Refusal
from imd.names import LABEL_LENGTH, label, login_name


class LoginNameTests(SynchronousTestCase):
    """1 to 32 of ``a-z 0-9 . _ -``, case-folded."""

    def refused(self, text: str) -> None:
        with self.assertRaises(Refusal, msg=ascii(text)) as caught:
            login_name(text)
        self.assertEqual(caught.exception.code, Code.BAD_REQUEST)
        self.assertTrue(caught.exception.message.isprintable())

    def test_names_are_kept_case_folded(self) -> None:
        self.assertEqual(login_name("Alice.B_c-9"), "alice.b_c-9")
        self.assertEqual(login_name("x" * 32), "x" * 32)
        self.assertEqual(login_name("0"), "0")

    def test_too_short_and_too_long(self) -> None:
        self.refused("")
        self.refused("x" * 33)

    def test_whatever_could_mean_something_elsewhere_is_refused(self) -> None:
        for text in [
            *("admin\r\nfoo", "admin\n", "\nadmin", "\x1b[31mred", "a\0b", "a b", " a", "a\t"),
            *("*)(uid=*", "' OR 1=1--", "../../x", "a/b", "a\\b", "a@b", "a:b", "%s", "<b>"),
        ]:
            self.refused(text)

    def test_homoglyphs_and_other_scripts_are_refused(self) -> None:
        for text in [
            "\u0430dmin",
            "admın",
            "ａdmin",
            "admin\u200b",
            "á",
            "a\u0301",
            "\u0661",
            "straße!",
        ]:
            self.refused(text)

    def test_folding_reaches_only_ascii_by_known_ways(self) -> None:
        # The Kelvin sign folds to k and ß to ss: the account is the one with the folded name.
        self.assertEqual(login_name("\u212a"), "k")
        self.assertEqual(login_name("ß"), "ss")

    @given(st.text())
    def test_what_is_accepted_is_kept_as_it_is_from_then_on(self, text: str) -> None:
        try:
            name = login_name(text)
        except Refusal:
            return
        self.assertTrue(name.isascii())
        self.assertEqual(login_name(name), name)

    @given(st.text("abcxyz0189._-", min_size=1, max_size=32))
    def test_every_name_of_the_alphabet_is_accepted(self, text: str) -> None:
        self.assertEqual(login_name(text), text)
        self.assertEqual(login_name(text.upper()), text)


class LabelTests(SynchronousTestCase):
    """Free text for one line."""

    def refused(self, text: str) -> str:
        with self.assertRaises(Refusal, msg=ascii(text)) as caught:
            label(text, "display")
        self.assertEqual(caught.exception.code, Code.BAD_REQUEST)
        return caught.exception.message

    def test_text_is_kept_in_nfc_without_spaces_around_it(self) -> None:
        self.assertEqual(label("  Ame\u0301lie 🦊\n", "display"), "Am\u00e9lie 🦊")
        self.assertEqual(label("", "display"), "")

    def test_length_counts_after_composing(self) -> None:
        self.assertEqual(label("e\u0301" * LABEL_LENGTH, "display"), "\u00e9" * LABEL_LENGTH)
        self.assertEqual(self.refused("x" * (LABEL_LENGTH + 1)), "display: at most 64 characters")
        with self.assertRaises(Refusal):
            label("xxxx", "note", 3)

    def test_controls_and_line_breaks_are_refused(self) -> None:
        for c in "\0\x07\x1b\r\n\t\x7f\x85\u2028\u2029\ue000\ud800\U000e0fff":
            self.assertIn("no control", self.refused(f"a{c}b"))

    def test_changes_of_direction_are_refused(self) -> None:
        for c in "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069":
            self.assertIn("direction", self.refused(f"a{c}b"))

    def test_joiners_of_emoji_and_scripts_are_kept(self) -> None:
        for text in ["👩\u200d🚀", "می\u200cخواهم", "O'Neil & <Söhne>"]:
            self.assertEqual(label(text, "display"), text)

    @given(st.text(max_size=80))
    def test_what_is_accepted_stays_on_one_line(self, text: str) -> None:
        try:
            kept = label(text, "display")
        except Refusal:
            return
        self.assertLessEqual(len(kept), LABEL_LENGTH)
        self.assertLessEqual(len(kept.splitlines()), 1)
        self.assertTrue(unicodedata.is_normalized("NFC", kept))
        self.assertEqual(label(kept, "display"), kept)
