"""Administration of a server that runs: over HTTP, and by ``imd user`` on its store."""

from __future__ import annotations

import io
import json
import os
import pwd
import signal
import socket
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from threading import Thread
from typing import Any

import msgspec
import psycopg2
import pytest
import pytest_twisted
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from imd import erase, export
from imd.config import Settings, admin_token
from imd.connector.admin import MOST_STREAMS
from imd.errors import ConfigError
from imd.model import NewMessage
from imd.offline import run_here
from imd.orders import MOST_USERS
from imd.storage.database import NAME
from imd.storage.sqlite import SqliteStorage
from imd.user import main
from tests.http_files import ask, bearer, body_of, new_slot, put
from tests.outages import until
from tests.process import FAST, PATIENCE, Server, environment, reactor
from tests.raw import connect, login, pair, post

TOKEN = "0123456789abcdef-admin"
_CLI = "import sys; from imd.cli import main; sys.exit(main(sys.argv[1:]))"


def private(path: Path, text: str) -> Path:
    """A file that nobody else may read."""
    path.write_text(text)
    path.chmod(0o600)
    return path


class Served:
    """A server, and ways to give it orders."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.places = [f"--data={server.directory / 'data'}"]
        self.url = [f"--url=http://127.0.0.1:{server.port}"]
        self.url += [f"--token-file={server.directory / 'token'}"]

    async def order(self, name: str, token: str | None = TOKEN, **params: Any) -> tuple[int, Any]:
        return await post(self.server.port, f"/v1/admin/{name}", params, token)

    async def run(self, *arguments: str, code: int = 0) -> None:
        assert await deferToThread(main, arguments) == code


@pytest_twisted.async_yield_fixture(scope="module")
async def served() -> AsyncIterator[Served]:
    """One server for all tests."""
    server = Server(config="")
    path = private(server.directory / "token", f"{TOKEN}\n")
    config = f'admin-token-file = "{path}"\n{FAST}'
    (server.directory / "imd.toml").write_text(config)
    await server.start()
    yield Served(server)
    await server.close()


async def test_an_order_over_http_is_carried_out_and_leaves_a_line(served: Served) -> None:
    assert (await served.order("user.add", user="zoe", password="pass-canary"))[0] == 200
    zoe = await login(served.server.port, "zoe", register=None, password="pass-canary")
    assert (await served.order("user.disable", user="zoe"))[0] == 200
    assert await zoe.closed == 4504
    await until(lambda: "admin user.disable 'zoe' from 127.0.0.1: done" in served.server.output)
    output = served.server.output
    assert "canary" not in output
    assert TOKEN not in output


async def test_without_the_token_nothing_is_done(served: Served) -> None:
    assert (await served.order("user.add", user="yan", password="secret"))[0] == 200
    yan = await login(served.server.port, "yan", register=None)
    wrong: list[str | None] = [None, "x", TOKEN[:-1], TOKEN + "x", "x" * 4096]
    for token in (*wrong, yan.welcome["token"]):
        status, body = await served.order("user.disable", token, user="yan")
        assert (status, body["error"]["code"]) == (401, "unauthorized")
    assert (await served.order("user.get", user="yan"))[1]["disabled"] is False
    # Who goes on guessing is told to wait; who has the token is not.
    while (await served.order("user.list", "guess"))[0] != 429:
        pass
    assert (await served.order("user.list"))[0] == 200


async def test_what_is_no_order_is_nothing(served: Served) -> None:
    for name in ("", "user.dance", "user.add/", "../user.add", "%75ser.add"):
        assert (await served.order(name))[0] == 404


async def test_a_server_without_a_token_has_no_such_paths() -> None:
    server = Server()
    await server.start()
    for token in (None, "", TOKEN):
        status, _ = await post(server.port, "/v1/admin/user.list", {}, token)
        assert status == 404
    await server.close()


@pytest.mark.limit(60)
async def test_a_new_token_holds_from_sighup_on_and_a_bad_one_changes_nothing() -> None:
    server, new = Server(config=""), "another-token-of-admins"
    path = private(server.directory / "token", TOKEN)
    (server.directory / "imd.toml").write_text(f'admin-token-file = "{path}"\n{FAST}')
    await server.start()

    async def status(token: str) -> int:
        return (await post(server.port, "/v1/admin/user.list", {}, token))[0]

    private(path, new)
    assert [await status(TOKEN), await status(new)] == [200, 401]
    await server.hang_up("certificates and keys were read again")
    for spoil in (lambda: private(path, ""), lambda: path.chmod(0o644), path.unlink):
        assert [await status(TOKEN), await status(new)] == [401, 200]
        spoil()
        mark = len(server.output)
        await server.hang_up("correct it, then SIGHUP again")
        told = [line for line in server.output[mark:].splitlines() if "stays in use" in line]
        assert all("imd: admin-token-file: " in line for line in told)
    assert [await status(TOKEN), await status(new)] == [401, 200]
    assert TOKEN not in server.output
    assert new not in server.output
    await server.close()


async def test_who_is_disabled_beside_the_server_is_out_within_seconds(served: Served) -> None:
    alice, _, _ = await pair(served.server.port, "al", "bo")
    await served.run("disable", "al", *served.places)
    assert await alice.closed == 4504
    again = await connect(served.server.port)
    again.say({"type": "hello", "req": 1, "token": alice.welcome["token"]})
    assert await again.closed == 4504
    await served.run("enable", "al", *served.places)
    await login(served.server.port, "al", register=None)


async def test_devices_are_logged_out_beside_the_server(
    served: Served, capsys: pytest.CaptureFixture[str]
) -> None:
    carl = await login(served.server.port, "carl", device="phone")
    await served.run("sessions", "carl", *served.places)
    shown = capsys.readouterr().out
    assert str(carl.welcome["device"]) in shown
    await served.run("sessions", "carl", "--all", *served.places)
    assert await carl.closed == 4501


@pytest.mark.parametrize("way", ["places", "url"])
async def test_accounts_are_looked_after_in_either_way(
    served: Served, way: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    where, name = getattr(served, way), f"eve-{way}"
    monkeypatch.setattr(sys, "stdin", io.StringIO("first\n"))
    await served.run("add", name, "--password-stdin", *where)
    monkeypatch.setattr(sys, "stdin", io.StringIO("second\nthird\n"))
    await served.run("passwd", name, "--password-stdin", *where)
    await login(served.server.port, name, register=None, password="second")
    await served.run("disable", name, *where)
    await served.run("list", *where)
    assert f"{name:32}  disabled" in capsys.readouterr().out
    await served.run("enable", name, *where)
    await served.run("sessions", name, "--revoke=1", *where, code=1)
    assert said(capsys.readouterr().err) == ["the account has no such device"]
    await served.run("disable", "no body\x1b[2J", *where, code=1)
    assert said(capsys.readouterr().err) == ["there is no such account"]


async def test_who_is_erased_beside_the_server_leaves_only_places_in_the_log(
    served: Served,
) -> None:
    gina, hal, conversation = await pair(served.server.port, "gina", "hal")
    gina.text(conversation, "secret words")
    await hal.hear("msg", seq=1)
    assert await deferToThread(erase.main, ["gina", *served.places]) == 1
    for _ in range(2):
        assert await deferToThread(erase.main, ["gina", "--yes", *served.places]) == 0
    assert await gina.closed == 4504
    hal.say({"type": "fetch", "req": 7, "conv": conversation, "limit": 9})
    (item,) = (await hal.hear("msgs", req=7))["items"]
    assert (item["seq"], item["kind"], item["body"]) == (1, "erased", {})
    assert (await hal.call("friend.list"))["data"]["items"] == []
    status, body = await served.order("user.add", user="gina", password="mine")
    assert (status, body["error"]["code"]) == (409, "exists")


async def test_an_export_over_http_is_that_of_the_command(
    served: Served, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    port, content = served.server.port, bytes(range(256)) * 2000
    ida, jon, conversation = await pair(port, "ida", "jon")
    file = await new_slot(port, ida.welcome["token"], content)
    assert (await put(port, ida.welcome["token"], file, content)).status == 201
    body = body_of(file, content)
    message = {"type": "send", "id": str(uuid.uuid4()), "conv": conversation}
    ida.say(message | {"kind": "file", "body": body})
    jon.text(conversation, "one\ntwo")
    await ida.hear("msg", seq=2)
    for name, where in ("beside", served.places), ("http", served.url):
        output = f"--output={tmp_path / name}"
        assert await deferToThread(export.main, ["ida", output, *where]) == 0
        assert capsys.readouterr().err.endswith("imd: 2 messages\n")
        nobody = f"--output={tmp_path / 'nobody'}"
        assert await deferToThread(export.main, ["no body", nobody, *where]) == 1
        assert capsys.readouterr().err.endswith("imd: there is no such account\n")
    beside, http = ((tmp_path / name) for name in ("beside", "http"))
    lines = (http / "export.jsonl").read_bytes()
    assert lines == (beside / "export.jsonl").read_bytes()
    assert [path.name for path in (http / "files").iterdir()] == [str(file)]
    assert (http / "files" / str(file)).read_bytes() == content
    assert not (tmp_path / "nobody").exists()
    path, given = "/v1/admin/user.export", {"Content_Type": "application/json"}
    for token, status in ("wrong", 401), (TOKEN, 200):
        given["Authorization"] = bearer(token)
        answer = await ask(port, "POST", path, b'{"user":"ida"}', **given)
        assert answer.status == status
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.content == lines
    assert "admin user.export 'ida' from 127.0.0.1: done" in served.server.output


def write_much(directory: Path, name: str, count: int, length: int) -> None:
    """Texts of a user in the one conversation, in a store that a server may have open."""

    async def write() -> None:
        user = await storage.find_user(name)
        assert user is not None
        (head,) = (await storage.heads(user.id)).items
        (device,) = await storage.devices(user.id)
        body = msgspec.json.encode({"text": "x" * length})
        new = NewMessage(head.conversation, user.id, device.id, b"", "text", body, session=99)
        for _ in range(count // 500):
            ids = [uuid.uuid4().bytes for _ in range(500)]
            await storage.append([msgspec.structs.replace(new, id=id) for id in ids], 9)

    storage = SqliteStorage.join(directory)
    try:
        run_here(write())
    finally:
        storage.close()


def asked(port: int) -> socket.socket:
    """A connection that has asked for an export, and reads none of it but the status."""
    link = socket.socket()
    link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    link.connect(("127.0.0.1", port))
    head = f"Host: 127.0.0.1\r\nAuthorization: {bearer(TOKEN)}\r\nContent-Length: 14\r\n"
    link.sendall(f'POST /v1/admin/user.export HTTP/1.1\r\n{head}\r\n{{"user":"kim"}}'.encode())
    assert link.recv(12) == b"HTTP/1.1 200"
    return link


@pytest.mark.limit(240)
async def test_who_does_not_read_an_export_costs_little_and_holds_up_nobody(
    served: Served,
) -> None:
    server, count = served.server, 10_000
    await pair(server.port, "kim", "lea")
    await deferToThread(write_much, server.directory / "data", "kim", count, 4000)
    before = resident(server.pid)
    links = [await deferToThread(asked, server.port) for _ in range(MOST_STREAMS)]
    status, body = await served.order("user.export", user="kim")
    assert (status, body["error"]["code"]) == (429, "limit")
    assert (await served.order("user.get", user="kim"))[0] == 200
    # What the kernel takes is not ours; a whole history in memory would be.
    assert resident(server.pid) - before < count * 4000 // 2
    for link in links:
        link.close()
    while server.output.count("admin user.export 'kim' from 127.0.0.1: broken off") < len(links):
        await served.order("user.get", user="kim")
    head = {"Content_Type": "application/json", "Authorization": bearer(TOKEN)}
    answer = await ask(server.port, "POST", "/v1/admin/user.export", b'{"user":"kim"}', **head)
    assert answer.content.endswith(b'\n{"record":"end","messages":10000}\n')
    assert "Traceback" not in server.output


def resident(pid: int) -> int:
    """Bytes of memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def test_an_export_that_broke_off_is_not_taken_for_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    token = private(tmp_path / "token", TOKEN)
    for number, sent in enumerate((b'{"record":"account"}\n', b'{"record":"acc')):
        with socket.create_server(("127.0.0.1", 0)) as port:
            thread = Thread(target=answer_once, args=(port, sent))
            thread.start()
            url = f"--url=http://127.0.0.1:{port.getsockname()[1]}"
            output = f"--output={tmp_path / str(number)}"
            assert export.main(["a", url, f"--token-file={token}", output]) == 1
            thread.join()
        assert capsys.readouterr().err == "imd: the answer broke off; this is not all of it\n"


def test_a_file_that_went_while_it_was_exported_leaves_no_part(tmp_path: Path) -> None:
    out = io.BytesIO()
    copy = export.Copy(out, tmp_path / "files")
    copy.take(b'{"record":"bytes","file":7,"offset":0,"data":"YWJj"}\n')
    copy.take(b'{"record":"bytes","file":8,"offset":0,"data":"YWJj"}\n{"record":"gone","file":7}\n')
    copy.take(b'{"record":"end","messages":0}\n')
    assert [path.name for path in (tmp_path / "files").iterdir()] == ["8"]
    assert (out.getvalue(), copy.is_whole) == (b'{"record":"end","messages":0}\n', True)


def answer_once(port: socket.socket, content: bytes) -> None:
    """Answer a request as HTTP/1.0 does, where nothing but the content shows that it is whole."""
    link, _ = port.accept()
    with link:
        while b"}" not in link.recv(65536):
            pass
        link.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + content)


class Terminal(io.StringIO):
    """A terminal, or what is none."""

    def __init__(self, is_terminal: bool) -> None:
        super().__init__()
        self.isatty = lambda: is_terminal  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("is_terminal", "told"),
    [(True, "\rimd: 2\rimd: 3\rimd: 8\n"), (False, "imd: 2\nimd: 8\n")],
)
def test_only_what_takes_long_is_told_of(is_terminal: bool, told: str) -> None:
    out, now = Terminal(is_terminal), 0
    progress = erase.Progress(out, lambda: now)
    for now in (1, 2, 3, 8):
        progress.tell(str(now))
    progress.end()
    assert out.getvalue() == told
    quick = Terminal(is_terminal)
    erase.Progress(quick, lambda: 0).end()
    assert quick.getvalue() == ""


@pytest.mark.limit(240)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["ctrl-c", "kill"])
async def test_an_interrupted_erasure_goes_on_when_it_is_said_again(
    served: Served, number: signal.Signals
) -> None:
    name, data = f"mia-{number}", served.server.directory / "data"
    mia, _, conversation = await pair(served.server.port, name, f"nan-{number}")
    await deferToThread(write_much, data, name, 40_000, 20)

    def left() -> int:
        with closing(sqlite3.connect(data / NAME)) as db:
            query = "SELECT count(*) FROM message WHERE conversation = ? AND kind <> 'erased'"
            ((count,),) = db.execute(query, (conversation,)).fetchall()
        return int(count)

    command = [sys.executable, "-c", _CLI, "erase", name, "--yes", *served.places]
    running = subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True)
    while left() == 40_000:
        assert running.poll() is None
        await deferLater(reactor, 0.01, lambda: None)
    running.send_signal(number)
    _, stderr = await deferToThread(running.communicate)
    assert 0 < left() < 40_000
    assert await mia.closed == 4504
    if number == signal.SIGINT:
        assert (running.returncode, said(stderr)[-1]) == (1, "interrupted")
        assert orders(stderr)[-1].endswith(": broken off")
    assert await deferToThread(erase.main, [name, "--yes", *served.places]) == 0
    assert left() == 0


def user(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """``imd user`` in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", _CLI, "user", *arguments],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env=environment(),
        check=False,
    )


def said(stderr: str) -> list[str]:
    """What a command has said, beside the lines of the log."""
    lines = [line for line in stderr.splitlines() if " admin user." not in line]
    assert all(line.startswith("imd: ") for line in lines)
    return [line.removeprefix("imd: ") for line in lines]


def orders(stderr: str) -> list[str]:
    """The lines of the log, without their times."""
    mark = "[imd.admin.Admin#info] "
    return [line.partition(mark)[2] for line in stderr.splitlines() if mark in line]


def test_each_order_by_command_line_is_a_line_without_a_secret(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    places = [f"--data={tmp_path / 'data'}"]
    monkeypatch.setenv("SUDO_USER", "carol\x1b[2J")
    monkeypatch.setattr(sys, "stdin", io.StringIO("word-canary\n"))
    assert main(["add", "ann", "--password-stdin", *places]) == 0
    assert main(["disable", "nobody", *places]) == 1
    assert export.main(["ann", *places]) == 0
    monkeypatch.delenv("SUDO_USER")
    assert erase.main(["ann", "--yes", *places]) == 0
    stderr, me = capsys.readouterr().err, pwd.getpwuid(os.getuid()).pw_name
    origin, carol = f"from the command line of {me}", ", by sudo of carol\\x1b[2J"
    assert orders(stderr) == [
        f"admin user.add 'ann' {origin}{carol}: done",
        f"admin user.disable 'nobody' {origin}{carol}: refused: not_found",
        f"admin user.export 'ann' {origin}{carol}: done",
        f"admin user.erase 'ann' {origin}: done",
    ]
    assert "canary" not in stderr


def test_the_line_of_an_order_is_written_as_log_says(tmp_path: Path) -> None:
    config, data = tmp_path / "imd.toml", f"--data={tmp_path / 'data'}"
    config.write_text('log = "json"\nnode = "here"\n')
    done = user("add", "ann", "--password-stdin", data, f"--config={config}", stdin="secret")
    (line,) = done.stderr.splitlines()
    found = json.loads(line)
    assert (found["node"], found["order"], found["outcome"]) == ("here", "user.add", "done")
    assert found["event"] == "imd.admin.Admin"
    assert "secret" not in line


def test_a_store_is_made_where_there_is_none(tmp_path: Path) -> None:
    places = f"--data={tmp_path / 'data'}"
    done = user("add", "ann", "--password-stdin", places, stdin="secret")
    assert (done.returncode, said(done.stderr)) == (0, [])
    assert main(["list", places]) == 0


@pytest.mark.parametrize(
    "arguments",
    [["disable", "a"], ["enable", "a"], ["sessions", "a"], ["list"], ["passwd", "a"], ["erase"]],
    ids=lambda arguments: arguments[0],
)
def test_no_other_command_makes_a_store(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = [f"--data={tmp_path / 'data'}"]
    wanted = ["a"] if arguments == ["erase"] else arguments
    # Nor is anything asked first, which would fail here.
    assert (erase.main if arguments == ["erase"] else main)([*wanted, *places]) == 78
    assert capsys.readouterr().err == (
        f"imd: data: there is no {tmp_path / 'data' / 'imd.sqlite3'}; name the directory of the "
        "server with --data, or its file with --config\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_password_is_never_asked_for_where_nobody_is(tmp_path: Path) -> None:
    done = user("add", "ann", f"--data={tmp_path / 'data'}")
    assert done.returncode == 1
    assert done.stderr == "imd: nobody to ask for the password; give --password-stdin\n"


def test_postgresql_is_looked_after_as_well(store_url: str) -> None:
    done = user("add", "ann", "--password-stdin", f"--store={store_url}", stdin="secret\n")
    assert (done.returncode, said(done.stderr)) == (0, [])
    again = user("add", "ann", "--password-stdin", f"--store={store_url}", stdin="secret\n")
    assert (again.returncode, said(again.stderr)) == (1, ["this name is taken"])


def test_all_pages_of_accounts_are_listed_from_postgresql(store_url: str) -> None:
    with closing(psycopg2.connect(store_url)) as db, db, db.cursor() as cursor:
        cursor.execute(
            "INSERT INTO account (id, name, password, created) "
            "SELECT n, 'user' || n, '', 0 FROM generate_series(1, %s) AS n",
            (2 * MOST_USERS,),
        )
    done = user("list", f"--store={store_url}")
    assert (done.returncode, said(done.stderr)) == (0, [])
    assert len(done.stdout.splitlines()) == 2 * MOST_USERS


def test_mistakes_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--url=http://127.0.0.1:9"]) == 78
    assert "admin-token-file: --url needs" in capsys.readouterr().err
    token = tmp_path / "token"
    token.write_text(TOKEN)
    token.chmod(0o644)
    assert main(["list", "--url=http://x", f"--token-file={token}"]) == 78
    assert "others can read" in capsys.readouterr().err
    token.chmod(0o600)
    assert main(["list", "--url=file:///etc/passwd", f"--token-file={token}"]) == 1
    assert capsys.readouterr().err == "imd: --url: http://… or https://…\n"


@pytest.mark.parametrize("text", ["", "short", "x" * 257, "with\ncontrol-characters", "ü" * 20])
def test_a_token_is_long_enough_and_fits_into_a_header(tmp_path: Path, text: str) -> None:
    path = private(tmp_path / "token", text)
    with pytest.raises(ConfigError):
        admin_token(Settings(admin_token_file=str(path)))
    assert admin_token(Settings()) == ""
