"""Clients that never stop: they submit, wait for `committed`, and remember what they were told."""

import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from testnet.client import Client, Json
from testnet.errors import ApiError, NetworkError
from testnet.network import Testnet

WAIT_MS = 2_000
HTTP_TIMEOUT_S = 3.0
BATCH = 5
PAUSE_S = 0.02
LIFETIME = 20_000


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """That a node answered `committed`."""

    id: str
    height: int
    index: int
    code: str
    node: str
    at_s: float
    """When the answer came (monotonic)."""


class Load:
    """Two threads, each with a client key of its own; each starts at another node.

    What is not acknowledged in time is submitted again, to the next node, until it is.
    """

    def __init__(self, net: Testnet, threads: int = 2) -> None:
        self._addresses = [(each.name, each.api) for each in net.manifest.nodes]
        self._wallets = [net.wallet(position) for position in range(threads)]
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._acknowledged: dict[str, Acknowledged] = {}
        self._told_twice: list[tuple[Acknowledged, Acknowledged]] = []
        self._strange: list[str] = []
        self._threads = [
            threading.Thread(target=self._run, args=(position,), daemon=True)
            for position in range(threads)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30.0)
        if kind is None:
            assert not self._strange, self._strange[:3]
            assert not self._told_twice, self._told_twice[:3]

    @property
    def acknowledged(self) -> list[Acknowledged]:
        with self._lock:
            return list(self._acknowledged.values())

    @property
    def count(self) -> int:
        with self._lock:
            return len(self._acknowledged)

    def wait_more(self, count: int, timeout_s: float) -> float:
        """Wait for `count` acknowledgements more; the seconds it took."""
        began = time.monotonic()
        goal = self.count + count
        while self.count < goal:
            assert time.monotonic() < began + timeout_s, (
                f"not in {timeout_s:g} s: {goal - self.count} more transactions committed"
            )
            time.sleep(0.005)
        return time.monotonic() - began

    def _run(self, position: int) -> None:
        wallet, number, turn = self._wallets[position], 0, position
        while not self._stop.is_set():
            signed = [
                wallet.sign("kv.set", f"t{position}-{number + each}", "x" * 32, expiry=LIFETIME)
                for each in range(BATCH)
            ]
            number += BATCH
            left = {item.id.hex(): item.raw for item in signed}
            while left and not self._stop.is_set():
                name, address = self._addresses[turn % len(self._addresses)]
                left = self._submit(name, address, left)
                turn += bool(left)
                self._stop.wait(PAUSE_S)

    def _submit(self, name: str, address: str, left: dict[str, bytes]) -> dict[str, bytes]:
        """What is still not acknowledged after asking this node."""
        try:
            with Client(address, HTTP_TIMEOUT_S) as client:
                results = client.submit_batch(list(left.values()), wait=True, timeout_ms=WAIT_MS)
        except ApiError as error:
            # Why these are usual: a node that stops or is full says so.
            if error.status not in (429, 503):
                self._strange.append(f"{name}: {error}")
            return left
        except NetworkError:
            return left
        for result in results:
            if result.get("status") == "committed":
                self._note(name, result)
                left = {key: raw for key, raw in left.items() if key != result["id"]}
            elif result.get("status") not in ("pending", "admitted"):
                self._strange.append(f"{name}: {result}")
        return left

    def _note(self, name: str, result: Json) -> None:
        told = Acknowledged(
            result["id"], result["height"], result["index"], result["code"], name, time.monotonic()
        )
        with self._lock:
            before = self._acknowledged.setdefault(told.id, told)
            if (before.height, before.index, before.code) != (told.height, told.index, told.code):
                self._told_twice.append((before, told))
