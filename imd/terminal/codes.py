"""How ``imd chat``, ``imd send`` and ``imd tail`` end: the exit codes of sysexits.h."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes; what is not listed here never occurs."""

    OK = 0
    #: The command line cannot be understood.
    USAGE = 64
    #: The message is empty, too long, or not UTF-8; a file is too large.
    DATA = 65
    #: A file cannot be read: the one with the password, or one to be sent.
    NO_INPUT = 66
    #: There is no conversation with that user: not a friend, or nobody.
    NO_USER = 67
    #: The server was not reached in time.
    UNAVAILABLE = 69
    #: The state on this machine cannot be created, read or written.
    STATE = 73
    #: The output cannot be written, or a file not be saved.
    OUTPUT = 74
    #: Not yet: no receipt in time, interrupted, another process uses the same state, or the
    #: server has no room for a file now.
    TEMPORARY = 75
    #: The server said no: to the login, or to the message.
    REFUSED = 77
    #: The configuration file is wrong.
    CONFIG = 78
    #: Whoever read our output has gone; what a shell reports for SIGPIPE.
    BROKEN_PIPE = 141


class Ending(Exception):
    """The program ends with ``code`` and one line on standard error.

    ``interrupted``: a signal has asked for it.
    """

    def __init__(self, code: Exit, message: str = "", interrupted: bool = False) -> None:
        super().__init__(message)
        self.interrupted = interrupted
        self.code = code
        self.message = message
