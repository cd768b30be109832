"""A root over the whole state, updated by what changed: LtHash. No membership proofs.

Each key-value pair is hashed to 1024 numbers of 16 bits; the state is their sum, lane by lane
modulo 2**16. Adding and taking away a pair costs the same whatever the size of the state, and the
order does not matter. Finding two states with one sum is as hard as a short-integer-solution
problem on lattices (at least 200 bits by its authors' estimate).

Source: Lewi, Kim, Maykov, Weis, "Securing Update Propagation with Homomorphic Hashing", IACR
ePrint 2019/227; Bellare and Micciancio, EUROCRYPT 1997. The expansion is BLAKE3 in extendable
output mode.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from blake3 import blake3

from crypto.interface import Digest, Hash
from storage.interface import Commitment, CommitmentClaims, Corrupted

CLAIMS = CommitmentClaims(
    source="IACR ePrint 2019/227", membership_proofs=False, update_cost="O(changed keys)"
)

LATTICE_BYTES = 2048

# Lanes are 16 bits wide. Even and odd lanes are summed apart, each in an integer with 16 spare
# bits above every lane, so that one addition of big integers adds 512 lanes at a time and up to
# 2**16 - 1 elements can be added before a lane has to be reduced.
_LANES = int.from_bytes(b"\xff\xff\x00\x00" * (LATTICE_BYTES // 4), "little")
_ONES = int.from_bytes(b"\x01\x00\x00\x00" * (LATTICE_BYTES // 4), "little")
_ELEMENTS_MAX = 2**16 - 1


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
        come = [(key, new) for key, (old, new) in changes.items() if new is not None and old != new]
        gone = [(key, old) for key, (old, new) in changes.items() if old is not None and old != new]
        even, odd = self._sum & _LANES, (self._sum >> 16) & _LANES
        plus_even, plus_odd = _total(come)
        minus_even, minus_odd = _total(gone)
        # Why the complement: lanes must not borrow from each other. -x is (not x) + 1 in each.
        even = (even + plus_even + (minus_even ^ _LANES) + _ONES) & _LANES
        odd = (odd + plus_odd + (minus_odd ^ _LANES) + _ONES) & _LANES
        self._sum = even | (odd << 16)

    def dump(self) -> bytes:
        return self._sum.to_bytes(LATTICE_BYTES, "little")

    def load(self, dumped: bytes) -> None:
        if len(dumped) != LATTICE_BYTES:
            raise Corrupted(f"a state sum has {LATTICE_BYTES} bytes, not {len(dumped)}")
        self._sum = int.from_bytes(dumped, "little")


def create(options: Options, hash_: Hash) -> Commitment:  # noqa: ARG001 - every mechanism has options
    return _Flat(hash_)


def _total(pairs: Sequence[tuple[bytes, bytes]]) -> tuple[int, int]:
    """The sum of the elements of `pairs`, even and odd lanes apart, each lane reduced.

    The pair as a vector: the length of the key keeps (ab, c) and (a, bc) apart.
    """
    even = odd = 0
    for start in range(0, len(pairs), _ELEMENTS_MAX - 1):
        evens = alls = 0
        for key, value in pairs[start : start + _ELEMENTS_MAX - 1]:
            expanded = blake3(len(key).to_bytes(4, "little") + key + value).digest(LATTICE_BYTES)
            element = int.from_bytes(expanded, "little")
            alls += element
            evens += element & _LANES
        # Why: what is left without the even lanes is the odd ones, each with its spare bits.
        even, odd = (even + evens) & _LANES, (odd + ((alls - evens) >> 16)) & _LANES
    return even, odd
