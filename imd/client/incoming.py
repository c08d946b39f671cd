"""Server frames out of bytes.  A newer server may say things we do not know: they are skipped."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from imd import decoding, wire

_MESSAGE = msgspec.json.Decoder(wire.AnyServerFrame | list[wire.AnyServerFrame])
_FRAME = msgspec.json.Decoder(wire.AnyServerFrame)
_RAWS = msgspec.json.Decoder(list[msgspec.Raw])


def decode(payload: bytes) -> Sequence[wire.AnyServerFrame]:
    """Decode one message from the server, without the frames that we do not understand.

    Raises ``decoding.NotJson``.
    """
    try:
        frames = _MESSAGE.decode(payload)
    except msgspec.ValidationError:
        return _frame_by_frame(payload)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise decoding.NotJson("not JSON in UTF-8") from None
    return frames if isinstance(frames, list) else (frames,)


def _frame_by_frame(payload: bytes) -> list[wire.AnyServerFrame]:
    batch = payload.lstrip().startswith(b"[")
    found = []
    for raw in _RAWS.decode(payload) if batch else (payload,):
        try:
            found.append(_FRAME.decode(raw))
        except msgspec.ValidationError:
            continue
    return found
