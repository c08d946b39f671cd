"""Names that others give to files, and what is saved under them."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from imd.terminal.attach import Attachment, attachments
from imd.terminal.codes import Ending, Exit
from imd.terminal.escapes import visible
from imd.terminal.filenames import numbered, safe_name


class SafeNameTests(SynchronousTestCase):
    """``safe_name``."""

    def test_usual_names_stay_as_they_are(self) -> None:
        for name in ("a.txt", "Rechnung März.pdf", "写真 (2).jpg", "👍.png", "a.tar.gz"):
            self.assertEqual(safe_name(name), name)

    def test_a51_nothing_is_a_path_hidden_or_an_option(self) -> None:
        names = {
            "../../etc/passwd": "__.._etc_passwd",
            "/etc/passwd": "_etc_passwd",
            "C:\\x.exe": "C__x.exe",
            ".bashrc": "_bashrc",
            "-rf": "_rf",
            "a\0b": "a_b",
            "x\u202egnp.exe": "x_gnp.exe",
            "a\r\nb": "a__b",
            "\x1b[2J": "_[2J",
            "a.txt. .": "a.txt",
            "a" + "\u0300" * 9: "a" + "\u0300" * 4,
        }
        for name, safe in names.items():
            self.assertEqual(safe_name(name), safe)

    def test_what_has_no_name_gets_one(self) -> None:
        for name in ("", ".", "..", "...", " ", "/", "\u202e", "-"):
            self.assertEqual(safe_name(name), "file")

    def test_long_names_are_cut_before_their_extension(self) -> None:
        self.assertEqual(safe_name("é" * 250 + ".jpeg"), "é" * 97 + ".jpeg")
        self.assertEqual(len(safe_name("a." + "b" * 250)), 200)

    @given(st.text())
    def test_any_name_is_one_that_a_directory_takes(self, name: str) -> None:
        safe = safe_name(name)
        self.assertEqual(os.path.basename(safe), safe)
        self.assertEqual(visible(safe), safe)
        self.assertNotIn(safe[0], "-. ")
        self.assertLessEqual(len(safe.encode()), 200)
        self.assertEqual(safe_name(safe), safe)


class NumberedTests(SynchronousTestCase):
    """``numbered``."""

    def test_the_number_stands_before_the_extension(self) -> None:
        self.assertEqual(numbered("a.txt", 1), "a.txt")
        self.assertEqual(numbered("a.txt", 2), "a (2).txt")
        self.assertEqual(numbered("README", 3), "README (3)")


class AttachmentTests(SynchronousTestCase):
    """``attachments``."""

    def test_a_file_has_the_name_of_its_path_unless_it_is_given_one(self) -> None:
        self.assertEqual(attachments(["/a/b.c", "d"], None, None)[0], Attachment("/a/b.c", "b.c"))
        self.assertEqual(attachments(["-"], "x", "text"), (Attachment("-", "x"),))

    def test_what_cannot_be_meant_is_explained(self) -> None:
        for paths, name, text in ((["a", "b"], "n", None), ([], "n", None), (["-"], "n", "-")):
            error = self.assertRaises(Ending, attachments, paths, name, text)
            self.assertIs(error.code, Exit.USAGE)
