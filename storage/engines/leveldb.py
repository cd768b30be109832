"""LevelDB by plyvel (Ghemawat and Dean, 2011): a log-structured merge tree in a directory.

Batches are atomic; with `sync` they are on disk on return. Blocks are read with their checksums.
After a failed write nothing is written any more: what came behind a torn record would be skipped at
the next opening. Needs plyvel, whose wheels exist for
CPython 3.11 and 3.12 on common platforms.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import plyvel

from storage.interface import Corrupted, EngineClaims, Locked, StorageError, Store

CLAIMS = EngineClaims(source="LevelDB 1.23", durable=True)


@dataclass(frozen=True, slots=True)
class Options:
    """Memory is bounded by about two write buffers and the cache."""

    write_buffer_bytes: int = 4 * 1024 * 1024
    cache_bytes: int = 8 * 1024 * 1024
    open_files_max: int = 74
    bloom_bits: int = 10


class _LevelDb:
    def __init__(self, database: "plyvel.DB", path: Path) -> None:
        self._database = database
        self._path = path
        self._failed = False

    def get(self, key: bytes) -> bytes | None:
        try:
            value: bytes | None = self._database.get(key, verify_checksums=True)
        except plyvel.Error as error:
            raise _named(error, self._path) from None
        return value

    def get_many(self, keys: Sequence[bytes]) -> Sequence[bytes | None]:
        try:
            with self._database.snapshot() as snapshot:
                return [snapshot.get(key, verify_checksums=True) for key in keys]
        except plyvel.Error as error:
            raise _named(error, self._path) from None

    def write(self, batch: Mapping[bytes, bytes | None], *, sync: bool = True) -> None:
        if self._failed:
            raise StorageError(f"{self._path}: an earlier write failed; restart the node")
        try:
            writes = self._database.write_batch(transaction=True, sync=sync)
            with writes:
                for key, value in batch.items():
                    if value is None:
                        writes.delete(key)
                    else:
                        writes.put(key, value)
        except plyvel.Error as error:
            self._failed = True
            raise _named(error, self._path) from None

    def scan(self, prefix: bytes, *, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        try:
            iterator = self._database.iterator(start=prefix + start, verify_checksums=True)
        except plyvel.Error as error:  # a table cannot be opened
            raise _named(error, self._path) from None
        with iterator as pairs:
            while True:
                try:
                    key, value = next(pairs)
                except StopIteration:
                    return
                except plyvel.Error as error:
                    raise _named(error, self._path) from None
                if not key.startswith(prefix):
                    return
                yield key, value

    def close(self) -> None:
        self._database.close()


def create(options: Options, path: Path) -> Store:
    """Open or make the database in the directory `path`. Raises `StorageError`."""
    if not (path / "CURRENT").exists() and any(path.glob("*.ldb")):
        # LevelDB would take it for an empty directory, and remove the tables.
        raise Corrupted(f"{path} is corrupt (the file CURRENT is missing). {_MEND}")
    try:
        database = plyvel.DB(
            str(path),
            create_if_missing=True,
            write_buffer_size=options.write_buffer_bytes,
            lru_cache_size=options.cache_bytes,
            max_open_files=options.open_files_max,
            bloom_filter_bits=options.bloom_bits,
            # Why not compressed: digests and signatures do not shrink, and trying cost a twelfth
            # of a loaded node's processor time.
            compression=None,
            paranoid_checks=True,
        )
    except plyvel.Error as error:
        raise _named(error, path) from None
    return _LevelDb(database, path)


_MEND = "Check it with `assay node fsck`, or empty it: the node catches up from its peers"
_LOCKED = ("/LOCK: already held by process", "/LOCK: Resource temporarily unavailable")


def _named(error: Exception, path: Path) -> StorageError:
    detail = error.args[0] if error.args else ""
    text = detail.decode(errors="replace") if isinstance(detail, bytes) else str(detail)
    text = text.replace("\n", " ")
    # Why the ends: a path may contain anything, "lock" as well.
    if text.endswith(_LOCKED):
        return Locked(f"{path} is open in another process; stop that node first")
    # Why the words: reading behind the end of a file that was cut short is an "IO error" here.
    if isinstance(error, plyvel.CorruptionError) or text.endswith("Invalid argument"):
        return Corrupted(f"{path} is corrupt ({text}). {_MEND}")
    return StorageError(f"{path}: {text}")
