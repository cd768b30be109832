"""The transactions of a benchmark: of an exact size, signed before anything is measured."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from crypto.interface import Digest
from testnet.errors import WrongUse
from testnet.wallet import Wallet

KEYS_PER_CLIENT = 2_500
"""Each client writes so many keys over and over: the state stays bounded, the ledger grows."""

NONCE_MIN, NONCE_MAX = 2**32, 2**63 - 1
"""Nonces that all have the same length when encoded."""

METHOD = "kv.set"
VALUE_MAX = 4096


@dataclass(frozen=True, slots=True)
class Batch:
    """Transactions that are sent in one request."""

    raws: tuple[bytes, ...]
    ids: tuple[Digest, ...]


class Workload:
    """Makes signed transactions of one size, for many clients in turn; repeatable by its seed.

    Signatures and ids depend on the keys of the network, which are fresh for each one; what is
    written, by whom and in which order depends on the seed alone.
    """

    def __init__(self, wallets: Sequence[Wallet], size: int, seed: int) -> None:
        self._wallets = wallets
        self._size = size
        self._random = random.Random(seed)  # noqa: S311 - repeatable on purpose
        self._made = 0

    def batches(self, count: int, per_batch: int, expiry: int) -> list[Batch]:
        """At least `count` transactions in full batches."""
        pad = self._padding(expiry)
        return [self._batch(per_batch, expiry, pad) for _ in range(-(-count // per_batch))]

    def _batch(self, count: int, expiry: int, pad: int) -> Batch:
        signed = [self._one(expiry, pad) for _ in range(count)]
        return Batch(tuple(raw for raw, _ in signed), tuple(identity for _, identity in signed))

    def _one(self, expiry: int, pad: int) -> tuple[bytes, Digest]:
        client = self._made % len(self._wallets)
        key = f"{client:04d}/{self._random.randrange(KEYS_PER_CLIENT):06d}"
        self._made += 1
        value = f"{self._random.getrandbits(4 * pad):0{pad}x}" if pad else ""
        nonce = self._random.randint(NONCE_MIN, NONCE_MAX)
        signed = self._wallets[client].sign(METHOD, key, value, expiry=expiry, nonce=nonce)
        assert len(signed.raw) == self._size, (len(signed.raw), self._size)
        return signed.raw, signed.id

    def _padding(self, expiry: int) -> int:
        """How long the value has to be for the exact size. Raises `WrongUse` if it cannot."""
        for pad in range(VALUE_MAX):
            key = f"{0:04d}/{0:06d}"
            sample = self._wallets[0].sign(METHOD, key, "0" * pad, expiry=expiry, nonce=NONCE_MIN)
            missing = self._size - len(sample.raw)
            if missing == 0:
                return pad
            if missing < 0:
                break
        raise WrongUse(f"no {METHOD} transaction has {self._size} bytes; choose another --size")
