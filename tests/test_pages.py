"""The files of the chat page as browsers get them: types, caching, coding, one path for each."""

from __future__ import annotations

import gzip
import http.client
import re
from collections.abc import Iterator
from importlib.resources import files

import pytest
from twisted.web.http import Request
from twisted.web.test.requesthelper import DummyChannel

from imd.connector.http import Closed
from imd.connector.pages import POLICY, load
from tests.browser.served import Served

PAGES = load()
#: Bytes of the page and all that it loads, as they are transferred.
WHOLE = 100 * 1024


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """A server."""
    server = Served()
    try:
        server.start()
        yield server
    finally:
        server.close()


def ask(
    served: Served, path: str, method: str = "GET", **headers: str
) -> tuple[http.client.HTTPResponse, bytes]:
    """One request; ``_`` in the names of headers stands for ``-``."""
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)
    connection.putrequest(method, path, skip_accept_encoding=True)
    for name, value in headers.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders()
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response, body


TYPES = {
    "/": "text/html; charset=utf-8",
    "/style.css": "text/css; charset=utf-8",
    "/imd.js": "text/javascript; charset=utf-8",
    "/client/rules.js": "text/javascript; charset=utf-8",
    "/page/main.js": "text/javascript; charset=utf-8",
    "/icon.svg": "image/svg+xml",
}


@pytest.mark.parametrize("path", TYPES)
def test_a_file_comes_with_its_type_and_under_the_policy(served: Served, path: str) -> None:
    response, body = ask(served, path)
    assert response.status == 200
    assert body == PAGES[path.encode()].body
    assert response.headers["Content-Type"] == TYPES[path]
    assert response.headers["Content-Security-Policy"] == POLICY.decode()
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Referrer-Policy"] == "no-referrer"
    assert response.headers["Cache-Control"] == "no-cache"


def test_the_policy_lets_in_nothing_inline_and_nothing_from_elsewhere() -> None:
    for word in (b"unsafe", b"http", b"*", b"data: ;"):
        assert word not in POLICY
    for name in (b"default-src", b"frame-ancestors", b"base-uri", b"form-action"):
        assert name + b" 'none'" in POLICY


@pytest.mark.parametrize("coding", ["gzip", "br, GZIP;q=0.5", "*", "gzip;q=1.0, identity;q=0"])
def test_who_takes_gzip_gets_it(served: Served, coding: str) -> None:
    response, body = ask(served, "/imd.js", Accept_Encoding=coding)
    assert response.headers["Content-Encoding"] == "gzip"
    assert response.headers["Vary"] == "Accept-Encoding"
    assert gzip.decompress(body) == PAGES[b"/imd.js"].body


@pytest.mark.parametrize("coding", ["", "br", "gzip;q=0", "gzip; q=0.000, *", "xgzip", ",;,"])
def test_who_does_not_take_gzip_gets_the_file_as_it_is(served: Served, coding: str) -> None:
    response, body = ask(served, "/imd.js", Accept_Encoding=coding)
    assert response.headers["Content-Encoding"] is None
    assert body == PAGES[b"/imd.js"].body


def test_what_a_browser_has_is_not_sent_again(served: Served) -> None:
    tags = set()
    for coding in ("gzip", "identity"):
        first, _ = ask(served, "/style.css", Accept_Encoding=coding)
        tag = first.headers["ETag"]
        tags.add(tag)
        for known in (tag, f"W/{tag}", f'"x", {tag}', "*"):
            again, body = ask(served, "/style.css", Accept_Encoding=coding, If_None_Match=known)
            assert (again.status, body, again.headers["ETag"]) == (304, b"", tag)
            assert again.headers["Cache-Control"] == "no-cache"
        other, body = ask(served, "/style.css", Accept_Encoding=coding, If_None_Match='"x"')
        assert other.status == 200
        assert body
    assert len(tags) == 2


def test_head_has_the_headers_and_no_body(served: Served) -> None:
    got, body = ask(served, "/", Accept_Encoding="gzip")
    head, nothing = ask(served, "/", "HEAD", Accept_Encoding="gzip")
    assert (head.status, nothing) == (200, b"")
    for name in ("Content-Type", "ETag", "Content-Encoding"):
        assert head.headers[name] == got.headers[name]
    assert int(head.headers["Content-Length"]) == len(body)


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
def test_pages_are_only_read(served: Served, method: str) -> None:
    response, _ = ask(served, "/imd.js", method, Content_Length="0")
    assert response.status == 405
    assert response.headers["Allow"] == "GET, HEAD"


OTHERS = [
    "/index.html",
    "//",
    "/.",
    "/./",
    "/./imd.js",
    "//imd.js",
    "/imd.js/",
    "/IMD.JS",
    "/imd.js%00",
    "/%69md.js",
    "/imd%2ejs",
    "/__init__.py",
    "/__pycache__",
    "/page",
    "/page/",
    "/client/",
    "/client/../imd.js",
    "/client/%2e%2e/imd.js",
    "/client%2frules.js",
    "/client\\rules.js",
    "/../web/imd.js",
    "/..%2f..%2fversion.py",
    "/%2e%2e/version.py",
    "/imd.js;x",
    "/imd.js~",
    "/etc/passwd",
    "/favicon.ico",
]


@pytest.mark.parametrize("path", OTHERS)
def test_every_file_has_one_path_and_nothing_else_is_served(served: Served, path: str) -> None:
    response, body = ask(served, path)
    assert response.status == 404, body


def test_a_query_does_not_matter(served: Served) -> None:
    response, body = ask(served, "/?utm=1")
    assert (response.status, body) == (200, PAGES[b"/"].body)


def test_the_whole_page_is_small(served: Served) -> None:
    """All of it counts, although something is shown long before the last module is there."""
    page = PAGES[b"/"].body.decode()
    paths = {"/", *("/" + path for path in re.findall(r'(?:src|href)="([^"]+)"', page))}
    total = 0
    for path in paths:
        response, body = ask(served, path, Accept_Encoding="gzip")
        assert response.status == 200, path
        total += len(body)
    assert total < WHOLE


#: Loaded with the first connection: without one there is nothing for them to do.
LATER = {"client/uploads.js", "client/sha256.js", "client/transfer.js"}


def test_the_page_names_every_module_so_that_none_is_waited_for() -> None:
    page = PAGES[b"/"].body.decode()
    named = set(re.findall(r'<link rel="modulepreload" href="([^"]+)"', page))
    assert named | LATER == {path.decode()[1:] for path in PAGES if path.endswith(b".js")}
    assert not named & LATER


def test_all_files_are_text_without_a_byte_order_mark() -> None:
    for path, page in PAGES.items():
        assert not page.body.decode().startswith("\ufeff"), path
    assert set(TYPES) <= {path.decode() for path in PAGES}


def test_files_are_short() -> None:
    for path, page in PAGES.items():
        if path.startswith(b"/page/") or path.endswith((b".css", b"/")):
            assert page.body.count(b"\n") <= 400, path
    assert files("imd.web").joinpath("index.html").is_file()


def test_a_server_that_is_not_ready_says_so_and_the_page_comes_back() -> None:
    channel = DummyChannel()
    request = Request(channel)
    request.path = b"/"
    body = Closed(lambda: "waiting for <storage>").render(request)
    assert b"waiting for &lt;storage&gt;" in body
    assert request.code == 503
    assert request.responseHeaders.getRawHeaders(b"refresh") == [b"5"]
    kind = request.responseHeaders.getRawHeaders(b"content-type")
    assert kind == [b"text/html; charset=utf-8"]
