"""Getting in, and getting back in: credentials, and R9 of protocol §5."""

from __future__ import annotations

from typing import Any

from msgspec import Struct, structs

from imd import wire
from imd.client.effects import Reconnect, Stop
from imd.errors import Close, Code

#: R9: the delay before attempt n is at most this base to the power n, and the longest one.
BACKOFF_BASE = 1.7
BACKOFF_LONGEST = 60.0
#: Seconds to stay away at least after too many messages (4006, protocol §9).
ABUSIVE_WAIT = 30.0
#: From this power on the delay is the longest one; further counting would only overflow.
_ATTEMPTS = 64


class Login(Struct, frozen=True):
    """What to log in with while there is no token yet, and how the client names itself."""

    user: str | None = None
    password: str | None = None
    token: str | None = None
    device: str = "python"
    register: bool = False
    agent: str = ""


class Entrance:
    """Says with what to knock, and after a refusal whether and when to knock again."""

    def __init__(self, login: Login, token: str | None) -> None:
        """``token`` is the one that was kept from an earlier login."""
        self._login = login
        self.token = token if login.token is None else login.token
        self._attempts = 0
        self._admitted = False

    def hello(self, req: int, since: str | None, tail: int) -> wire.Hello:
        """The first frame of a session."""
        self._admitted = False
        fields: dict[str, Any] = {"req": req, "tail": tail}
        if since is not None:
            fields["since"] = since
        if self._login.agent:
            fields["agent"] = self._login.agent
        return wire.Hello(**fields, **self._credentials())

    def _credentials(self) -> dict[str, Any]:
        if self.token is not None:
            return {"token": self.token}
        login = self._login
        fields: dict[str, Any] = {
            "user": login.user or "",
            "password": login.password or "",
            "device": login.device,
        }
        return fields | {"register": True} if login.register else fields

    def admitted(self, token: str | None) -> None:
        """The server said welcome; a login by password came with a ``token``."""
        self._admitted = True
        self.token = token or self.token

    def succeeded(self) -> None:
        """A session came as far as being useful: delays begin anew."""
        self._attempts = 0

    def next(
        self,
        code: int | None,
        reason: str,
        retry_ms: int | None,
        error: wire.Error | None,
        random: float,
    ) -> Reconnect | Stop:
        """R9: what to do after a connection has ended with ``code`` (None: without a close).

        ``error`` is what the server answered to ``hello``, and ``retry_ms`` what it said in
        ``bye``; that overrides the delay, but not a code that forbids to come back.
        """
        if code is not None and 4500 <= code <= 4999:
            name = "" if error is None else error.code
            if code == Close.BAD_CREDENTIALS and not self._admitted and self._other(name):
                return Reconnect(0.0)
            return Stop(code, name, reason)
        delay = min(BACKOFF_LONGEST, BACKOFF_BASE**self._attempts) * random
        if code == Close.ABUSIVE_RATE:
            delay += ABUSIVE_WAIT
        self._attempts = min(self._attempts + 1, _ATTEMPTS)
        return Reconnect(delay if retry_ms is None else retry_ms / 1000)

    def _other(self, error: str) -> bool:
        """Whether there is something else to log in with than what was just refused."""
        if self.token is not None and self._login.password is not None:
            self.token = None
            return True
        if self._login.register and error == Code.EXISTS:
            self._login = structs.replace(self._login, register=False)
            return True
        return False
