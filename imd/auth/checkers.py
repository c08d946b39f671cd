"""Other systems that check logins: credentials checkers of Twisted, as ``--auth`` names them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from twisted.cred.credentials import IUsernamePassword, UsernamePassword
from twisted.cred.error import LoginFailed, UnhandledCredentials
from twisted.cred.strcred import InvalidAuthType, makeChecker
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger

from imd.errors import ConfigError, Unavailable

#: The name of accounts whose password is kept by imd itself.
OWN = "password"
#: Seconds that a checker gets.
DEADLINE = 5.0
#: Logins that may wait for one checker at once.
MOST = 64


class OtherSystem:
    """A credentials checker as the application sees it; see ``imd.interfaces.passwords.Checker``.

    The checker is believed only when the name it answers is the name that was said.  It may have
    attributes ``realm`` (without it, ``kind`` is the realm), ``create`` and ``adopt``.

    ``make`` makes it, now and whenever its files are to be read again.
    """

    _log = Logger()

    def __init__(self, kind: str, make: Callable[[], Any], clock: Any) -> None:
        checker = make()
        self.realm: str = getattr(checker, "realm", kind)
        self.create: bool = getattr(checker, "create", True)
        self.adopt: bool = getattr(checker, "adopt", False)
        self._make = make
        self._checker = checker
        self._clock = clock
        self._waiting = 0

    async def check(self, name: str, password: str) -> bool:
        """See ``Checker``.  Whatever a checker fails with, it lets nobody in."""
        if self._waiting >= MOST:
            raise Unavailable("too many logins at once")
        self._waiting += 1
        try:
            avatar = await self._ask(name, password)
        except (LoginFailed, UnhandledCredentials):
            return False
        except Exception as error:
            text = f"{type(error).__name__}: {error}"[:256]
            self._log.warn("{realm} cannot check logins: {text}", realm=self.realm, text=text)
            raise Unavailable(f"{self.realm} does not answer") from None
        finally:
            self._waiting -= 1
        return _named(avatar) == name

    def renew(self) -> None:
        """Read keys, passwords and authorities again, for all later logins.

        Raises ``ConfigError``, and asks the old checker on, if the new one cannot be had.
        """
        self._checker = self._make()

    def _ask(self, name: str, password: str) -> Deferred[Any]:
        said = UsernamePassword(name.encode(), password.encode())
        asked: Deferred[Any] = maybeDeferred(self._checker.requestAvatarId, said)
        return asked.addTimeout(DEADLINE, self._clock)


def checkers_of(descriptions: Sequence[str], clock: Any) -> tuple[OtherSystem, ...]:
    """All but imd's own accounts, in order.  Raises ``ConfigError``."""
    return tuple(
        OtherSystem(text.partition(":")[0], partial(_made, text), clock)
        for text in descriptions
        if text != OWN
    )


def _made(description: str) -> Any:
    kind = description.partition(":")[0]
    if kind == OWN:
        raise ConfigError("auth", f'"{OWN}" stands alone; nothing follows it')
    try:
        checker: Any = makeChecker(description)
    except ConfigError:
        raise
    except InvalidAuthType:
        raise ConfigError("auth", f'there is no "{kind}"; see docs/authentication.rst') from None
    except Exception as error:
        # It comes from anybody's plugin.
        raise ConfigError("auth", f"{kind}: {error or type(error).__name__}") from None
    if IUsernamePassword not in checker.credentialInterfaces:
        raise ConfigError("auth", f"{kind}: it does not check names and passwords")
    return checker


def _named(avatar: Any) -> str | None:
    if isinstance(avatar, bytes):
        avatar = avatar.decode(errors="replace")
    return avatar.casefold() if isinstance(avatar, str) else None
