"""A `Channel` over any Noise handshake: bytes from a socket in, frames out, and back.

On the wire, in each direction: one byte with the wire format, then messages with a 2-byte
big-endian length, first those of the handshake, then transport records. The frames inside the
records are a stream (see `p2p.framing`). A handshake message has exactly one possible length, so
a wrong one is refused from its prefix, as is a record without content.

The dialler checks whom it reached before it shows who it is. A listener does no cryptography
before the first message is complete. Nobody talks to himself.
"""

from collections.abc import Sequence
from struct import Struct

from p2p.framing import WIRE_FORMAT, FrameReader, join_frames
from p2p.interface import ChannelError, ChannelKey
from p2p.noise.handshake import HandshakeState
from p2p.noise.records import PLAINTEXT_BYTES_MAX, RecordCipher, RekeySchedule, check_record_bytes

_LENGTH = Struct(">H")
_FORMAT = bytes([WIRE_FORMAT])


class NoiseChannel:
    """One connection. After its first `ChannelError` every call raises that error again."""

    def __init__(
        self,
        handshake: HandshakeState,
        *,
        own: ChannelKey,
        expected: ChannelKey | None,
        schedule: RekeySchedule,
    ) -> None:
        """`expected`: the key that the peer must prove; None where anybody may call."""
        self._handshake = handshake
        self._own = own
        self._expected = expected
        self._schedule = schedule
        self._incoming = bytearray()
        self._outgoing = bytearray()
        self._format_read = False
        self._format_sent = False
        self._reader = FrameReader()
        self._sender: RecordCipher | None = None
        self._receiver: RecordCipher | None = None
        self._peer_key: ChannelKey | None = None
        self._failure: str | None = None
        if handshake.my_turn:
            self._write_handshake()

    @property
    def peer_key(self) -> ChannelKey | None:
        return self._peer_key

    @property
    def session_id(self) -> bytes:
        """The handshake hash: the same on both sides, different for each connection."""
        assert self._peer_key is not None
        return self._handshake.handshake_hash

    def data_to_send(self) -> bytes:
        data = bytes(self._outgoing)
        self._outgoing.clear()
        return data

    def receive_data(self, data: bytes) -> list[bytes]:
        self._check_alive()
        try:
            return self._receive(data)
        except ChannelError as error:
            self._fail(error)
            raise

    def receive_eof(self) -> None:
        self._check_alive()
        if self._incoming or not self._reader.at_boundary or self._peer_key is None:
            error = ChannelError("truncated")
            self._fail(error)
            raise error

    def send_frames(self, frames: Sequence[bytes]) -> bytes:
        self._check_alive()
        assert self._sender is not None, "the handshake is not complete"
        stream = memoryview(join_frames(frames))
        records: list[bytes] = []
        try:
            for start in range(0, len(stream), PLAINTEXT_BYTES_MAX):
                record = self._sender.seal(stream[start : start + PLAINTEXT_BYTES_MAX])
                records.append(_LENGTH.pack(len(record)))
                records.append(record)
        except ChannelError as error:
            self._fail(error)
            raise
        return b"".join(records)

    def _receive(self, data: bytes) -> list[bytes]:
        incoming = self._incoming
        incoming += data
        start = self._read_format()
        frames: list[bytes] = []
        while len(incoming) - start >= _LENGTH.size:
            (size,) = _LENGTH.unpack_from(incoming, start)
            self._check_size(size)
            body = start + _LENGTH.size
            if len(incoming) - body < size:
                break
            start = body + size
            message = incoming[body:start]
            if self._receiver is None:
                self._on_handshake(bytes(message))
            else:
                frames += self._reader.feed(self._receiver.open(message))
        del incoming[:start]
        return frames

    def _read_format(self) -> int:
        """How many bytes the format takes at the start of what has come: one, once."""
        if self._format_read or not self._incoming:
            return 0
        number = self._incoming[0]
        if number != WIRE_FORMAT:
            text = f"the peer speaks wire format {number}; this node speaks {WIRE_FORMAT}"
            raise ChannelError("unknown_format", text)
        self._format_read = True
        return 1

    def _check_size(self, size: int) -> None:
        if self._receiver is not None:
            check_record_bytes(size)
        elif size != self._handshake.expected_bytes():
            raise ChannelError("handshake_length")

    def _on_handshake(self, message: bytes) -> None:
        self._handshake.read_message(message)
        self._check_identity()
        if not self._handshake.complete:
            self._write_handshake()
        if self._handshake.complete:
            self._finish()

    def _check_identity(self) -> None:
        remote = self._handshake.remote_static
        if remote is None:
            return
        if remote == self._own:
            raise ChannelError("self_dial")
        if self._expected is not None and remote != self._expected:
            raise ChannelError("wrong_identity")

    def _write_handshake(self) -> None:
        message = self._handshake.write_message()
        if not self._format_sent:
            self._outgoing += _FORMAT
            self._format_sent = True
        self._outgoing += _LENGTH.pack(len(message)) + message

    def _finish(self) -> None:
        remote = self._handshake.remote_static
        assert remote is not None, "a pattern that does not authenticate the peer"
        send, receive = self._handshake.split()
        self._sender = RecordCipher(send, self._schedule)
        self._receiver = RecordCipher(receive, self._schedule)
        self._peer_key = ChannelKey(remote)

    def _check_alive(self) -> None:
        if self._failure is not None:
            raise ChannelError(self._failure)

    def _fail(self, error: ChannelError) -> None:
        self._failure = error.reason
        self._incoming.clear()
        self._outgoing.clear()
