"""SQLite in one file, write-ahead logged: the engine that needs nothing but Python.

With `sync`, a commit is on disk on return (`synchronous = FULL`). Without, it is not waited for
(`NORMAL`); `OFF` would also skip the syncs of a checkpoint, and then lose what was committed with
`sync` before. After a failed write nothing is written any more.
"""

import fcntl
import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from storage.interface import Corrupted, EngineClaims, Locked, StorageError, Store

CLAIMS = EngineClaims(source="SQLite 3 (sqlite.org)", durable=True)

_PAGE = 256
_FIRST = "SELECT k, v FROM kv WHERE k >= ? ORDER BY k LIMIT ?"
_NEXT = "SELECT k, v FROM kv WHERE k > ? ORDER BY k LIMIT ?"


@dataclass(frozen=True, slots=True)
class Options:
    cache_kib: int = 8 * 1024


class _Sqlite:
    def __init__(self, connection: sqlite3.Connection, lock_file: int, path: Path) -> None:
        self._connection = connection
        self._lock_file = lock_file
        self._path = path
        self._mutex = threading.Lock()
        self._failed = False

    def get(self, key: bytes) -> bytes | None:
        return self.get_many([key])[0]

    def get_many(self, keys: Sequence[bytes]) -> Sequence[bytes | None]:
        with self._use() as connection:
            rows = [
                connection.execute("SELECT v FROM kv WHERE k = ?", (key,)).fetchone()
                for key in keys
            ]
        return [None if row is None else row[0] for row in rows]

    def write(self, batch: Mapping[bytes, bytes | None], *, sync: bool = True) -> None:
        puts = [(key, value) for key, value in batch.items() if value is not None]
        deletes = [(key,) for key, value in batch.items() if value is None]
        with self._use() as connection:
            if self._failed:
                raise StorageError(f"{self._path}: an earlier write failed; restart the node")
            try:
                connection.execute(f"PRAGMA synchronous = {'FULL' if sync else 'NORMAL'}")
                connection.execute("BEGIN IMMEDIATE")
                connection.executemany("INSERT OR REPLACE INTO kv VALUES (?, ?)", puts)
                connection.executemany("DELETE FROM kv WHERE k = ?", deletes)
                connection.execute("COMMIT")
            except sqlite3.Error:
                self._failed = True
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def scan(self, prefix: bytes, *, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        query, after = _FIRST, prefix + start
        while True:
            with self._use() as connection:
                rows = connection.execute(query, (after, _PAGE)).fetchall()
            for key, value in rows:
                if not key.startswith(prefix):
                    return
                yield key, value
            if len(rows) < _PAGE:
                return
            query, after = _NEXT, rows[-1][0]

    def close(self) -> None:
        with self._mutex:
            self._connection.close()
            os.close(self._lock_file)

    @contextmanager
    def _use(self) -> Iterator[sqlite3.Connection]:
        with self._mutex, _named(self._path):
            yield self._connection


def create(options: Options, path: Path) -> Store:
    """Open or make the database in the directory `path`. Raises `StorageError`."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock_file = os.open(path / "LOCK", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StorageError(f"{path}: {error.strerror}") from None
    try:
        fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock_file)
        raise Locked(f"{path} is open in another process; stop that node first") from None
    try:
        with _named(path):
            connection = sqlite3.connect(
                path / "ledger.sqlite", isolation_level=None, check_same_thread=False
            )
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA cache_size = -{options.cache_kib}")
            connection.execute(
                "CREATE TABLE IF NOT EXISTS kv (k BLOB PRIMARY KEY, v BLOB NOT NULL) WITHOUT ROWID"
            )
    except StorageError:
        os.close(lock_file)
        raise
    return _Sqlite(connection, lock_file, path)


@contextmanager
def _named(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):
            raise StorageError(f"{path}: {error}") from None
        raise Corrupted(
            f"{path} is corrupt ({error}). Check it with `assay node fsck`, or empty it: the node "
            "catches up from its peers"
        ) from None
