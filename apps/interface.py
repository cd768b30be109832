"""The replicated state machine that transactions drive.

An application is deterministic: same state and same transaction, same result, on every machine.
No clock, no randomness, no float, no iteration over a set, no I/O. It reads and writes its own
part of the state only; the executor prefixes its keys with its name.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from crypto.transaction import Transaction


class Rejected(Exception):
    """The transaction is not valid in the current state. Becomes a receipt that says no."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code
        """A stable word for programs: `not_owner`."""
        self.text = text
        """A sentence for people that says what to change."""


class QueryRefused(Exception):
    """The query names something that the application does not know."""


@dataclass(frozen=True, slots=True)
class AppClaims:
    """What an application promises. Printed in every table."""

    purpose: str
    """What it is for, in a phrase."""
    invariant: str
    """What holds after every block: the sentence that `Application.invariant` checks."""
    cost: str
    """Reads and writes of the state per transaction, in the normal case."""


class ReadState(Protocol):
    """One application's keys, as of one height."""

    def get(self, key: bytes) -> bytes | None: ...

    def scan(self, prefix: bytes, *, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Only for queries and `invariant`, never inside `execute`."""
        ...


class State(ReadState, Protocol):
    """The same, to write. Changes of a transaction that raises `Rejected` are undone."""

    def put(self, key: bytes, value: bytes | None) -> None: ...


class Application(Protocol):
    """One file in `apps/`, with `CLAIMS`, `Options` and `create(options)`."""

    def methods(self) -> Mapping[str, Sequence[type]]:
        """Method name (without the application's) -> the types (`str`, `int`) of arguments."""
        ...

    def initialise(self, state: State) -> None:
        """Write the state of height 0, from the options."""
        ...

    def check(self, transaction: Transaction) -> None:
        """A first opinion without the state: raise `Rejected` if it can never succeed."""
        ...

    def execute(self, transaction: Transaction, state: State) -> bytes:
        """Apply it; the result goes into the receipt. Raise `Rejected` if it may not be."""
        ...

    def query(self, path: Sequence[str], state: ReadState) -> object:
        """A JSON-able answer, or None if there is nothing, or raise `QueryRefused`."""
        ...

    def invariant(self, state: ReadState) -> None:
        """Raise `AssertionError` if what must hold between blocks does not; for tests and fsck."""
        ...
