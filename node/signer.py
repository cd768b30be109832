"""The one place that signs for a validator, and that prevents double signing.

For each slot (phase, height, view) the journal durably remembers the digest of the one body that
was signed, and the signature, before the signature leaves this file. A second body for a slot is
refused; the same body gets the stored signature again. The same journal keeps what the protocol
has to remember and the payloads that were voted for, so that one fsync covers a whole group.

Not thread-safe: belongs to the journal lane of `node.workers`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

from consensus.interface import Message, Signed, Slot
from crypto import domains
from crypto.certificate import Attestation
from crypto.encoding import Codec, Record, encode
from crypto.interface import Digest, Hash, NodeId, Signature, SigningKey
from storage.interface import StorageError
from storage.journal import Journal

SLOTS_KEPT_HEIGHTS = 512
"""Slots this far below the executed height are forgotten; below them nothing is signed."""

VIEWS_KEPT = 128
"""Likewise for slots that belong to a view and to no height."""

ATTEST = "attest"
"""The host's own phase; a protocol cannot use this name."""

_SLOT = b"slot/"
_REMEMBERED = b"protocol/"
_PAYLOAD = b"payload/"
_HEIGHT_BYTES = 8
_FLOOR = b"floor"
_ABSTAIN = b"abstain"

M = TypeVar("M", bound=Message)


class _Signature(Record, frozen=True):
    digest: bytes
    signature: Signature


class _Floor(Record, frozen=True):
    height: int
    view: int


_slots: Codec[Slot] = Codec(Slot, bytes_max=1024)
_signatures: Codec[_Signature] = Codec(_Signature, bytes_max=64 * 1024)
_floors: Codec[_Floor] = Codec(_Floor, bytes_max=64)
_numbers: Codec[int] = Codec(int, bytes_max=16)


@dataclass(frozen=True, slots=True)
class Remember:
    """Durably change what the protocol remembers."""

    changes: Mapping[bytes, bytes | None]


@dataclass(frozen=True, slots=True)
class Keep:
    """Durably keep the bytes of a payload, until its height is executed."""

    height: int
    digest: Digest
    payload: bytes


@dataclass(frozen=True, slots=True)
class Forget:
    """Everything up to `executed` is stored: payloads kept for it go. Rides on the next write."""

    executed: int


@dataclass(frozen=True, slots=True)
class Sign(Generic[M]):
    """Sign a protocol's message for its slot."""

    message: M


@dataclass(frozen=True, slots=True)
class Attest:
    """Sign the header of a block that was executed and stored here."""

    height: int
    header: Digest


Job: TypeAlias = Remember | Keep | Forget | Sign[M] | Attest
Result: TypeAlias = Signed[M] | Attestation | None
"""What came of a job; None where there is nothing to send, or signing was refused."""


class Signer:
    """Holds a validator's key and journal."""

    def __init__(
        self,
        me: NodeId,
        index: int,
        key: SigningKey,
        journal: Journal,
        protocol: str,
        genesis: Digest,
        hash_: Hash,
    ) -> None:
        self._me = me
        self._index = index
        self._key = key
        self._journal = journal
        self._protocol = protocol
        self._genesis = genesis
        self._hash = hash_
        self._slots: dict[Slot, _Signature] = {}
        self._kept: dict[int, set[bytes]] = {}
        self._pending: dict[bytes, bytes | None] = {}
        self._floor = _Floor(0, 0)
        self._abstain = 0
        self._failed = False
        self.executed = 0
        """The height below which no conflict is possible any more; told by `Forget`."""
        self.refused = 0
        """How often a second body for a slot, or a slot below the floor, was refused."""
        self._load()

    def remembered(self) -> dict[bytes, bytes]:
        """What `Remember` left."""
        return self._entries(_REMEMBERED)

    def payloads(self) -> list[Keep]:
        """The payloads that `Keep` left."""
        return [
            Keep(int.from_bytes(key[:_HEIGHT_BYTES], "big"), Digest(key[_HEIGHT_BYTES:]), value)
            for key, value in self._entries(_PAYLOAD).items()
        ]

    def attested_height(self) -> int:
        """The highest header that was ever signed here."""
        heights = [slot.height for slot in self._slots if slot.phase == ATTEST]
        return max(heights, default=0)

    @property
    def fresh(self) -> bool:
        """Nothing was ever signed with this journal: it is new, or it was lost."""
        return self._journal.fresh and not self._slots

    def abstain_until(self, height: int) -> None:
        """Say nothing in the protocol before `height` is executed here.

        For a validator whose journal was lost: what it signed then, it no longer knows.
        """
        self._abstain = height
        self._journal.write({_ABSTAIN: encode(height)})

    @property
    def abstaining(self) -> bool:
        return self.executed < self._abstain

    def carry_out(self, jobs: Sequence[Job[M]]) -> list[Result[M]]:
        """Do all of `jobs` with one durable write; their results, in order.

        Raises whatever the journal raises: without a journal nothing may be signed.
        """
        if self._failed:
            # Why: the slots in memory are ahead of the disk, and would give out what is not on it.
            raise StorageError("an earlier write to the journal failed; restart the node")
        changes = self._pending
        self._pending = {}
        results: list[Result[M]] = []
        durable = False
        for job in jobs:
            match job:
                case Remember(changes=remembered):
                    changes.update((_REMEMBERED + key, value) for key, value in remembered.items())
                    results.append(None)
                    durable = True
                case Keep(height=height, digest=digest, payload=payload):
                    key = _payload_key(height, digest)
                    if self._value(key, changes) is None:
                        changes[key] = payload
                        self._kept.setdefault(height, set()).add(key)
                        durable = True
                    results.append(None)
                case Forget(executed=executed):
                    self._forget(executed, changes)
                    results.append(None)
                case Sign(message=message):
                    results.append(self._sign(message, changes))
                    durable = True
                case Attest(height=height, header=header):
                    # Why no write of its own: the block is on disk already, and a restarted node
                    # attests what its ledger says. The record rides on the next write.
                    results.append(self._attest(height, header, changes))
        if durable and changes:
            self._failed = True
            self._journal.write(changes)
            self._failed = False
        elif changes:
            self._pending = changes
        return results

    def close(self) -> None:
        if self._pending:
            self._journal.write(self._pending)
        self._journal.close()

    def _sign(self, message: M, changes: dict[bytes, bytes | None]) -> Signed[M] | None:
        if self.abstaining:
            # Why unsigned ones too: some protocols vote with them (Raft, PBFT with MACs).
            return None
        slot = message.slot()
        if slot is None:
            return Signed(self._me, message, Signature(b""))
        if slot.phase == ATTEST:
            return None
        body = encode(message)
        domain = domains.consensus(self._protocol, slot.phase)
        signature = self._sign_slot(slot, domain, body, changes)
        return None if signature is None else Signed(self._me, message, signature)

    def _attest(
        self, height: int, header: Digest, changes: dict[bytes, bytes | None]
    ) -> Attestation | None:
        slot = Slot(ATTEST, height, 0)
        signature = self._sign_slot(slot, domains.ATTESTATION, header, changes)
        if signature is None:
            return None
        return Attestation(height, header, self._index, signature)

    def _sign_slot(
        self,
        slot: Slot,
        domain: domains.Domain,
        body: bytes,
        changes: dict[bytes, bytes | None],
    ) -> Signature | None:
        digest = self._hash.digest(body)
        before = self._slots.get(slot)
        if before is not None:
            if before.digest != digest:
                self.refused += 1
                return None
            return before.signature
        below = slot.height <= self._floor.height if slot.height else slot.view < self._floor.view
        if below:
            self.refused += 1
            return None
        signature = self._key.sign(domains.statement(domain, self._genesis, body))
        record = _Signature(digest, signature)
        self._slots[slot] = record
        changes[_SLOT + encode(slot)] = encode(record)
        return signature

    def _forget(self, executed: int, changes: dict[bytes, bytes | None]) -> None:
        for old in [height for height in self._kept if height <= executed]:
            changes.update(dict.fromkeys(self._kept.pop(old)))
        self.executed = max(self.executed, executed)
        height = self.executed - SLOTS_KEPT_HEIGHTS
        if height < self._floor.height + SLOTS_KEPT_HEIGHTS:
            return
        view = max((slot.view for slot in self._slots), default=0) - VIEWS_KEPT
        self._floor = _Floor(height, max(self._floor.view, view))
        changes[_FLOOR] = encode(self._floor)
        for slot in list(self._slots):
            old = slot.height <= height if slot.height else slot.view < self._floor.view
            if old:
                del self._slots[slot]
                changes[_SLOT + encode(slot)] = None

    def _value(self, key: bytes, changes: Mapping[bytes, bytes | None]) -> bytes | None:
        return changes[key] if key in changes else self._journal.entries.get(key)

    def _entries(self, prefix: bytes) -> dict[bytes, bytes]:
        return {
            key[len(prefix) :]: value
            for key, value in self._journal.entries.items()
            if key.startswith(prefix)
        }

    def _load(self) -> None:
        for key, value in self._entries(_SLOT).items():
            self._slots[_slots.decode(key)] = _signatures.decode(value)
        for keep in self.payloads():
            key = _payload_key(keep.height, keep.digest)
            self._kept.setdefault(keep.height, set()).add(key)
        if _FLOOR in self._journal.entries:
            self._floor = _floors.decode(self._journal.entries[_FLOOR])
        if _ABSTAIN in self._journal.entries:
            self._abstain = _numbers.decode(self._journal.entries[_ABSTAIN])


def _payload_key(height: int, digest: Digest) -> bytes:
    return _PAYLOAD + height.to_bytes(_HEIGHT_BYTES, "big") + digest
