"""What a user of the client has to expect.

- ``Refused``: the server said no, for good; ``code`` says why.
- ``LoginFailed``: it does not let us in.
- ``Disconnected``: a request was not answered because the connection ended, or the client
  was stopped.  A message that was being sent is not lost by that: it stays in the outbox.
- ``Damaged``: the bytes of a file are not those that were sent.
- ``Changed``: a file was written to while it was sent.
- ``StoreError``: the client's own file cannot be used.
"""

from __future__ import annotations

from imd.errors import ImdError


class ClientError(ImdError):
    """The root of the client's errors."""


class Refused(ClientError):
    """The server refused a message or a call, for good.  For the codes see ``imd.errors.Code``."""

    def __init__(self, code: str, message: str = "") -> None:
        super().__init__(f"{code}: {message}" if message else code)
        self.code = code
        self.message = message


class LoginFailed(ClientError):
    """The server ended the session and does not want us back (close codes 4500 to 4999)."""

    def __init__(self, code: str, close: int, message: str = "") -> None:
        super().__init__(f"{code or close}: {message}" if message else str(code or close))
        self.code = code
        self.close = close
        self.message = message


class Disconnected(ClientError):
    """The connection ended before the answer came, or the client is not running."""


class Damaged(ClientError):
    """A file has other bytes than its message says."""


class Changed(ClientError):
    """A file was written to while it was sent, so that nobody can say what was sent."""


class StoreError(ClientError):
    """The file cannot be used as a store; the message says why."""
