"""What a client is told of a request that failed."""

from __future__ import annotations

from twisted.logger import Logger

from imd.errors import Code, Refusal, Unavailable

_log = Logger()


def refusal_of(error: Exception) -> Refusal:
    """Call from where it was caught: a defect is logged with its traceback."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, Unavailable):
        return Refusal(Code.UNAVAILABLE, "storage does not answer; try again later")
    _log.failure("request failed")
    return Refusal(Code.INTERNAL, "this is a defect of the server; it was logged")
