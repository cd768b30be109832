"""The digests of the ledger tree, in tiles of 256.

Tile (l, i) holds the digests of the complete subtrees (8 * l, 256 * i) and following. One value
in the store for 256 leaves instead of two for each leaf; nodes between two tile levels are computed
when a proof needs them. The layout is that of tlog-tiles (c2sp.org).
"""

from collections.abc import Sequence

from crypto.interface import DIGEST_BYTES, Digest, Hash
from crypto.merkle import Node, node_digest
from storage.checksum import corrupted, with_checksum, without_checksum
from storage.interface import Store

TILE_LEVELS = 8
_WIDTH = 1 << TILE_LEVELS


class Tiles:
    """Reads from the store; what is new goes into the block's batch."""

    def __init__(self, store: Store, hash_: Hash) -> None:
        self._store = store
        self._hash = hash_
        self._open: dict[int, list[Digest]] = {}
        """The last, incomplete tile of each level."""

    def load(self, size: int) -> None:
        """Continue a tree of `size` leaves."""
        level, count = 0, size
        while count:
            rest = count % _WIDTH
            if rest:
                self._open[level] = self._tile(level, count // _WIDTH)[:rest]
            level, count = level + 1, count // _WIDTH

    def extend(self, completed: Sequence[Node]) -> dict[bytes, bytes]:
        """Take in newly complete subtrees, in order; what to store."""
        batch: dict[bytes, bytes] = {}
        touched: dict[int, int] = {}
        for depth, index, digest in completed:
            level, remainder = divmod(depth, TILE_LEVELS)
            if remainder:
                continue
            tile = self._open.setdefault(level, [])
            tile.append(digest)
            touched[level] = index // _WIDTH
            if len(tile) == _WIDTH:
                batch[_key(level, touched.pop(level))] = with_checksum(b"".join(tile))
                del self._open[level]
        for level, index in touched.items():
            batch[_key(level, index)] = with_checksum(b"".join(self._open[level]))
        return batch

    def node(self, depth: int, index: int) -> Digest:
        """The digest of a complete subtree. Raises `Corrupted`."""
        level, rest = divmod(depth, TILE_LEVELS)
        first = index << rest
        start = first % _WIDTH
        digests = self._tile(level, first // _WIDTH)[start : start + (1 << rest)]
        if len(digests) < 1 << rest:
            raise corrupted(f"tile {level}/{first // _WIDTH} of the ledger tree")
        while len(digests) > 1:
            digests = [
                node_digest(left, right, self._hash)
                for left, right in zip(digests[::2], digests[1::2], strict=True)
            ]
        return digests[0]

    def _tile(self, level: int, index: int) -> list[Digest]:
        what = f"tile {level}/{index} of the ledger tree"
        raw = self._store.get(_key(level, index))
        if raw is None:
            raise corrupted(what)
        joined = without_checksum(raw, what)
        return [
            Digest(joined[start : start + DIGEST_BYTES])
            for start in range(0, len(joined), DIGEST_BYTES)
        ]


def _key(level: int, index: int) -> bytes:
    return b"t/" + bytes([level]) + index.to_bytes(8, "big")
