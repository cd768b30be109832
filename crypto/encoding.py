"""The one canonical encoding of everything that is hashed, signed, stored or sent.

A value is one format byte followed by MessagePack. Records are `Record`s: fixed arrays without
field names. Decoding is typed, strict and bounded, and what was decoded must encode to the very
same bytes, so that no two byte strings ever mean one thing (non-minimal integers, long forms of
lengths and trailing bytes are all refused).

Source: the MessagePack specification (msgpack.org, version 2.0).
"""

from typing import Any, Generic, TypeVar

import msgspec

from crypto.interface import CryptoError

FORMAT = 1
"""The number that everything starts with. A reader refuses numbers it does not know."""

_PREFIX = bytes([FORMAT])
_encoder = msgspec.msgpack.Encoder(order="deterministic")

T = TypeVar("T")


class Malformed(CryptoError):
    """The bytes are not the canonical encoding of what was expected."""


class UnknownFormat(Malformed):
    """The bytes start with a format number that this code does not know."""


class Record(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True, gc=False):
    """Base of all encoded records: immutable, an array on the wire, no optional tail."""


def encode(value: object) -> bytes:
    """The canonical bytes of `value` (a `Record`, or plain lists, strings, bytes and integers)."""
    return _PREFIX + _encoder.encode(value)


class Codec(Generic[T]):
    """Decodes one type, up to `bytes_max` bytes. Keep one per type; building it is not free."""

    def __init__(self, kind: Any, *, bytes_max: int) -> None:  # noqa: ANN401 - any type form
        self._decoder: msgspec.msgpack.Decoder[T] = msgspec.msgpack.Decoder(kind, strict=True)
        self.bytes_max = bytes_max

    def decode(self, raw: bytes) -> T:
        """The value, or raise `Malformed` (`UnknownFormat` for a foreign format number)."""
        if len(raw) > self.bytes_max:
            raise Malformed(f"{len(raw)} bytes, at most {self.bytes_max} are allowed")
        if raw[:1] != _PREFIX:
            raise UnknownFormat(_describe_format(raw))
        try:
            value = self._decoder.decode(memoryview(raw)[1:])
            canonical = encode(value)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, TypeError) as error:
            # TypeError: a map in untyped content whose keys are not text has no canonical order.
            raise Malformed(str(error)) from None
        if canonical != raw:
            raise Malformed("not the canonical encoding of its value")
        return value


def _describe_format(raw: bytes) -> str:
    if not raw:
        return f"empty; expected format {FORMAT}"
    return f"format {raw[0]}; this version knows format {FORMAT}"
