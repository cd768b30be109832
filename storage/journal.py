"""A small durable map: what a validator signed and promised, on disk before it leaves.

An append-only file of checksummed records, each a set of changes that is applied as a whole.
`write` returns after the data is on disk, so at most the last record can be torn by a crash. The
file is rewritten when it has grown far beyond what is live. After a failed write or fsync nothing
is written any more: what the disk holds is then unknown.

A torn last record is cut off and reported. Damage of any other kind stops the node, for what was
signed would be forgotten. A file ends in a torn record if no head of a later record is found, and
the rest is shorter than the record, or has a disk sector that is all zeros: what file systems leave
of an append that was not synced. A whole record that is wrong was not torn but damaged.

File: FORMAT, salt (8 random bytes), digest of the genesis file (32 bytes), CRC-32 of all this; then
records. Record: salt, number (8 bytes, from 0), length of the body (4 bytes), CRC-32 of the body,
CRC-32 of the head up to here; body. The body is encoded pairs of key and value, an empty list for a
deletion. The salt marks the heads: it never leaves this file, so that nothing which others write
into a body looks like a record.
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

FORMAT = b"assay journal 2\n"

_SALT_BYTES = 8
_CRC_BYTES = 4
_OPENING_BYTES = len(FORMAT) + _SALT_BYTES + 32 + _CRC_BYTES
_HEAD_BYTES = _SALT_BYTES + 8 + 4 + 2 * _CRC_BYTES
_SECTOR_BYTES = 512
"""The least that a disk writes as a whole."""


class _Change(Record, frozen=True):
    key: bytes
    value: Annotated[tuple[bytes, ...], Meta(max_length=1)]


class _Changes(Record, frozen=True):
    changes: tuple[_Change, ...]


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
        self._salt = b""
        self._next = 0
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
        self._append_record(body, sync=self._sync)
        for key, value in changes.items():
            self._apply(key, value)
        bound = max(COMPACT_BYTES_MIN, COMPACT_FACTOR * self._live_bytes)
        if self._file_bytes > bound:
            self._compact()

    def close(self) -> None:
        os.close(self._handle)

    def _load(self) -> None:
        raw = self._path.read_bytes()
        if not self._opened(raw):
            self.fresh = True
            self._cut(0, len(raw))
            self._begin(sync=self._sync)
            _sync_folder(self._path.parent)
            return
        self._file_bytes = _OPENING_BYTES
        while self._file_bytes < len(raw):
            body = self._body_at(raw, self._file_bytes)
            if body is None:
                self._cut(self._file_bytes, len(raw))
                break
            try:
                changes = _records.decode(body).changes
            except Malformed as error:
                raise self._corrupted(self._file_bytes, str(error)) from None
            for change in changes:
                self._apply(change.key, change.value[0] if change.value else None)
            self._file_bytes += _HEAD_BYTES + len(body)
            self._next += 1

    def _opened(self, raw: bytes) -> bool:
        """Read what the file begins with; False if that was never written as a whole."""
        opening = raw[:_OPENING_BYTES]
        content, crc = opening[:-_CRC_BYTES], opening[-_CRC_BYTES:]
        if len(opening) < _OPENING_BYTES or crc != _crc(content):
            if len(raw) > _OPENING_BYTES or not _torn(raw, 0, _OPENING_BYTES):
                raise self._corrupted(0, "it does not begin as a journal does")
            return False
        format_, content = content[: len(FORMAT)], content[len(FORMAT) :]
        if format_ != FORMAT:
            raise StorageError(f"{self._path} was written by another release of this program")
        self._salt = content[:_SALT_BYTES]
        if content[_SALT_BYTES:] != self._genesis:
            raise StorageError(
                f"{self._path} belongs to another network than the genesis file; use the home "
                "directory of this network"
            )
        return True

    def _body_at(self, raw: bytes, offset: int) -> bytes | None:
        """The record's body; None if it is the torn end. Raises `Corrupted`."""
        head = self._head_at(raw, offset)
        if head is None:
            end = max(len(raw), offset + _HEAD_BYTES)
            last = not self._any_head_after(raw, offset)
        else:
            number, length, crc = head
            end = offset + _HEAD_BYTES + length
            body = raw[offset + _HEAD_BYTES : end]
            if number == self._next and _crc(body) == crc and len(body) == length:
                return body
            last = number == self._next and len(raw) <= end
        if not last or not _torn(raw, offset, end):
            raise self._corrupted(offset, f"record {self._next} is not there as it was written")
        return None

    def _head_at(self, raw: bytes, offset: int) -> tuple[int, int, bytes] | None:
        """Number, length of the body, and CRC of the body, if an intact head is there."""
        head = raw[offset : offset + _HEAD_BYTES]
        if len(head) < _HEAD_BYTES or not head.startswith(self._salt):
            return None
        if head[-_CRC_BYTES:] != _crc(head[:-_CRC_BYTES]):
            return None
        at = _SALT_BYTES
        return (
            int.from_bytes(head[at : at + 8]),
            int.from_bytes(head[at + 8 : at + 12]),
            head[20:24],
        )

    def _any_head_after(self, raw: bytes, offset: int) -> bool:
        while (offset := raw.find(self._salt, offset + 1)) >= 0:
            if self._head_at(raw, offset) is not None:
                return True
        return False

    def _corrupted(self, offset: int, why: str) -> Corrupted:
        return Corrupted(f"{self._path} is corrupt at byte {offset}: {why}. {_MEND}")

    def _cut(self, offset: int, size: int) -> None:
        self.cut_bytes = size - offset
        if not self.cut_bytes:
            return
        os.ftruncate(self._handle, offset)
        os.fsync(self._handle)

    def _begin(self, *, sync: bool) -> None:
        """Write what a file begins with."""
        self._salt = os.urandom(_SALT_BYTES)
        self._next = 0
        self._file_bytes = 0
        content = FORMAT + self._salt + self._genesis
        self._append(content + _crc(content), sync=sync)

    def _append_record(self, body: bytes, *, sync: bool) -> None:
        if len(body) > RECORD_BYTES_MAX:
            raise StorageError(f"a record of {len(body)} bytes; at most {RECORD_BYTES_MAX}")
        numbers = self._next.to_bytes(8) + len(body).to_bytes(4)
        head = self._salt + numbers + _crc(body)
        self._append(head + _crc(head) + body, sync=sync)
        self._next += 1

    def _append(self, data: bytes, *, sync: bool) -> None:
        if self._failed:
            raise StorageError(f"{self._path}: an earlier write failed; restart the node")
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
            self._begin(sync=False)
            for key, value in self._entries.items():
                self._append_record(encode(_Changes((_Change(key, (value,)),))), sync=False)
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


def _crc(data: bytes) -> bytes:
    return zlib.crc32(data).to_bytes(_CRC_BYTES)


def _torn(raw: bytes, offset: int, end: int) -> bool:
    """Whether `raw[offset:end]` is what can be left of an append that was not synced."""
    if len(raw) < end:
        return True
    while offset < end:
        sector_end = min(end, offset - offset % _SECTOR_BYTES + _SECTOR_BYTES)
        if not any(raw[offset:sector_end]):
            return True
        offset = sector_end
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
