"""How a line that was typed is read."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from imd.terminal.acts import ACTS
from imd.terminal.grammar import (
    COMMANDS,
    Line,
    Misread,
    candidates,
    manual,
    number,
    path_typed,
    read,
)

NAMES = ("bob", "bill", "carol")


class ReadTests(SynchronousTestCase):
    """``read``."""

    def test_every_command_is_carried_out_by_something(self) -> None:
        self.assertEqual(set(COMMANDS), set(ACTS))

    def test_nothing_is_nothing(self) -> None:
        for line in ("", "  ", "\n"):
            self.assertIsNone(read(line))

    def test_a_text_is_taken_as_it_is(self) -> None:
        self.assertEqual(read("  hi /to bob "), Line("", "  hi /to bob "))

    def test_two_slashes_are_a_text_with_one(self) -> None:
        self.assertEqual(read("//to bob"), Line("", "/to bob"))

    def test_a_command_and_its_argument(self) -> None:
        self.assertEqual(read("/TO  bob "), Line("to", "bob"))
        self.assertEqual(read("/add bob let us talk"), Line("add", "bob let us talk"))
        self.assertEqual(read("/history"), Line("history", ""))
        self.assertEqual(read("/display"), Line("display", ""))

    def test_what_cannot_be_understood_is_explained(self) -> None:
        wrong = {
            "/dance": "no such command",
            "/": "no such command",
            "/quit now": "takes nothing more",
            "/to": "usage: /to NAME",
            "/to bob carol": "usage: /to NAME",
            "/revoke": "usage: /revoke DEVICE",
            "/revoke 1 2": "usage: /revoke DEVICE",
        }
        for line, why in wrong.items():
            error = self.assertRaises(Misread, read, line)
            self.assertIn(why, str(error))

    @given(st.text())
    def test_any_line_is_read_or_explained(self, line: str) -> None:
        try:
            found = read(line)
        except Misread:
            self.assertTrue(line.startswith("/"))
        else:
            self.assertTrue(found is not None or not line.strip())


class NumberTests(SynchronousTestCase):
    """``number``."""

    def test_a_count_has_a_default_and_a_bound(self) -> None:
        self.assertEqual([number(text, 20, 200) for text in ("", "5", "999")], [20, 5, 200])

    def test_what_is_no_count_is_refused(self) -> None:
        for text in ("0", "-1", "x", "²", "٣"):
            self.assertRaises(Misread, number, text, 20, 200)


class CandidateTests(SynchronousTestCase):
    """``candidates``."""

    def test_texts_are_not_completed(self) -> None:
        self.assertEqual(candidates("hello b", NAMES), ())

    def test_commands_are(self) -> None:
        self.assertEqual(candidates("/de", NAMES), ["/decline", "/devices"])
        self.assertEqual(len(candidates("/", NAMES)), len(COMMANDS))

    def test_names_are_after_a_command_that_takes_one(self) -> None:
        self.assertEqual(candidates("/to B", NAMES), ["bill", "bob"])
        self.assertEqual(candidates("/block ", NAMES), ["bill", "bob", "carol"])

    def test_nothing_else_is(self) -> None:
        for line in ("/history b", "/nonsense b", "/add bob b"):
            self.assertEqual(candidates(line, NAMES), ())


class PathTests(SynchronousTestCase):
    """``path_typed``."""

    def test_a_path_is_what_stands_where_one_belongs(self) -> None:
        typed = {"/file ": "", "/file  a b": "a b", "/FILE ~/x": "~/x", "/save 3 d/": "d/"}
        for line, path in typed.items():
            self.assertEqual(path_typed(line), path)

    def test_elsewhere_there_is_none(self) -> None:
        for line in ("", "file x", "/file", "/to x", "/save", "/save 3", "/save  x", "//file x"):
            self.assertIsNone(path_typed(line))


class ManualTests(SynchronousTestCase):
    """``manual``."""

    def test_it_names_every_command(self) -> None:
        text = "\n".join(manual())
        for name, command in COMMANDS.items():
            self.assertIn(f"/{name} {command.takes}", text)
            self.assertIn(command.help, text)
