"""A ledger in a dictionary that executes one application as the executor does."""

import hashlib
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from apps import kv, payments
from apps.interface import Application, Rejected
from crypto.interface import PublicKey
from crypto.transaction import ACCEPTED, Argument, Transaction

CLIENTS = tuple(PublicKey(bytes([number]) * 32) for number in range(1, 5))
"""Four keys; where an application has privileged ones, the first has the privilege."""


class DictState:
    """The state in a dictionary; `Chain.submit` undoes what was rejected."""

    def __init__(self) -> None:
        self.entries: dict[bytes, bytes] = {}
        self.calls: list[tuple[str, bytes]] = []

    def get(self, key: bytes) -> bytes | None:
        self.calls.append(("get", key))
        return self.entries.get(key)

    def put(self, key: bytes, value: bytes | None) -> None:
        self.calls.append(("put", key))
        self.entries.pop(key, None) if value is None else self.entries.update({key: value})

    def scan(self, prefix: bytes, *, start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        found = (key for key in self.entries if key.startswith(prefix) and key >= prefix + start)
        return ((key, self.entries[key]) for key in sorted(found))


class Chain:
    """One application and its state."""

    def __init__(self, name: str, application: Application) -> None:
        self.name = name
        self.application = application
        self.state = DictState()
        application.initialise(self.state)

    def transaction(self, sender: bytes, method: str, *arguments: Argument) -> Transaction:
        return Transaction("test", PublicKey(sender), 1, 9, f"{self.name}.{method}", arguments)

    def submit(self, sender: bytes, method: str, *arguments: Argument) -> tuple[str, str]:
        """Code and output of the receipt."""
        before = dict(self.state.entries)
        try:
            output = self.application.execute(
                self.transaction(sender, method, *arguments), self.state
            )
        except Rejected as rejected:
            self.state.entries = before
            return rejected.code, rejected.text
        return ACCEPTED, output.decode()

    def code(self, sender: bytes, method: str, *arguments: Argument) -> str:
        return self.submit(sender, method, *arguments)[0]

    def refusal(self, method: str, *arguments: Argument) -> str:
        """What `check` says without the state: its code, or `ok`."""
        try:
            self.application.check(self.transaction(CLIENTS[0], method, *arguments))
        except Rejected as rejected:
            return rejected.code
        return ACCEPTED

    def query(self, *path: str) -> Any:
        return self.application.query(path, self.state)


def _kv() -> Chain:
    return Chain("kv", kv.create(kv.Options()))


def _payments(
    balances: Mapping[bytes, int] | None = None, minters: tuple[bytes, ...] = CLIENTS[:1]
) -> Chain:
    options = payments.Options(
        balances={account.hex(): amount for account, amount in (balances or {}).items()},
        minters=tuple(account.hex() for account in minters),
    )
    return Chain("payments", payments.create(options))


def replay(name: str, seed: int) -> str:
    """Digest of state, receipts and answers after 400 seeded transactions."""
    chooser = random.Random(seed)
    chain = _kv() if name == "kv" else _payments(dict.fromkeys(CLIENTS, 100), CLIENTS)
    random_call = _random_kv_call if name == "kv" else _random_payments_call
    trace: list[object] = []
    for _ in range(400):
        method, arguments = random_call(chooser)
        trace.append(chain.submit(chooser.choice(CLIENTS), method, *arguments))
    queries = [("list",)] if name == "kv" else [("supply",), ("minters",)]
    trace += [chain.query(*path) for path in queries]
    trace += sorted(chain.state.entries.items())
    return hashlib.sha256(repr(trace).encode()).hexdigest()


def _random_kv_call(chooser: random.Random) -> tuple[str, tuple[Argument, ...]]:
    key, one, other = (chooser.choice("abc") for _ in range(3))
    calls: list[tuple[str, tuple[Argument, ...]]] = [
        ("set", (key, one)),
        ("create", (key, one)),
        ("cas", (key, one, other)),
        ("delete", (key,)),
    ]
    return chooser.choice(calls)


def _random_payments_call(chooser: random.Random) -> tuple[str, tuple[Argument, ...]]:
    to, amount = chooser.choice(CLIENTS).hex(), chooser.randrange(60)
    calls: list[tuple[str, tuple[Argument, ...]]] = [
        ("transfer", (to, amount)),
        ("transfer_with_memo", (to, amount, "rent")),
        ("mint", (to, amount)),
        ("burn", (amount,)),
    ]
    return chooser.choice(calls)


@pytest.fixture(scope="session")
def kv_chain() -> Callable[[], Chain]:
    return _kv


@pytest.fixture(scope="session")
def payments_chain() -> Callable[..., Chain]:
    return _payments


@pytest.fixture(scope="session")
def clients() -> tuple[PublicKey, ...]:
    return CLIENTS
