"""One tree of errors.  Whose fault it was decides what happens next.

- ``Refusal``: the peer asked for something it cannot have.  It is answered with
  its code (protocol §9) and logged at debug level.
    - ``SessionRefused``: the answer is a close of the connection.
- ``Unavailable``: a dependency did not answer in time.  Retried, or answered
  ``unavailable``; one log line an outage.
    - ``StoreFull``: no room for the bytes of files; answered 507.
- ``ConfigError``: the operator's mistake.  One line that names the key, exit 78.

Anything else that is raised is a defect of imd: logged with its traceback,
answered ``internal``; the session it happened in ends, no other notices.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum


class Code(StrEnum):
    """The stable codes of ``nack`` and ``error`` frames and of HTTP errors (protocol §9)."""

    BAD_REQUEST = "bad_request"
    BAD_ID = "bad_id"
    TOO_LARGE = "too_large"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    NO_FILE = "no_file"
    EXISTS = "exists"
    CONFLICT = "conflict"
    LIMIT = "limit"
    UNAUTHORIZED = "unauthorized"
    LOCKED = "locked"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"


#: The HTTP status that goes with each code.
STATUS = {
    Code.BAD_REQUEST: 400,
    Code.BAD_ID: 400,
    Code.UNAUTHORIZED: 401,
    Code.FORBIDDEN: 403,
    Code.NOT_FOUND: 404,
    Code.NO_FILE: 409,
    Code.EXISTS: 409,
    Code.CONFLICT: 409,
    Code.TOO_LARGE: 413,
    Code.LIMIT: 429,
    Code.LOCKED: 429,
    Code.UNAVAILABLE: 503,
    Code.INTERNAL: 500,
}


class Close(IntEnum):
    """Close codes of imd (protocol §9): 4000-4499 mean "reconnect", 4500-4999 "do not"."""

    DRAINING = 4000
    STORAGE_UNAVAILABLE = 4001
    SLOW_CONSUMER = 4002
    SILENCE = 4003
    NO_HELLO = 4004
    INTERNAL = 4005
    ABUSIVE_RATE = 4006
    RESYNC = 4007
    PROTOCOL_VIOLATION = 4500
    BAD_CREDENTIALS = 4501
    REPLACED = 4502
    VERSION = 4503
    DISABLED = 4504
    CONNECTION_LIMIT = 4505


class ImdError(Exception):
    """The root of every error that imd raises on purpose."""


class Refusal(ImdError):
    """The peer asked for something it cannot have; ``message`` says what to do next."""

    def __init__(self, code: Code, message: str, retry_after: float | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        #: Seconds after which the same request may succeed, where that is known.
        self.retry_after = retry_after


class SessionRefused(Refusal):
    """A refusal that ends the connection with ``close`` (protocol §9)."""

    def __init__(self, close: Close, code: Code, message: str) -> None:
        super().__init__(code, message)
        self.close = close


class Unavailable(ImdError):
    """A dependency (storage, user status) did not answer in time; the request may be repeated.

    ``is_outage``: whoever watches the dependency knows that it is away, and has logged it.
    """

    def __init__(self, message: str, is_outage: bool = False) -> None:
        super().__init__(message)
        self.is_outage = is_outage


class StoreFull(Unavailable):
    """The store of files has no room for more; messages are not concerned."""


class ConfigError(ImdError):
    """The configuration cannot be used; ``key`` is the key (or option) to correct.

    ``may_pass``: perhaps nobody has to correct anything, for a failover is under way.
    """

    def __init__(self, key: str, message: str, may_pass: bool = False) -> None:
        super().__init__(f"{key}: {message}")
        self.key = key
        self.may_pass = may_pass
