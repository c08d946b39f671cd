"""What the bytes of a file are, and under which name they are handed out."""

from __future__ import annotations

from urllib.parse import quote

#: Bytes from the start of a file that are looked at.
HEAD_BYTES = 16
#: How files begin that a browser may show inside a page; all others are only saved.
_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"%PDF-", "application/pdf"),
)
#: The brands of ISO media files (ISO/IEC 14496-12) that are MP4.
_BRANDS = frozenset((b"isom", b"iso2", b"iso5", b"iso6", b"mp41", b"mp42", b"avc1", b"M4V "))
#: RFC 5987 §3.2.1: what needs no percent in ``filename*``.
_ATTR = "!#$&+-.^_`|~"


def media_of(head: bytes) -> str:
    """The type that the first bytes prove; empty for all that must not be shown."""
    for magic, media in _MAGIC:
        if head.startswith(magic):
            return media
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    if head[4:8] == b"ftyp" and head[8:12] in _BRANDS:
        return "video/mp4"
    return ""


def disposition(name: str, inline: bool) -> str:
    """A ``Content-Disposition`` (RFC 6266) that names the file, whatever its name is.

    All of the name is in ``filename*`` (RFC 8187); ``filename`` is for those who cannot read that,
    and has nothing in it that could be taken for a path, a quote or another header.
    """
    plain = "".join(c if c.isascii() and (c.isalnum() or c in " ._-()") else "_" for c in name)
    kind = "inline" if inline else "attachment"
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe=_ATTR)}"
