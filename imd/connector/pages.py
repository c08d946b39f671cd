"""The files of the chat page: read once, kept in memory, served with what browsers need."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable

from msgspec import Struct
from twisted.web.http import NOT_MODIFIED, Request

#: By suffix; what is not named here is not served.
_TYPES = {
    ".html": b"text/html; charset=utf-8",
    ".css": b"text/css; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".svg": b"image/svg+xml",
}
#: Nothing from elsewhere, nothing inline, and no markup made of strings.
POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    b"connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'; "
    b"require-trusted-types-for 'script'; trusted-types 'none'"
)
_HEADERS = {
    # Kept by browsers, but asked about each time: an upgrade of the server is seen at once.
    b"Cache-Control": b"no-cache",
    b"Content-Security-Policy": POLICY,
    b"Cross-Origin-Opener-Policy": b"same-origin",
    b"Cross-Origin-Resource-Policy": b"same-origin",
    b"Vary": b"Accept-Encoding",
}


class Page(Struct, frozen=True):
    """A file: ``packed`` is ``body`` in gzip; ``tag`` changes when it does."""

    kind: bytes
    body: bytes
    packed: bytes
    tag: bytes


def load(package: str = "imd.web") -> dict[bytes, Page]:
    """The files of a package by the only path under which each is found."""
    found = {path: _page(path, body) for path, body in _walk(files(package), "/")}
    return {b"/" if path == "/index.html" else path.encode(): page for path, page in found.items()}


def _walk(folder: Traversable, prefix: str) -> Iterator[tuple[str, bytes]]:
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _walk(entry, f"{prefix}{entry.name}/")
        elif _suffix(entry.name) in _TYPES:
            yield prefix + entry.name, entry.read_bytes()


def _suffix(name: str) -> str:
    return "." + name.rpartition(".")[2]


def _page(path: str, body: bytes) -> Page:
    tag = hashlib.sha256(body).hexdigest()[:24].encode()
    return Page(_TYPES[_suffix(path)], body, gzip.compress(body, 9, mtime=0), tag)


def serve(request: Request, page: Page) -> bytes:
    """The body of the answer to a GET or HEAD, whose status and headers are set."""
    packed = _takes_gzip(request.getHeader(b"accept-encoding") or b"")
    tag = b'"%b%b"' % (page.tag, b"-gzip" if packed else b"")
    for name, value in _HEADERS.items():
        request.setHeader(name, value)
    request.setHeader(b"ETag", tag)
    if _has(request.getHeader(b"if-none-match") or b"", tag):
        request.setResponseCode(NOT_MODIFIED)
        return b""
    request.setHeader(b"Content-Type", page.kind)
    if packed:
        request.setHeader(b"Content-Encoding", b"gzip")
    return page.packed if packed else page.body


def _has(header: bytes, tag: bytes) -> bool:
    """RFC 9110 §13.1.2: tags are compared weakly."""
    tags = [each.strip().removeprefix(b"W/") for each in header.split(b",")]
    return tag in tags or tags == [b"*"]


def _takes_gzip(header: bytes) -> bool:
    """RFC 9110 §12.5.3: ``gzip`` or ``*`` is named, and not with the weight zero."""
    weights = {}
    for part in header.lower().split(b","):
        coding, _, weight = part.replace(b" ", b"").partition(b";q=")
        weights[coding] = weight.strip(b"0.") != b"" or not weight
    return weights.get(b"gzip", weights.get(b"*", False))
