"""What one node tells another: it comes back as what it was, and stays small."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from imd.hints import AnyHint, Notify, Push, Replace, Revoke

numbers = st.integers(0, 2**53 - 1)
several = st.lists(numbers, max_size=5).map(tuple)
hints = st.one_of(
    st.builds(Push, several, numbers, numbers, st.binary()),
    st.builds(Notify, several, st.binary()),
    st.builds(Revoke, numbers, several),
    st.builds(Replace, numbers, numbers, numbers),
)


class HintTests(SynchronousTestCase):
    """Hints travel as arrays with a number for their kind."""

    @given(st.lists(hints, max_size=5))
    def test_a_batch_of_hints_comes_back(self, sent: list[AnyHint]) -> None:
        for codec in [msgspec.msgpack, msgspec.json]:
            found = codec.decode(codec.encode(sent), type=list[AnyHint])  # type: ignore[attr-defined]
            self.assertEqual(found, sent)

    def test_kinds_keep_their_numbers(self) -> None:
        kinds = {kind.__struct_config__.tag: kind for kind in [Push, Notify, Revoke, Replace]}
        self.assertEqual(kinds, {1: Push, 2: Notify, 3: Revoke, 4: Replace})
        self.assertEqual(msgspec.json.encode(Revoke(5, (7, 8))), b"[3,5,[7,8]]")

    def test_a_newer_node_may_say_more_and_other_kinds_are_an_error(self) -> None:
        self.assertEqual(msgspec.json.decode(b'[4,1,2,3,"more"]', type=AnyHint), Replace(1, 2, 3))
        with self.assertRaises(msgspec.ValidationError):
            msgspec.json.decode(b"[9,1]", type=AnyHint)
