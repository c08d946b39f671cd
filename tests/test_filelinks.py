"""Signed links: nobody makes one, changes one, or uses one for another file or too late."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from imd.filelinks import LENGTH, Reader, read, sign

SECRET, OTHER = b"s" * 32, b"t" * 32
ME = Reader(2**52 - 1, 7)
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


class LinkTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.link = sign(SECRET, 5, ME, 1000)

    def test_it_says_for_whom_it_is(self) -> None:
        self.assertEqual(len(self.link), LENGTH)
        self.assertEqual(read(SECRET, 5, self.link, 999), ME)

    def test_it_expires(self) -> None:
        self.assertIsNone(read(SECRET, 5, self.link, 1000))

    def test_it_is_for_one_file_and_one_secret(self) -> None:
        self.assertIsNone(read(SECRET, 6, self.link, 0))
        self.assertIsNone(read(SECRET, 50, self.link, 0))
        self.assertIsNone(read(OTHER, 5, self.link, 0))

    def test_no_character_can_be_changed(self) -> None:
        # The last one has four bits, and two that are nothing.
        for place in range(LENGTH - 1):
            other = LETTERS[(LETTERS.index(self.link[place]) + 1) % 64]
            changed = self.link[:place] + other + self.link[place + 1 :]
            self.assertIsNone(read(SECRET, 5, changed, 0), place)

    def test_what_is_no_link_is_none(self) -> None:
        for text in (
            "",
            "x",
            self.link + "A",
            self.link[:-1],
            "\xe9" * LENGTH,
            "=" * LENGTH,
            "A" + "!" * (LENGTH - 1),
            "!" * 75,
        ):
            self.assertIsNone(read(SECRET, 5, text, 0), text)
