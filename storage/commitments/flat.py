"""A root over the whole state, updated by what changed: AdHash. No membership proofs.

Each key-value pair is hashed to a number of 4096 bits; the state is their sum modulo 2**4096.
Adding and taking away a pair costs the same whatever the size of the state, and the order does not
matter. Two different states with one sum are a sum of hashes with signs that is 0: with the best
attack that is known, of an unlimited number of lists, that is 2**(2 * sqrt(4096)) = 2**128 work.

Source: Bellare and Micciancio, "A New Paradigm for Collision-Free Hashing", EUROCRYPT 1997; the
attack: Wagner, "A Generalized Birthday Problem", CRYPTO 2002. The hash is BLAKE3 in extendable
output mode. LtHash (IACR ePrint 2019/227) is for vector units; with whole numbers this sum is a
quarter of its cost at the same strength as the signatures.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from blake3 import blake3

from crypto.interface import Digest, Hash
from storage.interface import Commitment, CommitmentClaims, Corrupted

CLAIMS = CommitmentClaims(
    source="Bellare and Micciancio, EUROCRYPT 1997",
    membership_proofs=False,
    update_cost="O(changed keys)",
)

SUM_BYTES = 512
_MODULUS_MASK = (1 << 8 * SUM_BYTES) - 1


@dataclass(frozen=True, slots=True)
class Options:
    """None."""


class _Flat:
    def __init__(self, hash_: Hash) -> None:
        self._hash = hash_
        self._sum = 0

    @property
    def root(self) -> Digest:
        return self._hash.digest(b"assay/state\x00" + self.dump())

    def update(self, changes: Mapping[bytes, tuple[bytes | None, bytes | None]]) -> None:
        total = self._sum
        for key, (old, new) in changes.items():
            if old == new:
                continue
            if new is not None:
                total += _element(key, new)
            if old is not None:
                total -= _element(key, old)
        self._sum = total & _MODULUS_MASK

    def dump(self) -> bytes:
        return self._sum.to_bytes(SUM_BYTES, "little")

    def load(self, dumped: bytes) -> None:
        if len(dumped) != SUM_BYTES:
            raise Corrupted(f"a state sum has {SUM_BYTES} bytes, not {len(dumped)}")
        self._sum = int.from_bytes(dumped, "little")


def create(options: Options, hash_: Hash) -> Commitment:  # noqa: ARG001 - every mechanism has options
    return _Flat(hash_)


def _element(key: bytes, value: bytes) -> int:
    """The length of the key keeps (ab, c) and (a, bc) apart."""
    expanded = blake3(len(key).to_bytes(4, "little") + key + value).digest(SUM_BYTES)
    return int.from_bytes(expanded, "little")
