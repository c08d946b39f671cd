"""How Twisted finds the checkers of imd: one factory each, which loads what it needs when asked."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from twisted.cred.credentials import IUsernamePassword
from twisted.cred.strcred import ICheckerFactory
from twisted.plugin import IPlugin
from zope.interface import implementer

from imd.errors import ConfigError


@implementer(ICheckerFactory, IPlugin)
class Factory:
    """Makes checkers of ``kind``, by the function ``checker`` of ``imd.auth.KIND``."""

    credentialInterfaces = (IUsernamePassword,)

    def __init__(self, kind: str, about: str, arguments: str) -> None:
        self.authType = kind
        self.authHelp = f"{about}  See docs/authentication.rst.\n"
        self.argStringFormat = arguments

    def generateChecker(self, argstring: str) -> Any:
        """Make a checker.  Raises ``ConfigError``."""
        kind = self.authType
        try:
            module = import_module(f"imd.auth.{kind}")
        except ModuleNotFoundError as error:
            text = f"{kind}: {error.name} is missing; run: pip install 'imd[{kind}]'"
            raise ConfigError("auth", text) from None
        return module.checker(argstring)
