"""What other validators signed, as this node received it: kept for tests and for study.

A laboratory's tool, off by default: `record = "FILE"` in a node file with `lab = true`. Every
consensus message and attestation that comes from a validator is appended as it came, before it is
verified or judged, so that a reader can look for two that contradict each other. A reader verifies
the signatures itself. Recording ends at `BYTES_MAX`; a reader should refuse a file of that size.

Record: length of the body (4 bytes), kind (1 byte), body: a canonical encoding.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from crypto.certificate import Attestation
from crypto.encoding import encode
from node.config import ConfigError

BYTES_MAX = 1024 * 1024 * 1024
MESSAGE = b"m"
"""A `Signed` message of the consensus protocol."""
ATTESTATION = b"a"

_HEAD_BYTES = 5


class Recorder:
    """Appends to a file; not synced. Belongs to the event loop."""

    def __init__(self, path: Path) -> None:
        """Raises `ConfigError`."""
        try:
            self._handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            self._size = os.fstat(self._handle).st_size
        except OSError as error:
            raise ConfigError(f"record: {path}: {error.strerror}") from None

    def message(self, body: bytes) -> None:
        """The encoding of a signed message."""
        self._append(MESSAGE, body)

    def attestation(self, attestation: Attestation) -> None:
        self._append(ATTESTATION, encode(attestation))

    def close(self) -> None:
        os.close(self._handle)

    def _append(self, kind: bytes, body: bytes) -> None:
        if self._size >= BYTES_MAX:
            return
        # One write for one record, so that a killed process leaves whole ones.
        record = len(body).to_bytes(4, "big") + kind + body
        self._size += os.write(self._handle, record)


def read(path: Path) -> Iterator[tuple[bytes, bytes]]:
    """Kind and body of each record. Raises `ValueError` for a file that is torn or was full."""
    raw = path.read_bytes()
    if len(raw) >= BYTES_MAX:
        raise ValueError(f"{path} is full: what came later was not recorded")
    offset = 0
    while offset < len(raw):
        body_at = offset + _HEAD_BYTES
        end = body_at + int.from_bytes(raw[offset : offset + 4], "big")
        kind = raw[offset + 4 : body_at]
        if end > len(raw) or kind not in (MESSAGE, ATTESTATION):
            raise ValueError(f"{path} is torn at byte {offset}")
        yield kind, raw[body_at:end]
        offset = end
