"""How messages, friends, devices and the status are shown."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st
from prompt_toolkit.utils import get_cwidth
from twisted.trial.unittest import SynchronousTestCase

from imd.terminal.rendering import (
    Shown,
    amount,
    bar,
    content,
    device_lines,
    friend_lines,
    json_line,
    passed,
    spoken,
    status_line,
    wrapped,
)


def said(text: str, width: int = 0, ticks: str = "") -> list[str]:
    return list(spoken(Shown("12:00", "bob", text, ticks), width, get_cwidth))


class SpokenTests(SynchronousTestCase):
    """``spoken``."""

    def test_a_message_is_a_line(self) -> None:
        self.assertEqual(said("hi"), ["12:00 bob: hi"])
        self.assertEqual(said("hi", ticks="✓"), ["12:00 bob: hi  ✓"])

    def test_no_text_passes_for_a_message_of_its_own(self) -> None:
        self.assertEqual(said("a\n12:00 al: b"), ["12:00 bob: a", "       12:00 al: b"])
        blanks = said("a" + " " * 70 + "12:00 al: b", 40)
        self.assertEqual([line[:1] for line in blanks], ["1", " "])

    def test_names_are_made_harmless_too(self) -> None:
        self.assertEqual(spoken(Shown("1", "\x1bx", "y"), 0, len), [r"1 \x1bx: y"])

    @given(st.text(), st.integers(20, 200))
    def test_no_line_is_wider_than_asked(self, text: str, width: int) -> None:
        lines = said(text, width)
        self.assertLessEqual(max(map(get_cwidth, lines)), width)
        self.assertTrue(all(line.startswith("  ") for line in lines[1:]))


class WrappedTests(SynchronousTestCase):
    """``wrapped``."""

    def test_it_breaks_at_blanks_or_else_anywhere(self) -> None:
        self.assertEqual(wrapped("one two three", 8, len), ["one two", "three"])
        self.assertEqual(wrapped("onetwothree", 4, len), ["onet", "woth", "ree"])
        self.assertEqual(wrapped("日本語日本語", 5, get_cwidth), ["日本", "語日", "本語"])

    def test_one_character_is_a_row_however_wide(self) -> None:
        self.assertEqual(wrapped("日本", 1, get_cwidth), ["日", "本"])

    @given(st.text(alphabet="ab日 "), st.integers(2, 20))
    def test_only_blanks_are_lost(self, text: str, width: int) -> None:
        joined = "".join(wrapped(text, width, get_cwidth))
        self.assertEqual(joined.replace(" ", ""), text.replace(" ", ""))


class ContentTests(SynchronousTestCase):
    """``content``."""

    def test_whatever_came_is_something_to_show(self) -> None:
        self.assertEqual(content("text", {"text": "hi"}), "hi")
        self.assertEqual(content("text", {"text": 5}), "")
        file = {"name": "a.pdf", "size": 3, "mime": "application/pdf", "text": "look"}
        self.assertEqual(content("file", file), "[file a.pdf, 3 bytes, application/pdf] look")
        self.assertEqual(content("file", {"name": 1}, 7), "[file 7: 1, ? bytes, ?]")
        self.assertEqual(content("erased", {}), "[erased]")
        self.assertEqual(content("dance", {}), "[dance: this version cannot show it]")


class FileTests(SynchronousTestCase):
    """``amount``, ``passed`` and ``bar``."""

    def test_sizes_are_for_people(self) -> None:
        sizes = (0, 999, 1000, 123_456, 5_000_000, 10**12, 10**16, "x")
        shown = ["0 bytes", "999 bytes", "1.0 kB", "123.5 kB", "5.0 MB", "1.0 TB", "10000.0 TB"]
        self.assertEqual([amount(size) for size in sizes], [*shown, "? bytes"])

    def test_progress_is_told_and_empty_files_are_done(self) -> None:
        self.assertEqual(passed("a\x1b", 50, 200), r"a\x1b 25 % of 200 bytes")
        self.assertEqual(passed("a", 0, 0), "a 100 % of 0 bytes")
        self.assertEqual(
            bar("a", 100, 200, 80, len), f"a [{'#' * 10 + '.' * 10}] 50 % of 200 bytes"
        )
        self.assertEqual(bar("a", 0, 0, 80, len), f"a [{'#' * 20}] 100 % of 0 bytes")

    def test_a_long_name_is_cut(self) -> None:
        self.assertLessEqual(len(bar("a" * 300, 1, 2000, 80, len)), 80)


class ListTests(SynchronousTestCase):
    """``friend_lines`` and ``device_lines``."""

    def test_requests_come_first_and_what_is_unknown_not_at_all(self) -> None:
        items = [
            {"name": "bob", "state": "accepted", "display": "Bob"},
            {"name": "carol", "state": "pending", "note": "hi\x1b"},
            {"name": "dave"},
        ]
        self.assertEqual(
            friend_lines(items, {"bob": 120}),
            [
                r"carol            asks for friendship: /accept or /decline, “hi\x1b”",
                "bob              friend, “Bob”, 99+ unread",
            ],
        )

    def test_nobody_is_told_how_to_get_somebody(self) -> None:
        self.assertEqual(friend_lines([], {}), ["nobody yet; /add NAME asks somebody"])

    def test_devices_have_their_number(self) -> None:
        items = [
            {"device": 7, "label": "old\u202e", "seen": 1},
            {"device": 8, "label": "new", "seen": 2, "current": True},
        ]
        self.assertEqual(
            device_lines(items, lambda at: f"t{at}"),
            [r"7  old\u202e, last seen t1", "8  new, last seen t2, this one"],
        )


class StatusTests(SynchronousTestCase):
    """``status_line``."""

    def test_it_shows_what_there_is(self) -> None:
        self.assertEqual(status_line("connecting", "al", "", "", 0, {}), "connecting │ al")
        self.assertEqual(
            status_line("ready", "al", "bob", "✓", 2, {"dave": 1, "carol": 100}),
            "online │ al → bob │ last message: ✓ │ 2 waiting to be sent"
            " │ unread: carol 99+, dave 1",
        )
        moving = status_line("ready", "al", "", "", 0, {}, ["a 5 % of 9 bytes"])
        self.assertEqual(moving, "online │ al │ a 5 % of 9 bytes")


class JsonTests(SynchronousTestCase):
    """``json_line``."""

    @given(st.text())
    def test_it_is_printable_ascii_and_means_the_text(self, text: str) -> None:
        line = json_line({"text": text})
        self.assertTrue(line.isascii())
        self.assertTrue(line.isprintable())
        self.assertEqual(json.loads(line), {"text": text})
