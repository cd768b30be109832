"""Looks for two things that one validator signed for one slot, in what others received."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from consensus.interface import Message, Signed, Slot
from crypto.certificate import Attestation
from crypto.encoding import Codec, encode
from crypto.genesis import Genesis, digest, from_json
from crypto.header import attestation_statement
from crypto.interface import Claim, NodeId
from mechanisms.registry import Kind, load
from node.node import CONSENSUS_BYTES_MAX
from node.recorder import MESSAGE, read
from node.verifier import ClaimsOf
from testnet.chosen import validator_scheme
from testnet.network import Testnet
from tests.process.lab import RECORD

Slots = dict[tuple[str, Slot], dict[bytes, Claim]]
"""(author, slot) -> each body that bears a signature, and what proves that it does."""


@dataclass(frozen=True, slots=True)
class Contradiction:
    author: str
    slot: Slot
    bodies: tuple[bytes, ...]


class Evidence:
    """What the validators of one network signed, as far as it was recorded."""

    def __init__(self, genesis: Genesis) -> None:
        self._genesis = genesis
        self._digest = digest(genesis)
        self._names = [NodeId(item.name) for item in genesis.validators]
        keys = {NodeId(item.name): item.public_key for item in genesis.validators}
        self._keys = keys
        self._claims: ClaimsOf[Any] = ClaimsOf(genesis.consensus.name, self._digest, keys)
        protocol = load(Kind.CONSENSUS, genesis.consensus.name, lab=True)
        self._messages: Codec[Signed[Any]] = Codec(
            Signed[protocol.module.Message],  # type: ignore[name-defined]  # known at run time
            bytes_max=CONSENSUS_BYTES_MAX,
        )
        self._slots: Slots = {}
        self._seen: set[bytes] = set()

    @property
    def signers(self) -> Collection[tuple[str, Slot]]:
        """Authors with the slots that they are said to have signed for."""
        return self._slots.keys()

    def add_file(self, path: Path) -> None:
        for kind, body in read(path):
            if kind == MESSAGE:
                self.add_message(body)
            else:
                self.add_attestation(_attestations.decode(body))

    def add_message(self, body: bytes) -> None:
        if body in self._seen:
            return
        self._seen.add(body)
        stack: list[Signed[Message]] = [self._messages.decode(body)]
        while stack:
            signed = stack.pop()
            slot = signed.message.slot()
            if slot is not None:
                claim = self._claims._claim(signed, slot.phase)
                bodies = self._slots.setdefault((signed.author, slot), {})
                bodies.setdefault(encode(signed.message), claim)
            stack.extend(signed.message.enclosed())

    def add_attestation(self, attestation: Attestation) -> None:
        name = self._names[attestation.validator]
        slot = Slot("attest", attestation.height, 0)
        statement = attestation_statement(attestation.header, self._digest)
        claim = Claim(self._keys[name], statement, attestation.signature)
        self._slots.setdefault((name, slot), {}).setdefault(attestation.header, claim)

    def contradictions(self) -> list[Contradiction]:
        """Slots for which an author really signed more than one body."""
        scheme = validator_scheme(self._genesis)
        found = []
        for (author, slot), bodies in self._slots.items():
            if len(bodies) > 1:
                verdicts = scheme.verify_batch(list(bodies.values()))
                signed = [body for body, valid in zip(bodies, verdicts, strict=True) if valid]
                if len(signed) > 1:
                    found.append(Contradiction(author, slot, tuple(signed)))
        return found


_attestations: Codec[Attestation] = Codec(Attestation, bytes_max=64 * 1024)


def evidence(net: Testnet, names: Iterable[str] | None = None) -> Evidence:
    """All that was recorded in the homes of a network."""
    collected = Evidence(from_json(net.genesis_file.read_bytes()))
    for name in names or net.names():
        path = net.home(name) / RECORD
        if path.exists():
            collected.add_file(path)
    return collected
