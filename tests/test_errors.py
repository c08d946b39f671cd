"""Codes and errors: what clients rely on, and what an operator reads."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from imd.errors import Close, Code, ConfigError, ImdError, Refusal, SessionRefused, Unavailable


class CodeTests(SynchronousTestCase):
    """The codes are the wire: they never change."""

    def test_the_codes_of_errors_are_those_of_the_protocol(self) -> None:
        listed = (
            "bad_request bad_id too_large forbidden not_found no_file exists conflict limit "
            "unauthorized locked unavailable internal"
        )
        self.assertEqual([str(code) for code in Code], listed.split())

    def test_the_codes_of_closes_are_those_of_the_protocol(self) -> None:
        again, never = [c for c in Close if c < 4500], [c for c in Close if c >= 4500]
        self.assertEqual([int(code) for code in again], list(range(4000, 4008)))
        self.assertEqual([int(code) for code in never], list(range(4500, 4506)))
        self.assertEqual((Close.DRAINING, Close.ABUSIVE_RATE, Close.RESYNC), (4000, 4006, 4007))
        self.assertEqual((Close.REPLACED, Close.CONNECTION_LIMIT), (4502, 4505))


class ErrorTests(SynchronousTestCase):
    """Errors say whose fault it was, and what to do."""

    def test_errors_carry_what_their_readers_need(self) -> None:
        refusal = Refusal(Code.LIMIT, "too many", 5)
        self.assertEqual((str(refusal), refusal.retry_after), ("limit: too many", 5))
        self.assertIsNone(Refusal(Code.EXISTS, "taken").retry_after)
        refused = SessionRefused(Close.DISABLED, Code.FORBIDDEN, "disabled")
        self.assertEqual((refused.close, refused.code), (4504, "forbidden"))
        self.assertEqual(str(ConfigError("limits.rate", "a number")), "limits.rate: a number")

    def test_all_are_of_one_tree(self) -> None:
        for kind in [Refusal, SessionRefused, Unavailable, ConfigError]:
            self.assertTrue(issubclass(kind, ImdError))
        self.assertTrue(issubclass(SessionRefused, Refusal))
