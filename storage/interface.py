"""What the ledger needs from a storage engine, and no more."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from crypto.interface import Digest


class StorageError(Exception):
    """The root of this folder's errors. The message names what to do next."""


class Corrupted(StorageError):
    """Stored bytes failed their own check. The node must stop, not guess."""


class Locked(StorageError):
    """Another process has this data directory open."""


@dataclass(frozen=True, slots=True)
class EngineClaims:
    """What an engine promises."""

    source: str
    durable: bool
    """Whether a write with `sync` survives a power loss."""


@dataclass(frozen=True, slots=True)
class CommitmentClaims:
    """What a state commitment promises."""

    source: str
    membership_proofs: bool
    update_cost: str


class Store(Protocol):
    """An ordered map of bytes. Safe to use from several threads; one writer at a time."""

    def get(self, key: bytes) -> bytes | None: ...

    def get_many(self, keys: Sequence[bytes]) -> Sequence[bytes | None]:
        """The values in order of `keys`, from one point in time."""
        ...

    def write(self, batch: Mapping[bytes, bytes | None], *, sync: bool = True) -> None:
        """Apply all of `batch` or none of it; None deletes. With `sync`, durable on return.

        Without, a power loss may take it although a later write with `sync` survives: LevelDB
        begins a new log without syncing the last one. After a write that failed, all raise
        `StorageError`: what the disk holds is unknown.
        """
        ...

    def scan(self, prefix: bytes, *, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Pairs whose key begins with `prefix`, in order of keys, from `prefix + start` on."""
        ...

    def close(self) -> None: ...


class Commitment(Protocol):
    """Commits to the whole state in 32 bytes; updated by what each block changed."""

    @property
    def root(self) -> Digest: ...

    def update(self, changes: Mapping[bytes, tuple[bytes | None, bytes | None]]) -> None:
        """Take in `key -> (value before, value after)`; None: absent."""
        ...

    def dump(self) -> bytes:
        """What `load` needs to continue from here after a restart; bounded in size."""
        ...

    def load(self, dumped: bytes) -> None: ...
