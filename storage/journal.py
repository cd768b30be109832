"""A small durable map: what a validator signed and promised, on disk before it leaves.

An append-only file of checksummed records, each a set of changes that is applied as a whole.
`write` returns after the data is on disk. The file is rewritten when it has grown far beyond what
is live. A record torn at the end (a crash in mid-write) is cut off and reported; damage before
the end stops the node. After a failed write or fsync nothing is written any more: what the disk
holds is then unknown.

Record: length (4 bytes), CRC-32 of length and body (4 bytes), body. The body of the first names
format and genesis; the others are encoded pairs of key and value, an empty list for a deletion.
"""

import fcntl
import os
import time
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from crypto.encoding import Codec, Malformed, Record, encode
from crypto.interface import Digest
from storage.interface import Corrupted, Locked, StorageError

RECORD_BYTES_MAX = 64 * 1024 * 1024
COMPACT_FACTOR = 8
COMPACT_BYTES_MIN = 16 * 1024 * 1024
"""The file is rewritten when it exceeds this and COMPACT_FACTOR times what is live."""

_HEAD_BYTES = 8


class _Header(Record, frozen=True):
    genesis: bytes


class _Change(Record, frozen=True):
    key: bytes
    value: Annotated[tuple[bytes, ...], Meta(max_length=1)]


class _Changes(Record, frozen=True):
    changes: tuple[_Change, ...]


_headers: Codec[_Header] = Codec(_Header, bytes_max=1024)
_records: Codec[_Changes] = Codec(_Changes, bytes_max=RECORD_BYTES_MAX)


class Journal:
    """Opened by `open`. One thread at a time."""

    def __init__(
        self,
        path: Path,
        handle: int,
        genesis: Digest,
        *,
        sync: bool,
        wrote: Callable[[float], None],
    ) -> None:
        self._path = path
        self._handle = handle
        self._genesis = genesis
        self._sync = sync
        self._wrote = wrote
        self._live_bytes = 0
        self._file_bytes = 0
        self._failed = False
        self._entries: dict[bytes, bytes] = {}
        self.fresh = False
        """The file did not exist before."""
        self.cut_bytes = 0
        """Bytes of a torn record that were cut off at opening."""

    @staticmethod
    def open(
        path: Path,
        genesis: Digest,
        *,
        sync: bool = True,
        wrote: Callable[[float], None] = lambda _: None,
    ) -> "Journal":
        """Open or make the journal at `path`. Raises `StorageError`, `Locked`, `Corrupted`.

        `wrote` hears of each durable write, with the seconds it took.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError as error:
            raise StorageError(f"{path}: {error.strerror}") from None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)
            raise Locked(f"{path} is open in another process; stop that node first") from None
        journal = Journal(path, handle, genesis, sync=sync, wrote=wrote)
        try:
            # Only now: before, it may be the file that the owner is rewriting.
            (path.parent / f"{path.name}.new").unlink(missing_ok=True)
            if os.fstat(handle).st_ino != path.stat().st_ino:
                raise Locked(f"{path} was rewritten by another process; stop that node first")
            journal._load()
        except OSError as error:
            os.close(handle)
            raise StorageError(f"{path}: {error.strerror}") from None
        except BaseException:
            os.close(handle)
            raise
        return journal

    @property
    def entries(self) -> Mapping[bytes, bytes]:
        """What is in it now. Live: changes with each write."""
        return self._entries

    def write(self, changes: Mapping[bytes, bytes | None]) -> None:
        """Apply all of `changes` or none; on disk on return. Raises `StorageError`."""
        body = encode(
            _Changes(
                tuple(
                    _Change(key, () if value is None else (value,))
                    for key, value in changes.items()
                )
            )
        )
        self._append(body, sync=self._sync)
        for key, value in changes.items():
            self._apply(key, value)
        bound = max(COMPACT_BYTES_MIN, COMPACT_FACTOR * self._live_bytes)
        if self._file_bytes > bound:
            self._compact()

    def close(self) -> None:
        os.close(self._handle)

    def _load(self) -> None:
        raw = self._path.read_bytes()
        offset, first = 0, True
        while offset < len(raw):
            body = self._record_at(raw, offset)
            if body is None:
                self._cut(offset, len(raw))
                break
            try:
                if first:
                    self._check_header(body)
                else:
                    for change in _records.decode(body).changes:
                        self._apply(change.key, change.value[0] if change.value else None)
            except Malformed as error:
                raise Corrupted(f"{self._path} at byte {offset}: {error}. {_MEND}") from None
            offset += _HEAD_BYTES + len(body)
            first = False
        self._file_bytes = offset
        if first:
            self.fresh = True
            self._append(encode(_Header(self._genesis)), sync=self._sync)
            _sync_folder(self._path.parent)

    def _record_at(self, raw: bytes, offset: int) -> bytes | None:
        """The record's body; None if it is the torn end. Raises `Corrupted` in the middle."""
        head = raw[offset : offset + _HEAD_BYTES]
        length = int.from_bytes(head[:4], "big")
        body = raw[offset + _HEAD_BYTES : offset + _HEAD_BYTES + length]
        whole = len(head) == _HEAD_BYTES and len(body) == length
        if whole and _checksum(body) == head[4:]:
            return body
        if _any_record_after(raw, offset + 1):
            raise Corrupted(f"{self._path} is corrupt at byte {offset}. {_MEND}")
        return None

    def _check_header(self, body: bytes) -> None:
        if _headers.decode(body).genesis != self._genesis:
            raise StorageError(
                f"{self._path} belongs to another network than the genesis file; use the home "
                "directory of this network"
            )

    def _cut(self, offset: int, size: int) -> None:
        self.cut_bytes = size - offset
        os.ftruncate(self._handle, offset)
        os.fsync(self._handle)

    def _append(self, body: bytes, *, sync: bool) -> None:
        if self._failed:
            raise StorageError(f"{self._path}: an earlier write failed; restart the node")
        if len(body) > RECORD_BYTES_MAX:
            raise StorageError(f"a record of {len(body)} bytes; at most {RECORD_BYTES_MAX}")
        data = len(body).to_bytes(4, "big") + _checksum(body) + body
        began = time.perf_counter()
        try:
            _write_all(self._handle, data)
            if sync:
                os.fdatasync(self._handle)
                self._wrote(time.perf_counter() - began)
        except OSError as error:
            self._failed = True
            raise StorageError(
                f"{self._path} cannot be written: {error.strerror}. Nothing is signed any more; "
                "mend the disk and restart the node"
            ) from None
        self._file_bytes += len(data)

    def _apply(self, key: bytes, value: bytes | None) -> None:
        before = self._entries.pop(key, None)
        if before is not None:
            self._live_bytes -= len(key) + len(before)
        if value is not None:
            self._entries[key] = value
            self._live_bytes += len(key) + len(value)

    def _compact(self) -> None:
        """Write what is live to a new file, and put it in the place of this one."""
        new = self._path.parent / f"{self._path.name}.new"
        former, former_bytes = self._handle, self._file_bytes
        try:
            self._handle = os.open(new, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._file_bytes = 0
            self._append(encode(_Header(self._genesis)), sync=False)
            for key, value in self._entries.items():
                self._append(encode(_Changes((_Change(key, (value,)),))), sync=False)
            os.fsync(self._handle)
            new.replace(self._path)
            _sync_folder(self._path.parent)
        except OSError as error:
            self._failed = True
            raise StorageError(f"{new}: {error.strerror}; restart the node") from None
        os.close(former)
        assert self._file_bytes <= former_bytes


_MEND = (
    "It is not a torn end, so it is not cut off. Keep a copy, look at it with `assay node fsck`, "
    "and if it cannot be restored remove the journal: the validator then abstains for a while"
)


def _checksum(body: bytes) -> bytes:
    return zlib.crc32(body, len(body)).to_bytes(4, "big")


def _any_record_after(raw: bytes, start: int) -> bool:
    """Whether an intact record begins anywhere behind `start`: then this is no torn end."""
    for offset in range(start, len(raw) - _HEAD_BYTES):
        length = int.from_bytes(raw[offset : offset + 4], "big")
        end = offset + _HEAD_BYTES + length
        if length > 0 and end <= len(raw):
            body = raw[offset + _HEAD_BYTES : end]
            if _checksum(body) == raw[offset + 4 : offset + _HEAD_BYTES]:
                return True
    return False


def _write_all(handle: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(handle, rest) :]


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
