"""The append-only Merkle tree of RFC 6962, section 2.1: roots, audit paths, consistency proofs.

Proofs are made from the digests of complete subtrees, named (level, index): level 0 are leaves,
subtree (l, i) covers leaves from i * 2**l up to (i + 1) * 2**l. Checks return nothing or raise
`InvalidProof`.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, TypeAlias

from msgspec import Meta

from crypto.encoding import Codec, Record, encode
from crypto.interface import DIGEST_BYTES, CryptoError, Digest, Hash

PROOF_LENGTH_MAX = 64
SIZE_MAX = 2**63 - 1

Node: TypeAlias = tuple[int, int, Digest]
"""Level, index and digest of a complete subtree."""

ReadNode: TypeAlias = Callable[[int, int], Digest]


class InvalidProof(CryptoError):
    """The proof does not show what it claims."""


class Forked(InvalidProof):
    """Two roots for trees of one size. With their certificates, the evidence of a fork."""

    def __init__(self, size: int, old_root: Digest, new_root: Digest) -> None:
        super().__init__(f"equal sizes ({size}) with different roots: the ledger was forked")
        self.size = size
        self.roots = (old_root, new_root)


def leaf_digest(data: bytes, hash_: Hash) -> Digest:
    """MTH({d}) = HASH(0x00 || d)."""
    return hash_.digest(b"\x00" + data)


def node_digest(left: Digest, right: Digest, hash_: Hash) -> Digest:
    """HASH(0x01 || left || right)."""
    return hash_.digest(b"\x01" + left + right)


class _Dump(Record, frozen=True):
    size: Annotated[int, Meta(ge=0, le=SIZE_MAX)]
    peaks: Annotated[tuple[Digest, ...], Meta(max_length=PROOF_LENGTH_MAX)]


_dumps: Codec[_Dump] = Codec(_Dump, bytes_max=4096)


class Frontier:
    """The right edge of a growing tree: the peaks of its complete subtrees, left to right."""

    def __init__(self, hash_: Hash, size: int = 0, peaks: Sequence[Digest] = ()) -> None:
        fits = size >= 0 and len(peaks) == size.bit_count()
        if not fits or any(len(peak) != DIGEST_BYTES for peak in peaks):
            raise InvalidProof(f"{len(peaks)} peaks do not make a tree of {size} leaves")
        self._hash = hash_
        self._peaks = list(peaks)
        self.size = size

    def copy(self) -> "Frontier":
        return Frontier(self._hash, self.size, self._peaks)

    def extend(self, leaves: Sequence[Digest], *, step: int = 1) -> list[Node]:
        """Append leaf digests; the subtrees that became complete, leaves included.

        Only those whose level is a multiple of `step` are returned.
        """
        digest = self._hash.digest
        peaks = self._peaks
        completed: list[Node] = []
        for leaf in leaves:
            level, index, node = 0, self.size, leaf
            completed.append((0, index, leaf))
            while index & 1:
                node = digest(b"\x01" + peaks.pop() + node)
                level, index = level + 1, index >> 1
                if level % step == 0:
                    completed.append((level, index, node))
            peaks.append(node)
            self.size += 1
        return completed

    def root(self) -> Digest:
        """MTH of all leaves so far; the empty tree's is HASH()."""
        if not self._peaks:
            return self._hash.digest(b"")
        root = self._peaks[-1]
        for peak in reversed(self._peaks[:-1]):
            root = node_digest(peak, root, self._hash)
        return root

    def dump(self) -> bytes:
        return encode(_Dump(self.size, tuple(self._peaks)))

    @staticmethod
    def load(dumped: bytes, hash_: Hash) -> "Frontier":
        """Raises `Malformed` or `InvalidProof`."""
        record = _dumps.decode(dumped)
        return Frontier(hash_, record.size, record.peaks)


def root_of(leaves: Sequence[Digest], hash_: Hash) -> Digest:
    """The root over leaf digests."""
    frontier = Frontier(hash_)
    frontier.extend(leaves)
    return frontier.root()


def nodes_of(leaves: Sequence[Digest], hash_: Hash) -> ReadNode:
    """A reader of subtrees for a small tree that is all in memory."""
    known = {(level, index): node for level, index, node in Frontier(hash_).extend(leaves)}
    return lambda level, index: known[level, index]


def _subtree(start: int, end: int, node: ReadNode, hash_: Hash) -> Digest:
    """MTH(D[start:end]), from complete subtrees; `start` is aligned."""
    size = end - start
    if size & (size - 1) == 0:
        level = size.bit_length() - 1
        return node(level, start >> level)
    split = 1 << (size - 1).bit_length() - 1
    left = _subtree(start, start + split, node, hash_)
    return node_digest(left, _subtree(start + split, end, node, hash_), hash_)


def inclusion_proof(index: int, size: int, node: ReadNode, hash_: Hash) -> tuple[Digest, ...]:
    """PATH(index, D[size]): the audit path, from the leaf up."""
    if not 0 <= index < size:
        raise ValueError(f"index {index} in a tree of {size} leaves")
    path: list[Digest] = []
    start, end = 0, size
    while end - start > 1:
        split = start + (1 << (end - start - 1).bit_length() - 1)
        if index < split:
            path.append(_subtree(split, end, node, hash_))
            end = split
        else:
            path.append(_subtree(start, split, node, hash_))
            start = split
    return tuple(reversed(path))


def consistency_proof(old: int, new: int, node: ReadNode, hash_: Hash) -> tuple[Digest, ...]:
    """PROOF(old, D[new]); empty where both are equal."""
    if not 0 < old <= new:
        raise ValueError(f"no consistency proof from size {old} to {new}")
    path: list[Digest] = []
    start, end, whole = 0, new, True
    while old != end:
        split = start + (1 << (end - start - 1).bit_length() - 1)
        if old <= split:
            path.append(_subtree(split, end, node, hash_))
            end = split
        else:
            path.append(_subtree(start, split, node, hash_))
            start, whole = split, False
    if not whole:
        path.append(_subtree(start, end, node, hash_))
    return tuple(reversed(path))


def verify_inclusion(
    leaf: Digest, index: int, size: int, proof: Sequence[Digest], root: Digest, hash_: Hash
) -> None:
    """That the leaf digest stands at `index` in the tree of `size` leaves with `root`."""
    _check_form(proof, leaf, root)
    if not 0 <= index < size <= SIZE_MAX:
        raise InvalidProof(f"index {index} is not in a tree of {size} leaves")
    last, node, steps = size - 1, leaf, iter(proof)
    while last:
        if index & 1 or index < last:
            sibling = next(steps, None)
            if sibling is None:
                raise InvalidProof("the audit path is too short")
            pair = (sibling, node) if index & 1 else (node, sibling)
            node = node_digest(*pair, hash_)
        index, last = index >> 1, last >> 1
    if next(steps, None) is not None:
        raise InvalidProof("the audit path is too long")
    if node != root:
        raise InvalidProof("the audit path leads to another root")


def verify_consistency(
    old: int,
    new: int,
    old_root: Digest,
    new_root: Digest,
    proof: Sequence[Digest],
    hash_: Hash,
) -> None:
    """That the tree of `new` leaves begins with the tree of `old` leaves.

    Equal sizes need equal roots (or raise `Forked`) and an empty proof. Size 0 is refused:
    everything continues the empty tree, so there is nothing to show.
    """
    _check_form(proof, old_root, new_root)
    if not 0 < old <= new <= SIZE_MAX:
        raise InvalidProof(f"there is no consistency from size {old} to {new}")
    if old == new:
        if old_root != new_root:
            raise Forked(old, old_root, new_root)
        if proof:
            raise InvalidProof("the consistency proof is too long: equal sizes need an empty one")
        return
    first, last = old - 1, new - 1
    while first & 1:
        first, last = first >> 1, last >> 1
    steps = iter(proof)
    start = next(steps, None) if first else old_root
    if start is None:
        raise InvalidProof("the consistency proof is too short")
    old_node = new_node = start
    while last:
        if first & 1 or first < last:
            sibling = next(steps, None)
            if sibling is None:
                raise InvalidProof("the consistency proof is too short")
            if first & 1:
                old_node = node_digest(sibling, old_node, hash_)
                new_node = node_digest(sibling, new_node, hash_)
            else:
                new_node = node_digest(new_node, sibling, hash_)
        first, last = first >> 1, last >> 1
    if next(steps, None) is not None:
        raise InvalidProof("the consistency proof is too long")
    if (old_node, new_node) != (old_root, new_root):
        raise InvalidProof("the roots do not fit: the ledger was forked")


def _check_form(proof: Sequence[Digest], *digests: Digest) -> None:
    if len(proof) > PROOF_LENGTH_MAX:
        raise InvalidProof(f"{len(proof)} steps; no tree needs more than {PROOF_LENGTH_MAX}")
    if any(len(item) != DIGEST_BYTES for item in (*proof, *digests)):
        raise InvalidProof(f"every digest has {DIGEST_BYTES} bytes")
