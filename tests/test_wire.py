"""What is a frame and what is not: the grammar of the wire, and its strictness."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import UNSET, Raw
from twisted.trial.unittest import SynchronousTestCase

from imd import decoding, wire
from imd.decoding import Malformed, NotJson, decode
from imd.methods import AddFriend
from imd.wire import encode

UUID = "01900000-0000-7000-8000-0000000000a1"

PING: dict[str, Any] = {"type": "ping", "n": 1}
#: One frame of each type with all its fields (``fetch`` and ``hello`` with more than go together).
FULL: list[dict[str, Any]] = [
    {"type": "hello", "req": 1, "token": "t", "user": "u", "password": "p", "device": "d"}
    | {"register": True, "since": "e:1", "tail": 50, "caps": ["a"], "agent": "x/1"},
    {"type": "send", "id": UUID, "conv": 7, "kind": "text", "body": {"text": "hi"}},
    {"type": "mark", "conv": 7, "delivered": 3, "read": 2},
    {"type": "fetch", "req": "r", "conv": 7, "limit": 200, "after": 1, "before": 9},
    {"type": "sync", "req": 1, "since": "e:1", "tail": 0},
    {"type": "call", "req": 1, "method": "friend.list", "params": {}},
    PING,
]
FILE: dict[str, Any] = {"file": 5, "name": "a.txt", "size": 3, "mime": "text/plain"}
FILE |= {"sha256": "0f" * 32, "text": "look"}
OPTIONAL = {
    "hello": {"token", "user", "password", "device", "register", "since", "tail", "caps", "agent"},
    "send": set(),
    "mark": {"delivered", "read"},
    "fetch": {"after", "before"},
    "sync": {"since", "tail"},
    "call": {"params"},
    "ping": set(),
}

# -- any frame

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
ids = st.integers(1, 2**53 - 1)
seqs = st.integers(0, 2**53 - 1)
whole = st.integers(-(2**53) + 1, 2**53 - 1)
reqs = whole | st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=64)
raws = st.recursive(
    st.none() | st.booleans() | whole | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
).map(lambda value: Raw(encode(value)))


def short(longest: int) -> st.SearchStrategy[str]:
    return st.text(
        st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=longest
    )


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.just(UNSET) | strategy


hellos = st.builds(
    wire.Hello,
    req=reqs,
    token=maybe(short(256)),
    user=maybe(short(256)),
    password=maybe(short(8192)),
    device=maybe(short(64)),
    register=maybe(st.booleans()),
    since=maybe(short(256)),
    tail=maybe(st.integers(0, 50)),
    caps=maybe(st.lists(short(64), max_size=32)),
    agent=maybe(short(200)),
)
bodies = st.builds(wire.TextBody, texts) | st.builds(
    wire.FileBody,
    file=ids,
    name=short(255).filter(bool),
    size=seqs,
    mime=short(127).filter(bool),
    sha256=st.text("0123456789abcdef", min_size=64, max_size=64),
    text=maybe(texts),
)
sends = st.builds(
    wire.Send,
    id=short(64),
    conversation=ids,
    kind=st.sampled_from(["text", "file"]),
    body=raws | bodies.map(lambda body: Raw(encode(body))),
)
marks = st.builds(wire.Mark, conversation=ids, delivered=maybe(seqs), read=maybe(seqs))
fetches = st.builds(
    wire.Fetch,
    req=reqs,
    conversation=ids,
    limit=st.integers(1, 200),
    after=maybe(seqs),
    before=maybe(seqs),
)
syncs = st.builds(wire.Sync, req=reqs, since=maybe(short(256)), tail=maybe(st.integers(0, 50)))
calls = st.builds(wire.Call, req=reqs, method=short(64), params=maybe(raws))
pings = st.builds(wire.Ping, whole)
client_frames = st.one_of(hellos, sends, marks, fetches, syncs, calls, pings)

messages: dict[str, Any] = {
    "seq": seqs,
    "sender": ids,
    "device": ids,
    "id": texts,
    "at": seqs,
    "kind": texts,
    "body": raws,
}
heads = st.builds(
    wire.HeadItem,
    conversation=ids,
    kind=texts,
    last=seqs,
    floor=seqs,
    delivered=seqs,
    read=seqs,
    peers=st.lists(st.builds(wire.PeerHead, ids, texts, seqs, seqs), max_size=2),
)
server_frames = st.one_of(
    st.builds(
        wire.Welcome,
        req=reqs,
        user=st.builds(wire.UserRef, ids, texts),
        device=ids,
        session=seqs,
        epoch=texts,
        now=seqs,
        heartbeat=seqs,
        limits=st.builds(wire.Limits, seqs, seqs, seqs, seqs, seqs),
        roster=seqs,
        caps=st.lists(texts, max_size=2),
        token=maybe(texts),
    ),
    st.builds(wire.Ack, id=texts, conversation=ids, seq=seqs, at=seqs, dup=st.booleans()),
    st.builds(wire.Nack, id=texts, code=texts, message=maybe(texts)),
    st.builds(wire.Msg, conversation=ids, **messages),
    st.builds(
        wire.Msgs,
        req=reqs,
        conversation=ids,
        items=st.lists(st.builds(wire.Item, **messages), max_size=2),
        floor=seqs,
        more=st.booleans(),
    ),
    st.builds(
        wire.Heads,
        req=reqs,
        items=st.lists(heads, max_size=2),
        done=st.booleans(),
        next=maybe(texts),
    ),
    st.builds(wire.Poke, conversation=ids, last=seqs),
    st.builds(wire.Receipt, conversation=ids, user=ids, delivered=seqs, read=seqs),
    st.builds(wire.Result, req=reqs, data=whole | texts),
    st.builds(wire.Error, code=texts, message=maybe(texts), req=maybe(reqs)),
    st.builds(wire.Event, name=texts, data=whole | texts),
    st.builds(wire.Pong, n=whole, now=seqs, since=maybe(texts)),
    st.builds(wire.Bye, code=seqs, retry=seqs),
)
SERVER = msgspec.json.Decoder(wire.AnyServerFrame)


def plain(frame: Any) -> Any:
    """A frame as values that can be compared: a ``Raw`` cannot."""
    return type(frame), json.loads(encode(frame))


def say(*frames: Any) -> bytes:
    """JSON as another program may write it."""
    return json.dumps(frames[0] if len(frames) == 1 else frames).encode()


def put(template: str, value: str) -> str:
    """JSON with a piece in it, at the ``@``, that no library would write."""
    return template.replace("@", value)


def only(payload: bytes | str) -> Any:
    """The one thing in a message."""
    found = decode(payload if isinstance(payload, bytes) else payload.encode())
    assert len(found) == 1
    return found[0]


class RoundTripTests(SynchronousTestCase):
    """What was encoded comes back."""

    @given(client_frames)
    def test_every_client_frame_comes_back(self, frame: wire.AnyClientFrame) -> None:
        self.assertEqual(plain(only(encode(frame))), plain(frame))

    @given(st.lists(client_frames, min_size=1, max_size=5))
    def test_a_batch_comes_back_in_order(self, frames: list[wire.AnyClientFrame]) -> None:
        found = decode(encode(frames))
        self.assertEqual([plain(f) for f in found], [plain(f) for f in frames])

    @given(server_frames)
    def test_every_server_frame_comes_back(self, frame: wire.AnyServerFrame) -> None:
        self.assertEqual(plain(SERVER.decode(encode(frame))), plain(frame))

    @given(server_frames, st.dictionaries(st.text(min_size=1), st.integers(), min_size=1))
    def test_clients_ignore_fields_they_do_not_know(
        self, frame: wire.AnyServerFrame, more: dict[str, int]
    ) -> None:
        grown = {f"new {key!a}": value for key, value in more.items()} | json.loads(encode(frame))
        self.assertEqual(plain(SERVER.decode(say(grown))), plain(frame))

    def test_spaces_and_escapes_are_only_another_spelling(self) -> None:
        spelled = b' [ {"typ\\u0065" : "sync" ,\n"req":"\\u00e9\\ud83d\\ude00"},'
        spelled += b'\t{"type":"ping","n":-0} ] '
        self.assertEqual(decode(spelled), [wire.Sync("é😀"), wire.Ping(0)])

    def test_the_examples_of_the_grammar_are_frames(self) -> None:
        for frame in FULL:
            self.assertEqual(type(only(say(frame))).__struct_config__.tag, frame["type"])

    def test_unset_and_false_fields_do_not_travel(self) -> None:
        self.assertEqual(
            encode(wire.Ack("i", 7, 42, 5)), b'{"type":"ack","id":"i","conv":7,"seq":42,"at":5}'
        )
        self.assertEqual(encode(wire.Error("limit")), b'{"type":"error","code":"limit"}')


class StrictFieldTests(SynchronousTestCase):
    """One broken frame is ``Malformed``: it is answered, and the session stays."""

    def refused(self, frame: Any) -> Malformed:
        found = only(frame if isinstance(frame, str | bytes) else say(frame))
        self.assertIs(type(found), Malformed, repr(frame))
        assert isinstance(found, Malformed)
        return found

    def test_a_field_that_is_not_named_is_refused(self) -> None:
        for frame in FULL:
            self.refused(frame | {"from": 5})
            self.refused(frame | {"extra": None})

    def test_a_field_that_is_missing_is_refused_where_it_is_not_optional(self) -> None:
        for frame in FULL:
            for key in frame:
                less = {k: v for k, v in frame.items() if k != key}
                if key in OPTIONAL[frame["type"]]:
                    self.assertIsNot(type(only(say(less))), Malformed)
                else:
                    self.refused(less)

    def test_null_is_no_value_of_any_field(self) -> None:
        for frame in FULL:
            # What stands in body and params is the business of the kind and the method.
            for key in frame.keys() - {"body", "params"}:
                self.refused(frame | {key: None})

    def test_numbers_and_texts_beyond_their_bounds_are_refused(self) -> None:
        hello, send, mark, fetch, sync, call, ping = FULL
        for frame, key, values in [
            (hello, "req", [2**53, -(2**53), 1.0, True, [], "x" * 65]),
            (hello, "token", ["x" * 257, 5]),
            (hello, "user", ["x" * 257]),
            (hello, "password", ["x" * 8193]),
            (hello, "device", ["x" * 65]),
            (hello, "register", [1, "true"]),
            (hello, "since", ["x" * 257]),
            (hello, "tail", [-1, 51, 1.5, "5", True]),
            (hello, "caps", [["x" * 65], ["x"] * 33, "x", [5]]),
            (hello, "agent", ["x" * 201]),
            (send, "id", ["x" * 65, 5]),
            (send, "conv", [0, -1, 2**53, 1e9, "7"]),
            (send, "kind", ["image", "", 5]),
            (mark, "delivered", [-1, 2**53, 10**30]),
            (mark, "read", [-1, 2**53]),
            (fetch, "limit", [-1, 0, 201, 10**9, "5"]),
            (fetch, "after", [-1, 2**53]),
            (fetch, "before", [-1, 2**53]),
            (sync, "tail", [51]),
            (call, "method", ["x" * 65, 5]),
            (ping, "n", [2**53, -(2**53), 0.5, "1", False]),
        ]:
            for value in values:
                self.refused(frame | {key: value})

    def test_numbers_that_no_machine_holds_are_refused(self) -> None:
        for digits in [
            "9" * 5000,
            "-" + "9" * 5000,
            "1e400",
            "-1e400",
            "1e5",
            "9007199254740993.0",
        ]:
            self.refused(put('{"type":"ping","n":@}', digits))
            batch = decode(put('[{"type":"ping","n":@},{"type":"ping","n":2}]', digits).encode())
            self.assertIs(type(batch[0]), Malformed)
            self.assertEqual(batch[1], wire.Ping(2))

    def test_nan_and_infinity_are_refused(self) -> None:
        for constant in ["NaN", "Infinity", "-Infinity"]:
            self.refused(put('{"type":"ping","n":@}', constant))
            found = self.refused(put('{"type":"call","req":9,"method":"x","params":[@]}', constant))
            self.assertEqual(found.req, 9)

    def test_half_a_surrogate_pair_is_refused(self) -> None:
        for half in ["\\ud800", "\\udfff", "\\ud800x", "\\udc00\\ud800"]:
            found = self.refused(put('{"type":"sync","req":1,"since":"@"}', half))
            self.assertEqual((found.req, "surrogate" in found.message), (1, True))
            found = self.refused(
                put('{"type":"send","id":"i","conv":1,"kind":"text","body":{"text":"@"}}', half)
            )
            self.assertEqual(found.id, "i")

    def test_nul_is_refused_wherever_it_stands(self) -> None:
        for frame in [
            '{"type":"sync","req":1,"since":"a\\u0000"}',
            '{"type":"sync","req":1,"since":"\\\\\\u0000"}',
            '{"type":"hello","req":1,"token":"t","caps":["a\\u0000"]}',
            '{"type":"call","req":1,"method":"m","params":[["\\u0000"]]}',
            '{"type":"call","req":1,"method":"m","params":{"\\u0000":1}}',
        ]:
            self.assertEqual(self.refused(frame).req, 1)

    def test_a_backslash_before_u0000_is_no_nul(self) -> None:
        frame = wire.Sync(1, "\\u0000 and \\\\u0000")
        self.assertEqual(only(encode(frame)), frame)

    def test_a_key_that_stands_twice_is_refused_at_every_depth(self) -> None:
        for frame in [
            '{"type":"ping","n":1,"n":2}',
            '{"type":"ping","n":1,"n":1}',
            '{"n":1,"type":"ping","\\u006e":1}',
            '{"type":"ping","type":"ping","n":1}',
            '{"type":"shout","type":"ping","n":1}',
        ]:
            self.refused(frame)
        for value in ['{"a":1,"a":1}', '[{"a":1,"a":1}]', '{"b":[{"c":{"a":1,"\\u0061":2}}]}']:
            # A space makes the frame longer than its canonical form, so the frame is looked into.
            self.refused(put('{"type":"call","req":1,"method":"m", "params":@}', value))

    def test_what_is_no_object_is_no_frame(self) -> None:
        for value in ["null", "5", '"x"', "true", "[[]]", "[null]", '[[{"type":"ping","n":1}]]']:
            self.assertEqual(self.refused(value).message, "a frame is a JSON object")

    def test_a_type_that_is_no_text_is_refused(self) -> None:
        for kind in [None, 5, [], ["ping"], {}]:
            self.assertEqual(self.refused({"type": kind, "req": 7}).req, 7)


class MalformedTests(SynchronousTestCase):
    """A broken frame says who asked, if that can be read and echoed."""

    def test_the_req_and_the_id_are_carried(self) -> None:
        self.assertEqual(only(b'{"type":"sync","req":7,"x":1}').req, 7)
        self.assertEqual(only(b'{"type":"sync","req":"r","x":1}').req, "r")
        broken = only(say(FULL[1] | {"conv": 0}))
        self.assertEqual((broken.req, broken.id), (UNSET, UUID))

    def test_what_cannot_be_echoed_is_not_carried(self) -> None:
        for req in ["true", "1.5", "null", "[1]", "9007199254740992", '"' + "x" * 65 + '"']:
            self.assertIs(only(put('{"type":"sync","req":@,"x":1}', req)).req, UNSET)
        for req in ['"\\u0000"', '"\\ud800"', "NaN", "9" * 5000]:
            self.assertIs(only(put('{"type":"sync","req":@,"x":1}', req)).req, UNSET)
        self.assertIs(only('{"type":"send","id":5}').id, UNSET)

    @given(st.text(st.characters(), max_size=70) | st.integers())
    def test_whatever_is_carried_can_be_encoded(self, req: str | int) -> None:
        found = only(say({"type": "sync", "req": req, "x": 1}))
        encode(wire.Error("bad_request", found.message, found.req))

    def test_one_broken_frame_does_not_take_the_others_with_it(self) -> None:
        found = decode(say(PING, {"type": "sync", "req": 2, "x": 1}, 5, PING | {"n": 3}))
        self.assertEqual(found[0], wire.Ping(1))
        self.assertEqual([type(f) for f in found[1:3]], [Malformed, Malformed])
        self.assertEqual(found[3], wire.Ping(3))

    def test_surrogates_and_nan_break_only_their_own_frame(self) -> None:
        payload = (
            b' [ {"type":"ping","n":1} , {"type":"sync","req":"\\ud800"},'
            b'{"type":"ping","n":NaN}\n,{"type":"ping","n":4} ] '
        )
        found = decode(payload)
        self.assertEqual([type(f) for f in found], [wire.Ping, Malformed, Malformed, wire.Ping])

    def test_a_batch_holds_1_to_64_frames(self) -> None:
        self.assertEqual(decode(say(*[PING] * 64)), [wire.Ping(1)] * 64)
        for frames in [[], [PING] * 65, [PING | {"x": 1}] * 65, [{}] * 21_000]:
            for payload in [json.dumps(frames), json.dumps(frames, separators=(",", ":"))]:
                self.assertIn("1 to 64", only(payload).message)

    def test_sends_in_a_batch_that_is_too_long_are_refused_by_name(self) -> None:
        send = {"type": "send", "id": "a", "conv": 1, "kind": "text", "body": {"text": "x"}}
        for frames in ([PING] * 64 + [send], [PING | {"x": 1}] * 64 + [send]):
            batch, refused = decode(json.dumps(frames, separators=(",", ":")).encode())
            self.assertIs(batch.id, UNSET)
            self.assertEqual(refused.id, "a")


class NotJsonTests(SynchronousTestCase):
    """Where the connection cannot go on."""

    def ends(self, payload: bytes | str) -> None:
        raw = payload if isinstance(payload, bytes) else payload.encode()
        with self.assertRaises(NotJson, msg=repr(raw[:60])):
            decode(raw)

    def test_what_json_does_not_know(self) -> None:
        ping = '{"type":"ping","n":1}'
        for payload in ["", " ", "not json", "[", "{", ping + ping, ping + "\0", ping[:-1] + ",}"]:
            self.ends(payload)
        for payload in ["[,]", f"[{ping},]", f"[{ping} {ping}]", f"\u00a0{ping}", f"\x0b{ping}"]:
            self.ends(payload)
        for n in ["01", "+1", "1.", ".5", "0x1", "'1'", "nan", "undefined", '"\x01"', '"\\x"', ""]:
            self.ends(put('{"type":"ping","n":@}', n))

    def test_what_is_not_utf_8(self) -> None:
        for frame in ['{"type":"sync","req":"é"}', '[{"type":"ping","n":1,"x":1}]']:
            self.ends(b"\xef\xbb\xbf" + frame.encode())
            for encoding in ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le"]:
                self.ends(frame.encode(encoding))
        for text in [b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe9"]:
            self.ends(b'{"type":"sync","req":"' + text + b'"}')
            self.ends(b'{"type":"sync","x":1,"req":"' + text + b'"}')

    def test_a_type_that_does_not_exist(self) -> None:
        for frame in [{"type": "shout"}, {"type": "welcome", "req": 1}, {"type": ""}]:
            self.ends(say(frame))
            self.ends(say(PING, frame))

    def test_what_is_nested_too_deeply(self) -> None:
        for opening, closing in [("[", "]"), ('{"a":', "}")]:
            self.ends(opening * 30_000)
            self.ends(opening * 20_000)
            self.ends(opening * 20_000 + "1" + closing * 20_000)
            deep = opening * 20_000 + "1" + closing * 20_000
            self.ends(put('{"type":"call","req":1,"method":"m","params":@}', deep))
            self.ends(put('[{"type":"ping","n":null},{"type":"ping","n":@}]', deep))


def verdict(payload: bytes) -> Any:
    """What becomes of a message, bodies and parameters included: its frames, None the broken."""
    try:
        return [judged(frame) for frame in decode(payload)]
    except NotJson:
        return "not json"


def judged(frame: wire.AnyClientFrame | Malformed) -> Any:
    try:
        if isinstance(frame, wire.Send):
            decoding.decode_body(frame.kind, frame.body)
        elif isinstance(frame, wire.Call) and frame.params is not UNSET:
            decoding.decode_strict(_ADD_FRIEND, frame.params)
    except decoding.BadValue:
        return None
    return None if isinstance(frame, Malformed) else plain(frame)


_ADD_FRIEND = msgspec.json.Decoder(AddFriend)

#: What a mutation puts somewhere into a message.
SHARDS = (
    *(
        " ",
        '"',
        "\\",
        ",",
        ":",
        "[",
        "]",
        "{",
        "}",
        "[[",
        "1",
        "-",
        "1e9",
        "0.5",
        "9" * 20,
        "9" * 5000,
    ),
    *("NaN", "null", "true", "\\u0000", "\\\\u0000", "\\ud800", "\\u0061", "\x00", "é", "\ufeff"),
    *('"n":1,', '"req":1,', '"type":"ping",', '"conv":7,', '"x":1,', '{"type":"ping","n":1},'),
    *('"text":"a",', '"user":5,', '"note":"",', '{"a":1,"a":1}'),
)


@st.composite
def mutations(draw: st.DrawFn) -> bytes:
    """A message that was valid, and what became of it."""
    made: list[Any] = [
        *FULL,
        PING | {"n": 1000000},
        [PING, PING],
        FULL[5] | {"method": "friend.add", "params": {"user": "bob", "note": "hi"}},
    ]
    text = encode(draw(st.sampled_from(made))).decode()
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(len(text), start + 8)) | st.just(start))
        text = text[:start] + draw(st.sampled_from(SHARDS)) + text[end:]
    return text.encode()


def faults(payload: bytes) -> list[str]:
    """What no accepted message may hold, found without any help of ``imd.wire``."""
    found: list[str] = []

    def pairs(items: Sequence[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in items}) < len(items):
            found.append("twice")
        return dict(items)

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            walk(list(value) + list(value.values()))
        elif isinstance(value, list):
            for one in value:
                walk(one)
        elif isinstance(value, str) and any(c == "\0" or "\ud800" <= c <= "\udfff" for c in value):
            found.append("text")
        elif isinstance(value, int | float) and not abs(value) < 2**53:
            found.append("number")

    walk(json.loads(payload.decode(), object_pairs_hook=pairs, parse_int=float))
    return found


class TwoWaysTests(SynchronousTestCase):
    """The quick way and the slow inspection accept the same messages."""

    @given(mutations())
    @example(b'{"n":1,"type":"ping","n":1e8}')
    @example(b'{"type":"send","id":"","conv":7,"kind":"text","body":{"text":"a","text":"b"}}')
    @example(b'{"type":"call","req":1,"method":"m","params":{"user":5,"user":6}}')
    def test_a_space_more_changes_nothing(self, payload: bytes) -> None:
        self.assertEqual(verdict(payload), verdict(payload + b" "))

    @given(mutations())
    def test_what_is_accepted_has_none_of_the_faults(self, payload: bytes) -> None:
        frames = verdict(payload)
        if frames != "not json" and None not in frames:
            self.assertEqual(faults(payload), [])

    @given(client_frames)
    def test_what_the_quick_way_accepts_the_slow_one_reads_the_same(
        self, frame: wire.AnyClientFrame
    ) -> None:
        self.assertEqual(plain(only(encode(frame) + b"\n")), plain(frame))


class BodyTests(SynchronousTestCase):
    """The body of a ``send``, decoded as strictly as the frame around it."""

    @given(bodies)
    def test_every_body_comes_back(self, body: wire.TextBody | wire.FileBody) -> None:
        kind = "text" if isinstance(body, wire.TextBody) else "file"
        self.assertEqual(decoding.decode_body(kind, Raw(encode(body))), body)

    def refused(self, kind: str, body: Any) -> str:
        raw = Raw(body if isinstance(body, bytes) else say(body))
        with self.assertRaises(decoding.BadValue, msg=repr(body)) as caught:
            decoding.decode_body(kind, raw)
        return str(caught.exception)

    def test_a_body_is_what_its_kind_says(self) -> None:
        self.refused("text", FILE)
        self.refused("file", {"text": "x"})
        for body in [None, 5, "x", [], {}, {"text": None}, {"text": 5}, {"text": "a", "x": 1}]:
            self.refused("text", body)

    def test_fields_of_a_file_are_bounded(self) -> None:
        self.assertEqual(decoding.decode_body("file", Raw(say(FILE))).text, "look")
        for key, values in {
            "file": [0, 2**53, "5"],
            "name": ["", "x" * 256],
            "size": [-1, 2**53],
            "mime": ["", "x" * 128],
            "sha256": ["0F" * 32, "0f" * 31, "0f" * 33, "0f" * 32 + "\n", "g" * 64],
            "text": [5, None],
        }.items():
            for value in values:
                self.refused("file", FILE | {key: value})

    def test_strictness_reaches_into_the_body(self) -> None:
        self.assertIn("twice", self.refused("text", b'{"text":"a","text":"b"}'))
        self.assertIn("NUL", self.refused("text", b'{"text":"\\u0000"}'))
        for text in [b"\\ud800", b"\xff", b"\x01"]:
            self.refused("text", b'{"text":"' + text + b'"}')
        self.refused("text", b"[" * 20_000)

    def test_another_spelling_of_the_same_body_is_accepted(self) -> None:
        body = decoding.decode_body("text", Raw(b'{ "text" : "\\u0041\\\\u0000" }'))
        self.assertEqual(body, wire.TextBody("A\\u0000"))


class UuidTests(SynchronousTestCase):
    """Only the hyphenated form, in either case."""

    @given(st.binary(min_size=16, max_size=16))
    def test_bytes_come_back(self, value: bytes) -> None:
        text = wire.uuid_text(value)
        self.assertEqual(text, text.lower())
        self.assertEqual(wire.uuid_bytes(text), value)
        self.assertEqual(wire.uuid_bytes(text.upper()), value)

    def test_every_other_form_is_none(self) -> None:
        for text in [
            *("", "x", UUID.replace("-", ""), f"{{{UUID}}}", f"urn:uuid:{UUID}", UUID[:-1]),
            *(UUID + "0", UUID + "\n", " " + UUID, UUID.replace("-", "_"), "g" + UUID[1:]),
            *("\uff10" + UUID[1:], "0" + UUID[:-1], UUID[:9] + "-" + UUID[9:]),
        ]:
            self.assertIsNone(wire.uuid_bytes(text), repr(text))


class BatchTests(SynchronousTestCase):
    """Encoded frames are packed in order, within the limits, in as few messages as they allow."""

    def unpack(self, message: bytes) -> list[bytes]:
        value = json.loads(message)
        return [encode(v) for v in value] if isinstance(value, list) else [message]

    def test_nothing_is_no_message(self) -> None:
        self.assertEqual(list(wire.batches([])), [])

    def test_one_frame_travels_alone(self) -> None:
        self.assertEqual(list(wire.batches([b'{"a":1}'])), [b'{"a":1}'])

    def test_65_frames_are_two_messages(self) -> None:
        frames = [b'{"n":%d}' % n for n in range(65)]
        first, second = wire.batches(iter(frames))
        self.assertEqual(self.unpack(first), frames[:64])
        self.assertEqual(second, frames[64])

    def test_a_batch_may_fill_the_limit_to_the_byte(self) -> None:
        half = wire.MAX_BATCH_BYTES // 2
        exact = [b"1" * (half - 1), b"2" * (half - 2)]
        self.assertEqual([len(m) for m in wire.batches(exact)], [wire.MAX_BATCH_BYTES])
        more = [b"1" * (half - 1), b"2" * (half - 1)]
        self.assertEqual(list(wire.batches(more)), more)

    @given(st.lists(st.sampled_from([10, 3_000, 60_000, 100_000, 196_606, 250_000]), max_size=150))
    def test_every_message_is_within_the_limits_and_none_is_wasted(self, sizes: list[int]) -> None:
        frames = [b"%d" % (10 ** (size - 1)) if size < 20 else b"0" * size for size in sizes]
        packed = list(wire.batches(frames))
        counts = [m.count(b",") + 1 for m in packed]
        self.assertEqual(b",".join(m.strip(b"[]") for m in packed), b",".join(frames))
        for message, count in zip(packed, counts, strict=True):
            self.assertLessEqual(count, wire.MAX_BATCH)
            self.assertTrue(count == 1 or len(message) <= wire.MAX_BATCH_BYTES)
        starts = [sum(counts[:n]) for n in range(1, len(counts))]
        for message, count, start in zip(packed, counts, starts, strict=False):
            grown = len(message) + len(frames[start]) + (1 if count > 1 else 3)
            self.assertTrue(count == wire.MAX_BATCH or grown > wire.MAX_BATCH_BYTES)
