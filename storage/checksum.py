"""A checksum behind stored values that no digest covers: a flipped bit is found when read."""

import zlib

from storage.interface import Corrupted

CHECKSUM_BYTES = 4


def with_checksum(value: bytes) -> bytes:
    return value + zlib.crc32(value).to_bytes(CHECKSUM_BYTES, "big")


def without_checksum(raw: bytes, what: str) -> bytes:
    """The value, or raise `Corrupted`, naming `what`."""
    value, checksum = raw[:-CHECKSUM_BYTES], raw[-CHECKSUM_BYTES:]
    if zlib.crc32(value).to_bytes(CHECKSUM_BYTES, "big") != checksum:
        raise corrupted(what)
    return value


def corrupted(what: str) -> Corrupted:
    """The error for stored bytes that cannot be what was written."""
    return Corrupted(
        f"{what} is corrupt. Check the home with `assay node fsck`; an emptied data directory is "
        "filled again from the peers"
    )
