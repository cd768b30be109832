"""How frames and handshakes look on the wire, whatever channel protects them.

A frame is a 4-byte big-endian length and so many bytes. Frames form one stream, which a channel
cuts into records as it likes: several small frames share a record, a big frame spans several.
What this does not do: authenticate. A reader must only be fed what a channel has verified.
"""

from collections.abc import Sequence
from struct import Struct

from crypto.interface import DIGEST_BYTES, Digest
from p2p.interface import FRAME_BYTES_MAX, ChannelError

WIRE_FORMAT = 1
"""The number that each side sends first, and that the handshake binds."""

_LENGTH = Struct(">I")
_PROTOCOL = b"assay/p2p\x00"


def prologue(genesis: Digest) -> bytes:
    """What both sides of a handshake must agree on: the wire format and the network."""
    if len(genesis) != DIGEST_BYTES:
        raise ValueError(f"a genesis digest has {DIGEST_BYTES} bytes, not {len(genesis)}")
    return _PROTOCOL + bytes([WIRE_FORMAT]) + genesis


def join_frames(frames: Sequence[bytes]) -> bytes:
    """The stream that carries `frames`. None may exceed `FRAME_BYTES_MAX`."""
    parts: list[bytes] = []
    pack = _LENGTH.pack
    for frame in frames:
        size = len(frame)
        assert size <= FRAME_BYTES_MAX, f"a frame of {size} bytes; split it before sending"
        parts.append(pack(size))
        parts.append(frame)
    return b"".join(parts)


class FrameReader:
    """Cuts the stream into frames again. Each byte is copied a constant number of times."""

    __slots__ = ("_held", "_wanted")

    def __init__(self) -> None:
        self._held = bytearray()
        self._wanted = 0
        """Length `_held` must reach before looking at it again is worth while."""

    @property
    def at_boundary(self) -> bool:
        """Whether no frame is half read."""
        return not self._held

    def feed(self, data: bytes) -> list[bytes]:
        """The frames that `data` completes. Raises `ChannelError` for one that is too long."""
        if self._held:
            self._held += data
            if len(self._held) < self._wanted:
                return []
            data = bytes(self._held)
            self._held.clear()
        frames: list[bytes] = []
        start, size = 0, len(data)
        unpack = _LENGTH.unpack_from
        while size - start >= _LENGTH.size:
            (length,) = unpack(data, start)
            if length > FRAME_BYTES_MAX:
                raise ChannelError("frame_too_long", f"a frame of {length} bytes was announced")
            body = start + _LENGTH.size
            if size - body < length:
                self._hold(data[start:], _LENGTH.size + length)
                return frames
            start = body + length
            frames.append(data[body:start])
        if start < size:
            self._hold(data[start:], _LENGTH.size)
        return frames

    def _hold(self, rest: bytes, wanted: int) -> None:
        self._held += rest
        self._wanted = wanted
