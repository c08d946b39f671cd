"""What bytes prove to be, and the names that files are handed out under."""

from __future__ import annotations

from urllib.parse import unquote

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from imd.media import disposition, media_of


class MediaTests(SynchronousTestCase):
    def test_first_bytes_decide(self) -> None:
        for head, media in {
            b"\x89PNG\r\n\x1a\n....": "image/png",
            b"\xff\xd8\xff\xe0": "image/jpeg",
            b"GIF87a": "image/gif",
            b"GIF89a<script>": "image/gif",
            b"RIFF....WEBPVP8 ": "image/webp",
            b"\0\0\0\x18ftypmp42....": "video/mp4",
            b"\0\0\0\x20ftypisom....": "video/mp4",
            b"%PDF-1.7\n": "application/pdf",
        }.items():
            self.assertEqual(media_of(head), media)

    def test_all_else_is_not_shown(self) -> None:
        for head in (
            *(b"", b"<svg>", b"<html>", b"<?xml ", b"\x89PNG", b"RIFF....WAVE", b" %PDF-1.7"),
            *(b"\0\0\0\x18ftypqt  ", b"\0\0\0\x18mp42....", b"GIF88a", b"BM......", b"PK\3\4"),
        ):
            self.assertEqual(media_of(head), "", head)


class DispositionTests(SynchronousTestCase):
    def test_plain_name_is_as_it_is(self) -> None:
        self.assertEqual(
            disposition("a b-1.txt", False),
            "attachment; filename=\"a b-1.txt\"; filename*=UTF-8''a%20b-1.txt",
        )
        self.assertTrue(disposition("x", True).startswith("inline; "))

    @given(st.text(st.characters(exclude_categories=("Cs",)), max_size=50))
    def test_any_name_comes_back_and_nothing_gets_out(self, name: str) -> None:
        header = disposition(name, False)
        self.assertTrue(header.isascii() and header.isprintable())
        plain, _, extended = header.partition("; filename*=UTF-8''")
        self.assertEqual(unquote(extended), name)
        self.assertEqual(plain.count('"'), 2)
        self.assertNotIn("/", plain)
        self.assertNotIn("\\", plain)
        self.assertNotIn(";", extended)
