"""Whatever an operator may type wrong ends the process with 78 and one line that names the key."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trustme
from twisted.internet.error import CannotListenError

from imd.checks import cannot_listen, endpoint_fault, unknown
from imd.config import Settings
from imd.ops.lifecycle import tell
from imd.tap import Options, makeService
from tests.process import PATIENCE, command, environment, reactor
from tests.test_etc import uncommented

SHARED = 'store = "postgresql://h/d"\nstatus = "redis://h"\n'
BUCKET = 'files = "s3://bucket"\n[s3]\nkey = "k"\nsecret = "s"\n'
TRANSFER = 'role = "transfer"\n'
#: Whatever key a text is about, and a part of what is said of it.
MISTAKES: list[tuple[str, str, str]] = [
    # -- keys that do not exist
    ("listn", 'listn = "tcp:1"', "do you mean listen?"),
    ("transfer_listen", 'transfer_listen = "unix:x"', "do you mean transfer-listen?"),
    ("limit", "[limit]\nrate = 1", "do you mean limits?"),
    ("limits.silence-seconds", "limits.silence-seconds = 9", "do you mean silence_seconds?"),
    ("limits.log", '[limits]\nlog = "json"', "above the first [table]"),
    ("limits.memory_kib", "limits.memory_kib = 9", "under [passwords]"),
    ("rate", "rate = 1", "under [limits]"),
    ("colour", "colour = 1", "see etc/imd.toml"),
    # -- the file
    ("config", "listen = ", "(at end of document)"),
    ("config", 'a = 1\nnode = "a" "b"', "(at line 2, column 12)"),
    ("config", 'node = "a"\nnode = "b"\n\n', "(at line 2, column 11)"),
    ("config", "[limits]\n[limits]\n", "(at line 2, column 8)"),
    # -- what is chosen from a few
    ("role", 'role = "boss"', "connector, transfer, all"),
    ("log", 'log = "jsn"', "text, json, journald"),
    ("auth", "auth = []", "at least one"),
    ("auth", 'auth = ["password", "password"]', "none of them twice"),
    ("auth", 'auth = ["password:x"]', "stands alone"),
    ("auth", 'auth = ["nobody"]', "docs/authentication.rst"),
    ("auth", 'auth = ["anonymous"]', "does not check names and passwords"),
    ("auth", 'auth = ["jwt"]', "missing required field `iss`"),
    ("auth", 'auth = ["jwt:x"]', "write key=value"),
    (
        "auth",
        'auth = ["jwt:iss=a:aud=b:alg=HS256:key=/no/key"]',
        "key: cannot read /no/key: No such file or directory",
    ),
    ("auth", 'auth = ["ldap:host=h"]', "missing required field"),
    # -- names and addresses
    ("data", 'data = ""', "name a directory"),
    ("data", 'data = "a\\u0000b"', "cannot be printed"),
    ("s3.secret", '[s3]\nsecret = "canary\\n"', "cannot be printed"),
    ("origin", 'origin = ["a\\nb"]', "cannot be printed"),
    ("node", f'node = "{"x" * 191}"', "190 bytes"),
    ("origin", 'origin = ["chat.example.org"]', "https://chat.example.org"),
    ("origin", 'origin = ["*"]', "https://chat.example.org"),
    ("hosts", 'hosts = ["chat.example.org:443"]', "without port"),
    ("proxies", 'proxies = ["proxy"]', "10.0.0.0/8"),
    ("limits.trusted_addresses", 'limits.trusted_addresses = ["10.0.0.1/8"]', "10.0.0.0/8"),
    ("metrics.readers", 'metrics.readers = ["::1/129"]', "10.0.0.0/8"),
    ("metrics.token", 'metrics.token = "short"', "16"),
    # -- numbers
    ("limits.inflight", "limits.inflight = 0", "from 1 to 2^53 - 1"),
    ("limits.rate", "limits.rate = -1", "from 0 to 2^53 - 1"),
    ("limits.rate", "limits.rate = nan", "a number"),
    ("limits.silence_seconds", "limits.silence_seconds = 30", "heartbeat_seconds (30)"),
    ("passwords.memory_kib", "passwords.memory_kib = 7", "from 8 to 4194304"),
    ("passwords.passes", "passwords.passes = 101", "from 1 to 100"),
    # -- engines
    ("store", 'store = "mysql://h/d"', "postgresql://"),
    ("store", 'store = "postgresql://h/d?nonsense=1"', "libpq"),
    ("store", 'store = "postgresql://u:canary/x@h/d"', "written like %2F"),
    ("store", 'store = "postgresql://h:70000/d"', "the port"),
    ("store", 'store = "postgresql://h/d?sslmode=on"', "verify-full"),
    ("store", 'status = "redis://h"', "SQLite serves one process"),
    ("status", 'status = "redis"', "rediss://"),
    ("status", f'{SHARED[:27]}status = "redis://h:x"', "HOST:PORT"),
    ("status", f'{SHARED[:27]}status = "redis://u:canary:x@h"', "%3A"),
    ("status", f'{SHARED[:27]}status = "rediss://h?ca=/no/ca"', "cannot read /no/ca"),
    ("status", f'{SHARED[:27]}status = "redis+sentinel://h"', "name of the master"),
    ("status", f'{SHARED[:27]}transfer = ["unix:x"]', "several need redis://"),
    ("store-file", 'store-file = "/no/file"', "cannot read /no/file"),
    ("status-file", 'status-file = "/no/file"', "cannot read /no/file"),
    ("store-file", 'store = "postgresql://h/d"\nstore-file = "x"', "leave one of them out"),
    ("store-file", 'store-file = "mistakes.toml"', "holds no URL"),
    ("files", 'files = "https://bucket"', "s3://BUCKET/PREFIX"),
    ("files", 'files = "s3://"', "name the bucket"),
    ("s3.key", 'files = "s3://bucket"', "s3.key and s3.secret"),
    ("s3.region", f'{BUCKET}region = ""', "name the region"),
    ("s3.endpoint", f'{BUCKET}endpoint = "s3.example.org"', "https://s3.example.org"),
    ("s3.endpoint", f'{BUCKET}endpoint = "http://[::1"', "https://s3.example.org"),
    ("admin-token-file", 'admin-token-file = "/no/file"', "cannot read /no/file"),
    ("retention.messages-days", "retention.messages-days = 7", "or 8 to"),
    # -- where to listen
    ("listen", 'listen = ""', "begin with the kind"),
    ("listen", 'listen = "8080"', "begin with the kind"),
    ("listen", 'listen = "tcp"', "its port is missing"),
    ("listen", 'listen = "tcp:http"', "'http' is no number"),
    ("listen", 'listen = "tcp:99999"', "must be 0-65535"),
    ("listen", 'listen = "tcp:80:interfce=::1"', 'no parameter "interfce="'),
    ("listen", 'listen = "tcp:1:2:3:4:5"', "more parts"),
    ("listen", 'listen = "unix:x:mode=999"', "is no mode"),
    ("listen", 'listen = "unix:/no/where"', "its directory has to be there"),
    ("listen", 'listen = "ssl:0"', "cannot read"),
    ("listen", 'listen = "ssl:0:privateKey=/no/key"', "cannot read /no/key"),
    ("listen", 'listen = "ssl:0:privateKey=mistakes.toml"', "in PEM"),
    ("listen", 'listen = "ssl:0:privateKey=key.pem:certKey=other.pem"', "is not that of"),
    ("listen", 'listen = "haproxy:tcp"', "its port is missing"),
    ("listen", 'listen = "systemd:domain=INET:index=0"', "no such socket"),
    ("listen", 'listen = "systemd:domain=INET:name=clients"', "no such socket"),
    ("metrics.listen", 'metrics.listen = "9100"', "begin with the kind"),
    # -- transfers
    ("store", 'role = "connector"', "several need postgresql://"),
    ("status", 'role = "connector"\nstore = "postgresql://h/d"', "several need redis://"),
    ("transfer", f'role = "connector"\n{SHARED}', "at least one transfer"),
    ("transfer", f'{SHARED}transfer = ["unix:x", "unix:x"]', "once"),
    ("transfer", f'{SHARED}transfer = ["x"]', "none of unix:…, tls:…, tcp:…"),
    ("transfer", f'{SHARED}transfer = ["unix:x:timeut=3"]', 'no parameter "timeut="'),
    ("transfer", f'{SHARED}transfer = ["tcp:h:1"]', "proves nothing"),
    ("transfer-tls", f'{SHARED}transfer = ["tls:h:1"]', "cert, key and ca"),
    ("transfer-listen", f'{TRANSFER}transfer-listen = "tcp:1"', "proves nothing"),
    ("transfer-listen", f'{TRANSFER}transfer-listen = "unix"', "none of"),
    ("transfer-listen", f'{TRANSFER}transfer-listen = "unix:x:mode=777"', "take 600"),
    ("transfer-listen", f'{TRANSFER}transfer-listen = "unix:x:mode=9"', "is no mode"),
    ("transfer-listen", f'{TRANSFER}transfer-listen = "unix:/no/x"', "has to be there"),
    ("transfer-tls", f'{TRANSFER}transfer-listen = "tls:0"', "cert, key and ca"),
    ("data", f'{TRANSFER}data = "mistakes.toml/x"', "Not a directory"),
]
TLS = f'{TRANSFER}transfer-listen = "tls:0:interface=127.0.0.1"\n[transfer-tls]\n'
#: The same for the files of ``[transfer-tls]``.
CERTIFICATES = [
    ("cert", "/no/cert", "key.pem", "other.pem", "cannot read /no/cert"),
    ("cert", "mistakes.toml", "key.pem", "other.pem", "no PEM certificate"),
    ("key", "other.pem", "/no/key", "other.pem", "cannot read /no/key"),
    ("key", "other.pem", "mistakes.toml", "other.pem", "no PEM key"),
    ("key", "other.pem", "key.pem", "other.pem", "is not the key of"),
    ("ca", "own.pem", "key.pem", "/no/ca", "cannot read /no/ca"),
    ("ca", "own.pem", "key.pem", "key.pem", "no PEM certificate"),
]
MISTAKES += [
    (f"transfer-tls.{key}", f'{TLS}cert = "{cert}"\nkey = "{own}"\nca = "{ca}"', says)
    for key, cert, own, ca, says in CERTIFICATES
]
MISTAKES += [
    (f"transfer-tls.{side}", f'[transfer-tls]\n{side} = "a b"', "DNS name")
    for side in ("connector", "transfer")
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The current directory, with a key, its certificate, and that of another."""
    directory = tmp_path_factory.mktemp("mistakes")
    authority = trustme.CA()
    own, other = (authority.issue_cert("imd.example.org") for _ in range(2))
    own.private_key_pem.write_to_path(directory / "key.pem")
    own.cert_chain_pems[0].write_to_path(directory / "own.pem")
    other.cert_chain_pems[0].write_to_path(directory / "other.pem")
    with contextlib.chdir(directory):
        yield directory


def begin(*arguments: str) -> None:
    """Start as twistd does, in this process."""
    options = Options()
    options.parseOptions(list(arguments))
    service: Any = makeService(options, reactor)
    service.privilegedStartService()
    service.startService()


def refusal(place: Path, content: str | bytes, *arguments: str) -> str:
    """What is said of a configuration, without its beginning; no more is opened than it takes."""
    path = place / "mistakes.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    path.chmod(0o600)
    said = io.StringIO()
    with contextlib.redirect_stderr(said), pytest.raises(SystemExit) as end:
        begin("--config=mistakes.toml", *arguments)
    assert end.value.code == 78
    (line,) = set(said.getvalue().splitlines())
    assert line.startswith("imd: "), line
    assert "canary" not in line
    return line.removeprefix("imd: ")


@pytest.mark.parametrize(("key", "content", "says"), MISTAKES)
def test_a_mistake_is_one_line_that_names_its_key_and_says_what_to_do(
    key: str, content: str, says: str, place: Path
) -> None:
    line = refusal(place, content)
    assert line.startswith(f"{key}: "), line
    assert says in line, line


def test_every_key_refuses_a_value_of_the_wrong_type(place: Path) -> None:
    for table, keys in _keys().items():
        for key, value in keys.items():
            wrong = '"x"' if not isinstance(value, str | list) else "5"
            name = f"{table}.{key}" if table else key
            line = refusal(place, f"{name} = {wrong}")
            assert line.startswith(f"{name}: Expected "), line


def test_every_number_refuses_what_is_out_of_its_bounds(place: Path) -> None:
    for table in ("limits", "passwords"):
        for key, value in _keys()[table].items():
            if not isinstance(value, list):
                for wrong in (-1, 2**53):
                    line = refusal(place, f"{table}.{key} = {wrong}")
                    assert line.startswith(f"{table}.{key}: a number from "), line


def test_every_key_with_one_letter_too_few_is_recognized(place: Path) -> None:
    for table, keys in _keys().items():
        for key in keys:
            if len(key) > 3:
                name = f"{table}.{key[:-1]}" if table else key[:-1]
                line = refusal(place, f"{name} = 1")
                near = key[:-1] in (other for names in _keys().values() for other in names)
                assert near or f"do you mean {key}?" in line, line


def _keys() -> dict[str, dict[str, Any]]:
    """All settings, by table."""
    whole = uncommented()
    top = {key: value for key, value in whole.items() if not isinstance(value, dict)}
    return {"": top} | {key: value for key, value in whole.items() if isinstance(value, dict)}


def test_the_table_of_mistakes_has_one_for_every_key_that_can_be_wrong_beside_its_type() -> None:
    named = {key for key, _, _ in MISTAKES}
    free = {"unsafe-durability", "log-messages"}
    assert {f.encode_name for f in msgspec.structs.fields(Settings)} - free <= {
        key.split(".")[0] for key in named
    } | {"passwords"}


def test_a_file_that_cannot_be_read_is_named(place: Path) -> None:
    assert "byte order mark" in refusal(place, b"\xef\xbb\xbfnode = 1")
    assert "not UTF-8 (at line 2)" in refusal(place, b'node = "a"\ndata = "\xe9"')
    said = refusal(place, "", "--config=missing.toml")
    assert said == "config: cannot read missing.toml: No such file or directory"
    assert refusal(place, "", "--config=.").startswith("config: cannot read .: Is a directory")
    assert refusal(place, "", "--config=\0").startswith("config: cannot read")


def test_options_are_held_to_the_same(place: Path) -> None:
    for arguments, key, says in (
        (["--listn=x"], "options", "not recognized; see twistd imd --help"),
        (["--listen"], "options", "requires argument"),
        (["x"], "options", "see twistd imd --help"),
        (["--data=\udcff"], "data", "cannot be printed"),
        (["--store=postgresql://u:canary@h/d"], "store", "write it into --config=FILE"),
        (["--status=redis://:canary@h"], "status", "write it into --config=FILE"),
    ):
        line = refusal(place, "", *arguments)
        assert line.startswith(f"{key}: "), line
        assert says in line


def test_a_port_in_use_is_said_to_be(place: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        endpoint = f"tcp:{other.getsockname()[1]}:interface=127.0.0.1"
        for key, content in {
            "listen": f'listen = "{endpoint}"',
            "metrics.listen": f'listen = "tcp:0"\nmetrics.listen = "{endpoint}"',
            "transfer-listen": f'{TRANSFER}transfer-listen = "{endpoint}"',
        }.items():
            line = refusal(place, content)
            assert line.startswith(f"{key}: cannot listen on {endpoint}: Address already in use; ")


# -- words


def test_what_is_said_of_listening_fits_the_kind_of_the_endpoint() -> None:
    def said(description: str, number: int) -> str:
        error = OSError(number, os.strerror(number))
        return cannot_listen(description, CannotListenError("", 1, error))

    assert "CAP_NET_BIND_SERVICE" in said("tcp:443", errno.EACCES)
    assert "its directory" in said("unix:/root/x", errno.EACCES)
    assert said("tcp:1", errno.EADDRNOTAVAIL).endswith("Cannot assign requested address")
    assert cannot_listen("tcp:1", None).startswith("cannot listen on tcp:1")


def test_an_error_that_nobody_has_foreseen_is_shown_as_it_is() -> None:
    assert endpoint_fault(ValueError("no such moon")) == "no such moon"
    assert endpoint_fault(ValueError()) == "ValueError"


def test_a_key_that_is_like_no_other_leads_to_the_list() -> None:
    assert unknown("zzz", ["listen"], {}).endswith("see etc/imd.toml for all of them")
    assert unknown("frame-bytes", ["frame_bytes"], {}).endswith("do you mean frame_bytes?")


def test_a_line_for_the_operator_is_one_line_whatever_is_in_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tell("auth: a plugin\nsays\x1b[31m much")
    assert len(set(capsys.readouterr().err.splitlines())) == 1


# -- whole processes


def ended(directory: Path, content: str, *arguments: str, **more: str) -> str:
    """The line with which a real process ends."""
    path = directory / "imd.toml"
    path.write_text(content)
    path.chmod(0o600)
    done = subprocess.run(
        [*command(), "--config=imd.toml", *arguments],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        cwd=directory,
        env=environment() | more,
        check=False,
    )
    assert done.returncode == 78, done.stderr + done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    (line,) = done.stderr.splitlines()
    return line


def test_real_processes_end_with_78_and_one_line(tmp_path: Path) -> None:
    line = ended(tmp_path, "[limits]\nlimit = 1")
    assert line == "imd: limits.limit: there is no such key; see etc/imd.toml for all of them"
    line = ended(tmp_path, f'{TRANSFER}data = "imd.toml/x"')
    assert line == "imd: data: cannot use imd.toml/x: Not a directory"
    missing = str(tmp_path / "store")
    line = ended(tmp_path, f'store-file = "{missing}"', CREDENTIALS_DIRECTORY=str(tmp_path))
    assert line == f"imd: store-file: cannot read {missing}: No such file or directory"
    line = ended(tmp_path, "", "--listen=systemd:domain=INET:name=clients")
    assert line.endswith("no such socket was handed over")
