"""The append-only ledger: blocks, receipts, certificates, the ledger tree and its indexes.

A block becomes durable in one atomic batch, together with the state it led to. Whatever is read
is checked: headers and bodies against their digests, receipts against the receipts root, the rest
by a checksum. Damage raises `Corrupted`, never gives a wrong answer.

The ledger tree is kept in tiles: tile (l, i) holds up to 256 digests of the complete subtrees of
level 8 * l, from number 256 * i on; whatever lies between is computed from them.

Keys:  meta            format (4 bytes), then genesis, height, tip, frontier and commitment
       h/HEIGHT        header             b/HEIGHT  body           r/HEIGHT  receipts
       c/HEIGHT        certificate        t/LEVEL/INDEX  a tile of the ledger tree
       i/ID            height and position of a transaction's first appearance
       s/...           state (storage.state)

What is missing without a trace (a transaction's place, a key of the state) is found by `assay node
fsck`, not by reading.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

from crypto.bundle import Bundle
from crypto.certificate import Certificate, certificates
from crypto.encoding import Codec, Malformed, Record, encode
from crypto.header import ZERO, Header, header_digest, headers
from crypto.interface import Digest, Hash
from crypto.merkle import (
    Frontier,
    InvalidProof,
    Node,
    consistency_proof,
    inclusion_proof,
    leaf_digest,
    nodes_of,
    root_of,
)
from crypto.transaction import Receipt
from storage.checksum import corrupted, with_checksum, without_checksum
from storage.interface import Commitment, StorageError, Store
from storage.state import State
from storage.tiles import TILE_LEVELS, Tiles

FORMAT = 1
HEADERS_CACHED = 256
_RECEIPTS_BYTES_MAX = 256 * 1024 * 1024


class _Meta(Record, frozen=True):
    genesis: bytes
    height: int
    certified: int
    """Certificates are known up to here; there may be more above."""
    tip: bytes
    """The digest of the last header: nothing else may vouch for it yet."""
    frontier: bytes
    commitment: bytes


class _Receipts(Record, frozen=True):
    receipts: Annotated[tuple[Receipt, ...], Meta(max_length=1_000_000)]


_metas: Codec[_Meta] = Codec(_Meta, bytes_max=1024 * 1024)
_receipts: Codec[_Receipts] = Codec(_Receipts, bytes_max=_RECEIPTS_BYTES_MAX)

_META = b"meta"

TRANSACTIONS = b"i/"
"""Where the transactions' places are in the store's keys."""

_FORMAT_BYTES = 4


@dataclass(frozen=True, slots=True)
class StoredBlock:
    header: Header
    body: bytes
    receipts: tuple[Receipt, ...]


class Ledger:
    """Opened by `open`. Written by the ledger lane alone; `find_many` may be called anywhere."""

    def __init__(
        self,
        store: Store,
        genesis: Digest,
        hash_: Hash,
        commitment: Commitment,
        *,
        sync: bool,
        wrote: Callable[[float], None],
    ) -> None:
        self._store = store
        self._genesis = genesis
        self._hash = hash_
        self._commitment = commitment
        self._sync = sync
        self._wrote = wrote
        self._frontier = Frontier(hash_)
        self._grown: tuple[Frontier, list[Node]] | None = None
        self._tiles = Tiles(store, hash_)
        self._headers: OrderedDict[int, tuple[Header, Digest]] = OrderedDict()
        self._tip = ZERO
        self._unsynced: dict[bytes, bytes] = {}
        """Certificates since the last block; they become durable with the next one."""
        self.height = 0
        self.certified = 0
        """Certificates of all heights up to this one are stored."""

    @staticmethod
    def open(
        store: Store,
        genesis: Digest,
        hash_: Hash,
        commitment: Commitment,
        *,
        sync: bool = True,
        wrote: Callable[[float], None] = lambda _: None,
    ) -> "Ledger":
        """The ledger in `store`, empty at first. Raises `StorageError`, `Corrupted`.

        `wrote` hears of each durable block, with the seconds it took to write.
        """
        ledger = Ledger(store, genesis, hash_, commitment, sync=sync, wrote=wrote)
        raw = store.get(_META)
        if raw is not None:
            ledger._load(raw)
        elif next(iter(store.scan(b"")), None) is not None:
            raise StorageError(
                "the data directory holds something that is no ledger of this format; empty it, "
                "or use the home directory it belongs to"
            )
        else:
            store.write({_META: with_checksum(ledger._meta())})
        return ledger

    @property
    def size(self) -> int:
        """Transactions in the ledger."""
        return self._frontier.size

    @property
    def root(self) -> Digest:
        """Of the ledger tree."""
        return self._frontier.root()

    def header(self, height: int) -> Header:
        return self._header(height)[0]

    def header_digest(self, height: int) -> Digest:
        """`ZERO` for height 0."""
        return self._header(height)[1] if height else ZERO

    def block(self, height: int) -> StoredBlock:
        header = self.header(height)
        body = self._read(b"b/", height)
        if self._hash.digest(body) != header.payload:
            raise corrupted(f"the body of height {height}")
        receipts = self.receipts(height)
        return StoredBlock(header, body, receipts)

    def receipts(self, height: int) -> tuple[Receipt, ...]:
        raw = self._read(b"r/", height)
        try:
            receipts = _receipts.decode(raw).receipts
        except Malformed:
            raise corrupted(f"the receipts of height {height}") from None
        if self._receipts_root(receipts) != self.header(height).receipts_root:
            raise corrupted(f"the receipts of height {height}")
        return receipts

    def certificate(self, height: int) -> Certificate | None:
        raw = self._store.get(_key(b"c/", height))
        if raw is None:
            return None
        try:
            return certificates.decode(without_checksum(raw, f"the certificate of height {height}"))
        except Malformed:
            raise corrupted(f"the certificate of height {height}") from None

    def find(self, identity: Digest) -> tuple[int, int] | None:
        """Height and position of the transaction's first appearance."""
        return self.find_many([identity])[0]

    def find_many(self, ids: Sequence[Digest]) -> list[tuple[int, int] | None]:
        """The same for many at once; safe from any thread."""
        return [_place(raw) for raw in self._store.get_many([TRANSACTIONS + item for item in ids])]

    def root_after(self, leaves: Sequence[Digest]) -> Digest:
        """The ledger root with `leaves` appended; `append` then takes the same leaves."""
        frontier = self._frontier.copy()
        self._grown = (frontier, frontier.extend(leaves, step=TILE_LEVELS))
        return frontier.root()

    def append(
        self,
        header: Header,
        body: bytes,
        *,
        ids: Sequence[Digest],
        receipts: Sequence[Receipt],
        new: Sequence[bool],
        state: State,
    ) -> None:
        """Store a block with everything that follows from it, atomically and durably.

        Comes after `root_after` with the block's leaves. `new` says of each transaction whether
        this is its first appearance.
        """
        assert self._grown is not None
        frontier, completed = self._grown
        assert frontier.size == header.ledger_size
        assert header.height == self.height + 1
        batch = state.batch()
        batch[_key(b"h/", header.height)] = encode(header)
        batch[_key(b"b/", header.height)] = body
        batch[_key(b"r/", header.height)] = encode(_Receipts(tuple(receipts)))
        place = header.height.to_bytes(8, "big")
        for position, (identity, first) in enumerate(zip(ids, new, strict=True)):
            if first:
                batch[TRANSACTIONS + identity] = with_checksum(place + position.to_bytes(4, "big"))
        batch |= self._tiles.extend(completed)
        batch |= self._unsynced
        self._frontier, self._grown = frontier, None
        self.height = header.height
        self._tip = header_digest(header, self._hash)
        batch[_META] = with_checksum(self._meta())
        began = time.perf_counter()
        self._store.write(batch, sync=self._sync)
        self._wrote(time.perf_counter() - began)
        self._unsynced.clear()
        state.settle()
        self._cache(header)

    def put_certificate(self, certificate: Certificate) -> None:
        """Not synced: a lost certificate can be had again from the peers.

        It is written again with the next block, so that no block's `certified` counts one that a
        power loss took.
        """
        key, value = _key(b"c/", certificate.height), with_checksum(encode(certificate))
        self._store.write({key: value}, sync=False)
        self._unsynced[key] = value
        while self._store.get(_key(b"c/", self.certified + 1)) is not None:
            self.certified += 1

    def inclusion(self, index: int, size: int) -> tuple[Digest, ...]:
        """The audit path of the transaction `index` in the tree of `size` leaves."""
        return inclusion_proof(index, size, self._tiles.node, self._hash)

    def consistency(self, old: int, new: int) -> tuple[Digest, ...]:
        return consistency_proof(old, new, self._tiles.node, self._hash)

    def bundle(
        self, stored: StoredBlock, certificate: Certificate, position: int, transaction: bytes
    ) -> Bundle:
        """The proof of the transaction at `position` of a certified block."""
        header = stored.header
        index = header.ledger_size - header.block_size + position
        leaves = [leaf_digest(encode(receipt), self._hash) for receipt in stored.receipts]
        return Bundle(
            genesis=self._genesis,
            changes=(),
            header=header,
            certificate=certificate,
            transaction=transaction,
            index=index,
            ledger_proof=self.inclusion(index, header.ledger_size),
            receipt=stored.receipts[position],
            position=position,
            receipt_proof=inclusion_proof(
                position, len(leaves), nodes_of(leaves, self._hash), self._hash
            ),
        )

    def _receipts_root(self, receipts: Sequence[Receipt]) -> Digest:
        leaves = [leaf_digest(encode(receipt), self._hash) for receipt in receipts]
        return root_of(leaves, self._hash)

    def _header(self, height: int) -> tuple[Header, Digest]:
        cached = self._headers.get(height)
        if cached is not None:
            return cached
        raw = self._read(b"h/", height)
        try:
            header = headers.decode(raw)
        except Malformed:
            raise corrupted(f"the header of height {height}") from None
        digest = header_digest(header, self._hash)
        self._check_header(height, header, digest)
        self._cache(header)
        return header, digest

    def _check_header(self, height: int, header: Header, digest: Digest) -> None:
        """Against the next header's parent or, for the last, the tip; and the certificate."""
        if header.height != height:
            raise corrupted(f"the header of height {height}")
        if height < self.height:
            following = self._store.get(_key(b"h/", height + 1))
            try:
                parent = headers.decode(following or b"").parent
            except Malformed:
                raise corrupted(f"the header of height {height + 1}") from None
            if parent != digest:
                raise corrupted(f"the header of height {height}")
        elif digest != self._tip:
            raise corrupted(f"the header of height {height}")
        certificate = self.certificate(height)
        if certificate is not None and certificate.header != digest:
            raise corrupted(f"the header of height {height}")

    def _cache(self, header: Header) -> None:
        self._headers[header.height] = (header, header_digest(header, self._hash))
        while len(self._headers) > HEADERS_CACHED:
            self._headers.popitem(last=False)

    def _read(self, prefix: bytes, height: int) -> bytes:
        raw = self._store.get(_key(prefix, height))
        if raw is None:
            raise corrupted(f"{prefix.decode()}{height} (it is missing)")
        return raw

    def _meta(self) -> bytes:
        return FORMAT.to_bytes(_FORMAT_BYTES, "big") + encode(
            _Meta(
                self._genesis,
                self.height,
                self.certified,
                self._tip,
                self._frontier.dump(),
                self._commitment.dump(),
            )
        )

    def _load(self, raw: bytes) -> None:
        try:
            record = without_checksum(raw, "the ledger's meta record")
            # Why before decoding: another format has other fields.
            found = int.from_bytes(record[:_FORMAT_BYTES], "big")
            if found != FORMAT:
                raise StorageError(
                    f"the ledger has format {found}; this version knows format {FORMAT}. Use the "
                    "version that wrote it, or empty the data directory: the node is filled again "
                    "from its peers"
                )
            meta = _metas.decode(record[_FORMAT_BYTES:])
            if meta.genesis != self._genesis:
                raise StorageError(
                    "the data directory belongs to another network than the genesis file; use the "
                    "home directory of this network"
                )
            self._frontier = Frontier.load(meta.frontier, self._hash)
            self._tiles.load(self._frontier.size)
        except (Malformed, InvalidProof):
            raise corrupted("the ledger's meta record") from None
        self._commitment.load(meta.commitment)
        self.height = meta.height
        self._tip = Digest(meta.tip)
        self.certified = meta.certified
        while self._store.get(_key(b"c/", self.certified + 1)) is not None:
            self.certified += 1


def _key(prefix: bytes, height: int) -> bytes:
    return prefix + height.to_bytes(8, "big")


def _place(raw: bytes | None) -> tuple[int, int] | None:
    if raw is None:
        return None
    place = without_checksum(raw, "the transaction index")
    return int.from_bytes(place[:8], "big"), int.from_bytes(place[8:], "big")
