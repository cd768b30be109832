"""A root over the whole state, updated by what changed: LtHash. No membership proofs.

Each key-value pair is hashed to 1024 numbers of 16 bits; the state is their sum, lane by lane
modulo 2**16. Adding and taking away a pair costs the same whatever the size of the state, and the
order does not matter. Finding two states with one sum is as hard as a short-integer-solution
problem on lattices (at least 200 bits by its authors' estimate).

Source: Lewi, Kim, Maykov, Weis, "Securing Update Propagation with Homomorphic Hashing", IACR
ePrint 2019/227; Bellare and Micciancio, EUROCRYPT 1997. The expansion is BLAKE3 in extendable
output mode.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from blake3 import blake3

from crypto.interface import Digest, Hash
from storage.interface import Commitment, CommitmentClaims, Corrupted

CLAIMS = CommitmentClaims(
    source="IACR ePrint 2019/227", membership_proofs=False, update_cost="O(changed keys)"
)

LATTICE_BYTES = 2048

# Why two sums: the lanes are 16 bits wide. Even and odd lanes are kept in integers of their own,
# so that each lane has 16 spare bits above it, and one big addition adds 512 lanes at a time.
_EVEN = int.from_bytes(b"\xff\xff\x00\x00" * (LATTICE_BYTES // 4), "little")
_ODD = _EVEN << 16
_GUARD_EVEN = int.from_bytes(b"\x00\x00\x01\x00" * (LATTICE_BYTES // 4), "little")


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
        for key, (before, after) in changes.items():
            if before == after:
                continue
            if before is not None:
                self._subtract(_expand(key, before))
            if after is not None:
                self._add(_expand(key, after))

    def dump(self) -> bytes:
        return self._sum.to_bytes(LATTICE_BYTES, "little")

    def load(self, dumped: bytes) -> None:
        if len(dumped) != LATTICE_BYTES:
            raise Corrupted(f"a state sum has {LATTICE_BYTES} bytes, not {len(dumped)}")
        self._sum = int.from_bytes(dumped, "little")

    def _add(self, element: int) -> None:
        even = (self._sum & _EVEN) + (element & _EVEN)
        odd = ((self._sum & _ODD) >> 16) + ((element & _ODD) >> 16)
        self._sum = (even & _EVEN) | ((odd & _EVEN) << 16)

    def _subtract(self, element: int) -> None:
        even = ((self._sum & _EVEN) | _GUARD_EVEN) - (element & _EVEN)
        odd = (((self._sum & _ODD) >> 16) | _GUARD_EVEN) - ((element & _ODD) >> 16)
        self._sum = (even & _EVEN) | ((odd & _EVEN) << 16)


def create(options: Options, hash_: Hash) -> Commitment:  # noqa: ARG001 - every mechanism has options
    return _Flat(hash_)


def _expand(key: bytes, value: bytes) -> int:
    """The pair as a vector. The length of the key keeps (ab, c) and (a, bc) apart."""
    pair = len(key).to_bytes(4, "little") + key + value
    return int.from_bytes(blake3(pair).digest(LATTICE_BYTES), "little")
