"""Checkers of Twisted as ``--auth`` names them: imd's own, Twisted's, and anybody's."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.cred.checkers import AllowAnonymousAccess, InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.strcred import ICheckerFactory
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.plugin import getPlugins
from twisted.trial.unittest import SynchronousTestCase

from imd.auth.checkers import DEADLINE, MOST, OtherSystem, checkers_of
from imd.auth.factories import Factory
from imd.errors import ConfigError, Unavailable
from tests import process
from tests.process import FAST, ROOT, Server, twistd
from tests.raw import login, post

DOCUMENT = (ROOT / "docs" / "authentication.rst").read_text(encoding="utf-8")


class Scripted:
    """A checker that does as it is told."""

    credentialInterfaces = (IUsernamePassword,)

    def __init__(self, answer: Callable[[Any], Any]) -> None:
        self.requestAvatarId = answer


def failing(error: Exception) -> Callable[[Any], Any]:
    def answer(said: Any) -> Any:
        raise error

    return answer


class OtherSystemTests(SynchronousTestCase):
    def asked(self, answer: Callable[[Any], Any], name: str = "alice") -> Deferred[bool]:
        self.clock = Clock()
        system = OtherSystem("test", lambda: Scripted(answer), self.clock)
        return Deferred.fromCoroutine(system.check(name, "secret"))

    def test_the_name_that_was_said_has_to_be_the_answer(self) -> None:
        for avatar in (b"alice", "alice", b"Alice"):
            self.assertTrue(self.successResultOf(self.asked(lambda _, a=avatar: a)))
        for avatar in (b"bob", "", (), None, True, 1, b"\xff", ["alice"]):
            self.assertFalse(self.successResultOf(self.asked(lambda _, a=avatar: a)))

    def test_it_may_answer_later_or_by_a_coroutine(self) -> None:
        later: Deferred[bytes] = Deferred()
        asked = self.asked(lambda _: later)
        self.assertNoResult(asked)
        later.callback(b"alice")
        self.assertTrue(self.successResultOf(asked))

        async def answer(said: Any) -> bytes:
            return b"alice" if said.checkPassword(b"secret") else b""

        self.assertTrue(self.successResultOf(self.asked(answer)))

    def test_a_refusal_is_a_no_and_everything_else_an_outage(self) -> None:
        self.assertFalse(self.successResultOf(self.asked(failing(UnauthorizedLogin()))))
        for error in (OSError("away"), ValueError("defect"), KeyError("alice")):
            self.failureResultOf(self.asked(failing(error)), Unavailable)

    def test_silence_is_an_outage_after_the_deadline(self) -> None:
        asked = self.asked(lambda _: Deferred())
        self.clock.advance(DEADLINE - 0.1)
        self.assertNoResult(asked)
        self.clock.advance(0.2)
        self.failureResultOf(asked, Unavailable)

    def test_not_more_than_so_many_logins_wait_and_their_places_come_back(self) -> None:
        clock = Clock()
        system = OtherSystem("test", lambda: Scripted(lambda _: Deferred()), clock)
        waiting = [Deferred.fromCoroutine(system.check("a", "b")) for _ in range(MOST)]
        self.failureResultOf(Deferred.fromCoroutine(system.check("a", "b")), Unavailable)
        clock.advance(DEADLINE + 1)
        for each in waiting:
            self.failureResultOf(each, Unavailable)
        self.assertNoResult(Deferred.fromCoroutine(system.check("a", "b")))

    def test_what_a_checker_does_not_say_of_itself_is_the_default(self) -> None:
        system = OtherSystem("test", InMemoryUsernamePasswordDatabaseDontUse, Clock())
        self.assertEqual((system.realm, system.create, system.adopt), ("test", True, False))

    def test_files_are_read_again_and_a_bad_one_leaves_things_as_they_are(self) -> None:
        made = [Scripted(lambda _: "alice"), Scripted(lambda _: "bob")]

        def make() -> Scripted:
            if not made:
                raise ConfigError("auth", "no key")
            return made.pop(0)

        def asked() -> bool:
            return self.successResultOf(Deferred.fromCoroutine(system.check("bob", "secret")))

        system = OtherSystem("test", make, Clock())
        self.assertFalse(asked())
        system.renew()
        self.assertTrue(asked())
        with self.assertRaises(ConfigError):
            system.renew()
        self.assertTrue(asked())


class DescriptionTests(SynchronousTestCase):
    def test_twisted_finds_the_checkers_of_imd(self) -> None:
        found = {f.authType for f in getPlugins(ICheckerFactory) if isinstance(f, Factory)}
        self.assertEqual(found, {"jwt", "ldap"})

    def test_accounts_of_imd_itself_are_no_other_system(self) -> None:
        self.assertEqual(checkers_of(["password"], Clock()), ())
        top = tempfile.TemporaryDirectory(prefix="imd-test-")
        self.addCleanup(top.cleanup)
        path = Path(top.name) / "people"
        path.write_text("alice:secret\n")
        (system,) = checkers_of(["password", f"file:{path}"], Clock())
        asked = Deferred.fromCoroutine(system.check("alice", "secret"))
        self.assertTrue(self.successResultOf(asked))

    def test_a_mistake_is_one_of_the_key_auth(self) -> None:
        for text in ("nobody", "nobody:x", "memory:odd", "anonymous", "jwt", "ldap:host=a", ""):
            with self.assertRaises(ConfigError) as caught:
                checkers_of([text], Clock())
            self.assertEqual(caught.exception.key, "auth")
            self.assertNotIn("\n", str(caught.exception))

    def test_a_checker_of_something_else_is_refused(self) -> None:
        self.assertNotIn(IUsernamePassword, AllowAnonymousAccess.credentialInterfaces)
        with self.assertRaisesRegex(ConfigError, "names and passwords"):
            checkers_of(["anonymous"], Clock())


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("host=h:base=b:tls=none", "tls"),
        ("host=h:base=b:port=0", "port"),
        ("host=h:base=b:bind=cn=a", "go together"),
        ("host=h:base=b:bind=cn=a:password=missing", "password"),
        ("host=h:base=b:ca=missing", "ca"),
        ("host=h:base=b:ca=/etc/passwd", "ca"),
        ("base=b", "host"),
    ],
)
def test_a_mistake_about_a_directory_names_the_argument(text: str, named: str) -> None:
    with pytest.raises(ConfigError, match=f"^auth: ldap: .*{named}"):
        checkers_of([f"ldap:{text}"], Clock())


@pytest.mark.parametrize(("kind", "package"), [("jwt", "jwt"), ("ldap", "ldaptor")])
def test_without_its_extra_a_checker_says_what_to_install(
    kind: str, package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"{package}.py").write_text(
        f"raise ModuleNotFoundError(\"No module named '{package}'\", name='{package}')\n"
    )
    on_path(monkeypatch, tmp_path)
    ended = twistd(f"--auth={kind}:x=y", cwd=tmp_path)
    assert ended.returncode == 78, ended.stderr
    line = f"imd: auth: {kind}: {package} is missing; run: pip install 'imd[{kind}]'\n"
    assert ended.stderr == line
    assert not (tmp_path / "imd-data").exists()


def test_an_unknown_checker_ends_the_start_with_one_line(tmp_path: Path) -> None:
    ended = twistd("--auth=nobody", cwd=tmp_path)
    assert (ended.returncode, ended.stderr.count("\n")) == (78, 1)
    assert ended.stderr.startswith("imd: auth: ")


def on_path(monkeypatch: pytest.MonkeyPatch, directory: Path) -> None:
    """Put a directory before the sources on the Python path of children."""
    usual = process.environment()
    path = f"{directory}:{usual['PYTHONPATH']}"
    monkeypatch.setattr(process, "environment", lambda *_: usual | {"PYTHONPATH": path})


def example() -> str:
    """The plugin that the document shows."""
    _, _, rest = DOCUMENT.partition("friends.txt``::\n")
    block = re.match(r"(?:\n|    .*\n)+", rest)
    assert block is not None
    return "\n".join(line[4:] for line in block[0].strip("\n").splitlines()) + "\n"


async def test_the_plugin_of_the_document_logs_people_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugins = tmp_path / "twisted" / "plugins"
    plugins.mkdir(parents=True)
    (plugins / "friends_auth.py").write_text(example())
    people = tmp_path / "friends.txt"
    people.write_text("alice wonderland\n")
    on_path(monkeypatch, tmp_path)
    server = Server(f"--auth=friends:{people}", config=FAST)
    await server.start()
    alice = await login(server.port, "alice", password="wonderland", register=None)
    assert alice.welcome["user"]["name"] == "alice"
    for password, expected in (("wonderland", 200), ("wrong", 401)):
        params = {"user": "alice", "password": password, "device": "test"}
        assert (await post(server.port, "/v1/account.login", params))[0] == expected
    await server.close()
