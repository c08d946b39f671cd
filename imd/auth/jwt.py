"""Tokens of another system (RFC 7519), checked with one key and one algorithm, without a network.

Nothing in a token chooses how it is checked: a header that tries to is refused, and no claim is
looked at before the signature.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated, Any, Literal

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from msgspec import Meta
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, execute
from zope.interface import implementer

from imd.auth.arguments import Arguments, fault, parse, read

#: Bytes of a token.
MOST_BYTES = 8192
#: Header fields that do not change how a token is checked.
_HEADERS = frozenset(("alg", "kid", "typ"))
#: Bytes of an HMAC key (RFC 7518 §3.2), and bits of an RSA key (§3.3), at least.
_HMAC_BYTES = 32
_RSA_BITS = 2048

Text = Annotated[str, Meta(min_length=1, max_length=256)]


class JwtArguments(Arguments, frozen=True, kw_only=True):
    """Whose tokens, for whom, signed with what; ``leeway`` in seconds."""

    iss: Text
    aud: Text
    alg: Literal["HS256", "EdDSA", "RS256"]
    key: Text
    kid: Text | None = None
    claim: Text = "sub"
    leeway: Annotated[int, Meta(ge=0, le=300)] = 30


@implementer(ICredentialsChecker)
class JwtChecker:
    """The tokens of one issuer and one key.  ``now`` is the wall clock, in seconds."""

    credentialInterfaces = (IUsernamePassword,)

    def __init__(self, arguments: JwtArguments, key: Any, now: Callable[[], float]) -> None:
        self.realm = arguments.realm or f"jwt:{arguments.iss}"
        self.create = arguments.create == "yes"
        self.adopt = arguments.adopt == "yes"
        self._arguments = arguments
        self._key = key
        self._now = now

    def requestAvatarId(self, credentials: Any) -> Deferred[Any]:
        """The name in the token that stands in place of a password."""
        return execute(self._name, credentials.password)

    def _name(self, token: bytes) -> bytes:
        try:
            if len(token) > MOST_BYTES or not self._is_mine(jwt.get_unverified_header(token)):
                raise UnauthorizedLogin("not a token for this key")
            claims = self._verified(token)
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            raise UnauthorizedLogin("not a token, or not a valid one") from None
        name = claims.get(self._arguments.claim)
        if not isinstance(name, str) or not self._is_timely(claims):
            raise UnauthorizedLogin("nobody's, or not of this time")
        return name.encode()

    def _is_mine(self, header: dict[str, Any]) -> bool:
        mine = self._arguments
        known = header.keys() <= _HEADERS
        return known and header.get("alg") == mine.alg and header.get("kid") == mine.kid

    def _verified(self, token: bytes) -> dict[str, Any]:
        """The claims, whose times are still to be looked at."""
        mine = self._arguments
        options: Any = {
            "require": ["exp", "iss", "aud", mine.claim],
            "verify_exp": False,
            "verify_nbf": False,
            "verify_iat": False,
        }
        claims: dict[str, Any] = jwt.decode(
            token,
            self._key,
            algorithms=[mine.alg],
            audience=mine.aud,
            issuer=mine.iss,
            options=options,
        )
        return claims

    def _is_timely(self, claims: dict[str, Any]) -> bool:
        now, leeway = self._now(), self._arguments.leeway
        times = [claims[key] for key in ("exp", "nbf", "iat") if key in claims]
        if not all(type(value) is int and 0 < value < 2**53 for value in times):
            return False
        begin = max(claims.get("nbf", 0), claims.get("iat", 0))
        return bool(begin - leeway <= now < claims["exp"] + leeway)


def checker(text: str) -> JwtChecker:
    """A checker with its key loaded.  Raises ``ConfigError``."""
    arguments = parse("jwt", text, JwtArguments)
    return JwtChecker(arguments, _key(arguments), time.time)


def _key(arguments: JwtArguments) -> Any:
    symmetric = arguments.alg == "HS256"
    raw = read("jwt", "key", arguments.key, private=symmetric)
    if symmetric:
        return _secret(raw.strip())
    try:
        key = load_pem_public_key(raw)
    except (ValueError, UnsupportedAlgorithm):
        raise fault("jwt", f"key: {arguments.key} is not a public key in PEM") from None
    if arguments.alg == "EdDSA" and isinstance(key, Ed25519PublicKey):
        return key
    if arguments.alg == "RS256" and isinstance(key, RSAPublicKey) and key.key_size >= _RSA_BITS:
        return key
    raise fault("jwt", "key: EdDSA takes an Ed25519 key, RS256 an RSA key of 2048 bits or more")


def _secret(raw: bytes) -> bytes:
    if len(raw) < _HMAC_BYTES or raw.startswith(b"-----"):
        raise fault("jwt", f"key: HS256 takes {_HMAC_BYTES} random bytes or more, and no PEM")
    return raw
