"""Tokens of an issuer, and forged ones, made without the library that reads them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from typing import Any

from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

ISSUER = "https://sso.example.org"
AUDIENCE = "imd"

Key = Ed25519PrivateKey | RSAPrivateKey | bytes | None


def claims(name: Any = "alice", now: float | None = None, **changes: Any) -> dict[str, Any]:
    """What a good token says; a change to None takes a claim out."""
    begin = int(time.time() if now is None else now)
    good = {"iss": ISSUER, "aud": AUDIENCE, "sub": name, "exp": begin + 300}
    return {key: value for key, value in (good | changes).items() if value is not None}


def token(key: Key, said: Any, header: dict[str, Any] | None = None) -> str:
    """A token of these claims; None signs with nothing."""
    top = {"alg": _algorithm(key), "typ": "JWT"} | (header or {})
    text = f"{_encoded(json.dumps(top).encode())}.{_encoded(json.dumps(said).encode())}"
    return f"{text}.{_encoded(_signed(key, text.encode()))}"


def public(key: Ed25519PrivateKey | RSAPrivateKey) -> bytes:
    """What an operator is given, in PEM."""
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def _algorithm(key: Key) -> str:
    if key is None:
        return "none"
    if isinstance(key, bytes):
        return "HS256"
    return "RS256" if isinstance(key, RSAPrivateKey) else "EdDSA"


def _signed(key: Key, text: bytes) -> bytes:
    if key is None:
        return b""
    if isinstance(key, bytes):
        return hmac.new(key, text, hashlib.sha256).digest()
    if isinstance(key, RSAPrivateKey):
        return key.sign(text, padding.PKCS1v15(), SHA256())
    return key.sign(text)


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
