"""Whether a transaction is well formed: a pure function of its bytes and the genesis.

The same rules guard the door for clients, for gossip, and for proposals: no clock, no mempool
and no state has a say, so all honest nodes agree. What only execution can know (expiry,
duplicates, ownership, balance) becomes a receipt instead.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from apps.interface import Application, Rejected
from crypto import domains
from crypto.encoding import Codec, Malformed, encode
from crypto.genesis import Genesis
from crypto.interface import Claim, Digest, Hash, SignatureScheme, Statement
from crypto.merkle import leaf_digest
from crypto.transaction import (
    SignedTransaction,
    Transaction,
)
from node.service import Refusal


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A well-formed transaction whose signature was verified here.

    A struct and not a dataclass because one is made for each transaction: it costs a quarter.
    """

    raw: bytes
    leaf: Digest
    """RFC 6962 leaf digest of `raw`: names these very signed bytes."""
    id: Digest
    transaction: Transaction


@dataclass(frozen=True, slots=True)
class Refused:
    refusal: Refusal
    text: str
    id: Digest | None = None


class Verified:
    """Entries that were verified lately, by leaf digest: each signature is checked once.

    Bounded; safe to use from several threads.
    """

    def __init__(self, count_max: int) -> None:
        self._entries: OrderedDict[Digest, Entry] = OrderedDict()
        self._count_max = count_max
        self._lock = threading.Lock()

    def get(self, leaf: Digest) -> Entry | None:
        return self._entries.get(leaf)

    def add(self, entries: Sequence[Entry]) -> None:
        with self._lock:
            for entry in entries:
                self._entries[entry.leaf] = entry
            while len(self._entries) > self._count_max:
                self._entries.popitem(last=False)


class Validity:
    """The rules of one network. Safe to call from several threads."""

    def __init__(
        self,
        genesis: Genesis,
        genesis_digest: Digest,
        applications: Mapping[str, Application],
        scheme: SignatureScheme,
        hash_: Hash,
        verified: Verified,
        counted: Callable[[int, float], None] = lambda _count, _seconds: None,
    ) -> None:
        self._counted = counted
        self._verified = verified
        self._genesis = genesis
        self._prefix = domains.prefix(domains.TRANSACTION, genesis_digest)
        self._applications = applications
        self._scheme = scheme
        self._hash = hash_
        self._clients = frozenset(genesis.clients)
        self._codec: Codec[SignedTransaction] = Codec(
            SignedTransaction, bytes_max=genesis.limits.transaction_bytes_max
        )

    def check(self, raws: Sequence[bytes]) -> list[Entry | Refused]:
        """The verdict on each, in order. Signatures are verified in one batch, and once."""
        verdicts = [self._form(raw) for raw in raws]
        formed = [verdict for verdict in verdicts if isinstance(verdict, _Formed)]
        began = time.perf_counter()
        valid = self._scheme.verify_batch([item.claim for item in formed])
        if formed:
            self._counted(len(formed), time.perf_counter() - began)
        self._verified.add([item.entry for item, good in zip(formed, valid, strict=True) if good])
        remaining = iter(valid)
        return [
            verdict if not isinstance(verdict, _Formed) else verdict.settle(next(remaining))
            for verdict in verdicts
        ]

    def known(self, raw: bytes) -> Entry | None:
        """The entry of these very bytes, if they were verified lately."""
        return self._verified.get(leaf_digest(raw, self._hash))

    def trusted(self, raw: bytes) -> Entry:
        """The entry of a transaction in a certified block. Raises `Malformed`."""
        known = self.known(raw)
        if known is not None:
            return known
        transaction = self._codec.decode(raw).transaction
        return Entry(
            raw, leaf_digest(raw, self._hash), self._hash.digest(encode(transaction)), transaction
        )

    def _form(self, raw: bytes) -> "Entry | _Formed | Refused":
        if len(raw) > self._codec.bytes_max:
            return Refused(
                Refusal.TOO_LARGE,
                f"the transaction has {len(raw)} bytes; this network allows "
                f"{self._codec.bytes_max}",
            )
        leaf = leaf_digest(raw, self._hash)
        known = self._verified.get(leaf)
        if known is not None:
            return known
        try:
            signed = self._codec.decode(raw)
        except Malformed as error:
            return Refused(Refusal.MALFORMED, f"not a canonical signed transaction: {error}")
        identity = self._hash.digest(encode(signed.transaction))
        refusal = self._refusal(signed.transaction)
        if refusal is not None:
            return Refused(*refusal, identity)
        claim = Claim(
            signed.transaction.sender,
            Statement(self._prefix + identity),
            signed.signature,
        )
        return _Formed(Entry(raw, leaf, identity, signed.transaction), claim)

    def _refusal(self, transaction: Transaction) -> tuple[Refusal, str] | None:
        if transaction.chain != self._genesis.chain:
            return Refusal.WRONG_CHAIN, (
                f"the transaction is for {transaction.chain!r}; this is {self._genesis.chain!r}"
            )
        if transaction.sender not in self._clients and not self._genesis.open_lab:
            return Refusal.UNKNOWN_CLIENT, (
                "the sender's key is not on the client list of the genesis file"
            )
        name = transaction.method.partition(".")[0]
        application = self._applications.get(name)
        if application is None:
            known = ", ".join(sorted(self._applications))
            return Refusal.BAD_METHOD, f"no application is called {name!r}; there are: {known}"
        try:
            application.check(transaction)
        except Rejected as rejected:
            bad_method = rejected.code == Refusal.BAD_METHOD
            refusal = Refusal.BAD_METHOD if bad_method else Refusal.BAD_ARGUMENTS
            return refusal, rejected.text
        return None


_BAD_SIGNATURE = (
    "the signature does not match the sender's key, the transaction and this network; "
    "sign again with the genesis file of this network"
)


class _Formed(msgspec.Struct, frozen=True, gc=False):
    entry: Entry
    claim: Claim

    def settle(self, valid: bool) -> Entry | Refused:
        if valid:
            return self.entry
        return Refused(Refusal.BAD_SIGNATURE, _BAD_SIGNATURE, self.entry.id)
