"""Tokens of an issuer, and everything that only looks like one."""

from __future__ import annotations

import base64
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from twisted.cred.credentials import UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import SynchronousTestCase

from imd.auth import jwt
from imd.auth.arguments import parse
from imd.errors import ConfigError
from tests.process import FAST, Server, reactor
from tests.raw import connect, login, post
from tests.tokens import AUDIENCE, ISSUER, Key, claims, public, token

#: When the tokens of a test are made.
NOW = 0
ED = Ed25519PrivateKey.generate()
RSA = rsa.generate_private_key(65537, 2048)
WEAK = rsa.generate_private_key(65537, 1024)  # noqa: S505
SECRET = b"s" * 32
SPELLED = ISSUER.replace(":", "\\:")


@pytest.fixture(autouse=True)
def _tokens_are_as_old_as_their_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run may take longer than a token lasts."""
    monkeypatch.setattr(sys.modules[__name__], "NOW", int(time.time()))


def described(key: Path, alg: str = "EdDSA", **more: object) -> str:
    """The arguments of a checker, without its kind."""
    words = {"iss": SPELLED, "aud": AUDIENCE, "alg": alg, "key": key} | more
    return ":".join(f"{name}={value}" for name, value in words.items())


def kept(path: Path, raw: bytes) -> Path:
    """A file that only its owner can read."""
    path.write_bytes(raw)
    path.chmod(0o600)
    return path


def made_of(key: Any, alg: str = "EdDSA", **more: object) -> jwt.JwtChecker:
    """A checker at a fixed time."""
    text = described(Path("key.pem"), alg, **more)
    return jwt.JwtChecker(parse("jwt", text, jwt.JwtArguments), key, lambda: NOW)


def good(**changes: Any) -> dict[str, Any]:
    """The claims of a good token at that time."""
    return claims(now=NOW, **changes)


def forged(header: dict[str, Any], said: dict[str, Any]) -> str:
    """A well-signed token with a header of its own."""
    return token(ED, said, header)


#: Name of a trick, and the token that plays it.
TRICKS: dict[str, Callable[[], str]] = {
    "no signature": lambda: token(None, good()),
    "alg none in another case": lambda: token(None, good(), {"alg": "NoNe"}),
    "none, with a good signature": lambda: forged({"alg": "none"}, good()),
    "HMAC with the public key": lambda: token(public(ED), good()),
    "HMAC under the name of EdDSA": lambda: token(public(ED), good(), {"alg": "EdDSA"}),
    "another key": lambda: token(Ed25519PrivateKey.generate(), good()),
    "another algorithm": lambda: token(RSA, good()),
    "an unknown crit": lambda: forged({"crit": ["b64"], "b64": True}, good()),
    "an empty crit": lambda: forged({"crit": []}, good()),
    "jku": lambda: forged({"jku": "http://127.0.0.1:1/keys"}, good()),
    "x5u": lambda: forged({"x5u": "http://127.0.0.1:1/keys"}, good()),
    "jwk": lambda: forged({"jwk": {"kty": "oct", "k": "AAAA"}}, good()),
    "x5c": lambda: forged({"x5c": ["AAAA"]}, good()),
    "kid that is a path": lambda: forged({"kid": "../../etc/passwd"}, good()),
    "kid that is no text": lambda: forged({"kid": {"a": 1}}, good()),
    "payload in the clear": lambda: forged({"b64": False}, good()),
    "another issuer": lambda: token(ED, good(iss="https://evil.example")),
    "issuers": lambda: token(ED, good(iss=[ISSUER])),
    "no issuer": lambda: token(ED, good(iss=None)),
    "another audience": lambda: token(ED, good(aud="mail")),
    "an audience like it": lambda: token(ED, good(aud="imd2")),
    "no audience": lambda: token(ED, good(aud=None)),
    "an empty audience": lambda: token(ED, good(aud=[])),
    "no exp": lambda: token(ED, good(exp=None)),
    "exp is past": lambda: token(ED, good(exp=NOW - 31)),
    "exp is a float": lambda: token(ED, good(exp=NOW + 10.5)),
    "exp is huge": lambda: token(ED, good(exp=10**30)),
    "exp is text": lambda: token(ED, good(exp=str(NOW + 10))),
    "exp is true": lambda: token(ED, good(exp=True)),
    "exp is infinite": lambda: token(ED, good(exp=float("inf"))),
    "exp is not a number": lambda: token(ED, good(exp=float("nan"))),
    "nbf is to come": lambda: token(ED, good(nbf=NOW + 600)),
    "iat is to come": lambda: token(ED, good(iat=NOW + 600)),
    "nbf is text": lambda: token(ED, good(nbf="0")),
    "no name": lambda: token(ED, good(sub=None)),
    "the name is a number": lambda: token(ED, good(sub=5)),
    "the name is a list": lambda: token(ED, good(sub=["alice"])),
    "claims are a list": lambda: token(ED, [good()]),
    "claims are deep": lambda: nested(),
    "two parts": lambda: token(ED, good()).rpartition(".")[0],
    "four parts": lambda: token(ED, good()) + ".AAAA",
    "too long": lambda: token(ED, good(more="x" * 8192)),
    "no token": lambda: "right",
    "empty": lambda: "",
    "NUL": lambda: token(ED, good()) + "\0",
    "not ASCII": lambda: "é.é.é",
}


def nested() -> str:
    """A token whose claims are lists in lists."""
    deep = base64.urlsafe_b64encode(b"[" * 5000).rstrip(b"=").decode()
    return ".".join((token(ED, good()).split(".")[0], deep, "AAAA"))


class CheckerTests(SynchronousTestCase):
    def name(self, checker: jwt.JwtChecker, text: str) -> bytes:
        said = UsernamePassword(b"alice", text.encode())
        return self.successResultOf(checker.requestAvatarId(said))  # type: ignore[no-any-return]

    def refused(self, checker: jwt.JwtChecker, text: str, why: str = "") -> None:
        said = UsernamePassword(b"alice", text.encode())
        found = checker.requestAvatarId(said)
        outcome: list[Any] = []
        found.addBoth(outcome.append)
        self.assertTrue(getattr(outcome[0], "check", lambda _: 0)(UnauthorizedLogin), why)

    def test_each_algorithm_lets_its_own_tokens_in(self) -> None:
        cases: list[tuple[str, Key, Any]] = [
            ("EdDSA", ED, ED.public_key()),
            ("RS256", RSA, RSA.public_key()),
            ("HS256", SECRET, SECRET),
        ]
        for alg, signing, checking in cases:
            checker = made_of(checking, alg)
            self.assertEqual(self.name(checker, token(signing, good())), b"alice")
            for other, key, _ in cases:
                if other != alg:
                    self.refused(checker, token(key, good()), f"{other} for {alg}")

    def test_every_trick_is_refused(self) -> None:
        checker = made_of(ED.public_key())
        for trick, made in TRICKS.items():
            self.refused(checker, made(), trick)

    def test_times_are_taken_with_the_leeway_and_no_more(self) -> None:
        checker = made_of(ED.public_key(), leeway=30)
        self.name(checker, token(ED, good(exp=NOW - 29, nbf=NOW + 30, iat=NOW + 30)))
        strict = made_of(ED.public_key(), leeway=0)
        self.name(strict, token(ED, good(exp=NOW + 1)))
        self.refused(strict, token(ED, good(exp=NOW)))

    def test_a_key_with_an_id_takes_tokens_with_that_id_alone(self) -> None:
        checker = made_of(ED.public_key(), kid="2026")
        self.name(checker, token(ED, good(), {"kid": "2026"}))
        self.refused(checker, token(ED, good(), {"kid": "2025"}))
        self.refused(checker, token(ED, good()))

    def test_the_claim_of_the_name_and_one_of_several_audiences(self) -> None:
        checker = made_of(ED.public_key(), claim="preferred_username")
        said = good(sub="8d2f", preferred_username="alice", aud=["mail", AUDIENCE])
        self.assertEqual(self.name(checker, token(ED, said)), b"alice")
        self.refused(checker, token(ED, good()))

    def test_realms_of_two_issuers_differ(self) -> None:
        self.assertEqual(made_of(None).realm, f"jwt:{ISSUER}")
        named = made_of(None, realm="corp", create="no", adopt="yes")
        self.assertEqual((named.realm, named.create, named.adopt), ("corp", False, True))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "iss"),
        ("iss=a:aud=b:alg=EdDSA", "key"),
        ("iss=a:aud=b:alg=none:key=k", "alg"),
        ("iss=a:aud=b:alg=EdDSA:key=missing", "key"),
        ("iss=a:aud=b:alg=EdDSA:key=missing:colour=red", "colour"),
        ("iss=a:iss=b", "iss"),
        ("iss", "iss"),
        ("iss=a\\", "backslash"),
        ("iss=a:aud=b:alg=EdDSA:key=k:leeway=301", "leeway"),
        ("iss=a:aud=b:alg=EdDSA:key=k:create=maybe", "create"),
    ],
)
def test_a_mistake_names_the_argument(text: str, named: str) -> None:
    with pytest.raises(ConfigError, match=f"^auth: jwt: .*{named}"):
        jwt.checker(text)


@pytest.mark.parametrize(
    ("alg", "raw", "mode", "named"),
    [
        ("EdDSA", public(RSA), 0o644, "Ed25519"),
        ("RS256", public(ED), 0o644, "RSA"),
        ("RS256", public(WEAK), 0o644, "2048"),
        ("EdDSA", b"none", 0o644, "PEM"),
        ("HS256", public(RSA), 0o600, "no PEM"),
        ("HS256", b"short", 0o600, "32"),
        ("HS256", SECRET, 0o644, "chmod"),
    ],
)
def test_a_key_that_does_not_fit_is_refused(
    alg: str, raw: bytes, mode: int, named: str, tmp_path: Path
) -> None:
    path = kept(tmp_path / "key", raw)
    path.chmod(mode)
    with pytest.raises(ConfigError, match=f"^auth: jwt: key: .*{named}"):
        jwt.checker(described(path, alg))


#: What is refused before anybody looks at it as a token.
REFUSED_BY_FORM = {"too long", "empty", "NUL"}


async def attempt(server: Server, name: str, password: str) -> int:
    """How a login over HTTP ends."""
    params = {"user": name, "password": password, "device": "test"}
    return (await post(server.port, "/v1/account.login", params))[0]


async def test_tokens_log_in_by_both_doors_and_tricks_by_none(tmp_path: Path) -> None:
    key = kept(tmp_path / "key.pem", public(ED))
    server = Server(f"--auth=jwt:{described(key)}", config=FAST + "devices = 1000\n")
    await server.start()
    first = await login(server.port, "alice", password=token(ED, claims()), register=None)
    assert first.welcome["user"]["name"] == "alice"
    for trick, made in TRICKS.items():
        assert await attempt(server, "alice", made()) == (
            400 if trick in REFUSED_BY_FORM else 401
        ), trick
        # Also, so that the name is not locked.
        assert await attempt(server, "Alice", token(ED, claims())) == 200
    await server.close()


async def test_a_token_is_for_the_name_in_it_alone_and_nobody_registers(tmp_path: Path) -> None:
    key = kept(tmp_path / "key.pem", public(ED))
    server = Server(f"--auth=jwt:{described(key)}", config=FAST)
    await server.start()
    assert await attempt(server, "bob", token(ED, claims("alice"))) == 401
    assert await attempt(server, "bob", token(ED, claims("*)(uid=*"))) == 401
    for password in (token(ED, claims("alice")), token(None, claims("bob"))):
        raw = await connect(server.port)
        raw.say({"type": "hello", "req": 1, "user": "bob", "password": password, "device": "x"})
        assert await raw.closed == 4501
    register = {"user": "carol", "password": "secret"}
    assert (await post(server.port, "/v1/account.register", register))[0] == 403
    await server.close()


async def test_no_address_in_a_token_is_ever_called(tmp_path: Path) -> None:
    called: list[Any] = []

    class Called(Protocol):
        def connectionMade(self) -> None:
            called.append(self)

    port = reactor.listenTCP(0, Factory.forProtocol(Called), interface="127.0.0.1")
    address = f"http://127.0.0.1:{port.getHost().port}/keys"
    key = kept(tmp_path / "key.pem", public(ED))
    server = Server(f"--auth=jwt:{described(key)}", config=FAST)
    await server.start()
    for field in ("jku", "x5u", "kid"):
        made = token(ED, claims("alice") | {"iss": address}, {field: address})
        assert await attempt(server, f"user-{field}", made) == 401
    await server.close()
    assert called == []
    await port.stopListening()


async def test_a_new_key_holds_from_sighup_on_and_a_bad_one_changes_nothing(
    tmp_path: Path,
) -> None:
    new = Ed25519PrivateKey.generate()
    key = kept(tmp_path / "key.pem", public(ED))
    server = Server(f"--auth=jwt:{described(key)}", config=FAST)
    await server.start()
    session = await login(server.port, "alice", password=token(ED, claims()), register=None)
    kept(key, public(new))
    assert await attempt(server, "alice", token(new, claims())) == 401
    await server.hang_up("certificates and keys were read again")
    for bad in (b"no key", None):
        assert await attempt(server, "alice", token(ED, claims())) == 401
        assert await attempt(server, "alice", token(new, claims())) == 200
        kept(key, bad) if bad else key.unlink()
        await server.hang_up("what was read before stays in use")
    assert await attempt(server, "alice", token(new, claims())) == 200
    await session.call("account.get")
    await server.close()


async def test_two_keys_of_one_issuer_open_the_same_account(tmp_path: Path) -> None:
    new = Ed25519PrivateKey.generate()
    options = []
    for kid, each in (("old", ED), ("new", new)):
        path = kept(tmp_path / f"{kid}.pem", public(each))
        options.append(f"--auth=jwt:{described(path, kid=kid)}")
    server = Server(*options, config=FAST)
    await server.start()
    ids = set()
    for kid, each in (("old", ED), ("new", new)):
        made = token(each, claims(), {"kid": kid})
        params = {"user": "alice", "password": made, "device": kid}
        code, answer = await post(server.port, "/v1/account.login", params)
        assert code == 200
        ids.add(json.dumps(answer["user"]))
    assert len(ids) == 1
    await server.close()
