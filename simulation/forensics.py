"""Who is to blame for a fork, from what honest members hold: for a third party.

A member is convicted by two different messages that it signed for one slot (`consensus.interface`).
Both are shown, and anybody with its public key can verify them. Nothing else convicts: offences
over several slots, such as a vote against one's own lock, need a rule of their own for each
protocol (Sheng, Wang, Nayak, Kannan, Viswanath, "BFT Protocol Forensics", CCS 2021), and messages
without a slot vouch for nothing.
"""

from collections.abc import Iterable, Mapping

from consensus.interface import Message, Signed, Slot
from crypto.interface import NodeId

RECORDS_MAX = 2_000_000
"""Signed messages looked at, those that others enclose included."""

Proof = tuple[Signed[Message], Signed[Message]]


def culprits(records: Iterable[Signed[Message]]) -> Mapping[NodeId, Proof]:
    """Culprit -> its two messages for one slot. `records` were verified when they came."""
    first: dict[tuple[NodeId, Slot], Signed[Message]] = {}
    proofs: dict[NodeId, Proof] = {}
    seen: set[tuple[NodeId, Message]] = set()
    stack = list(records)
    while stack and len(seen) < RECORDS_MAX:
        signed = stack.pop()
        key = signed.author, signed.message
        if key in seen:
            continue
        seen.add(key)
        stack.extend(signed.message.enclosed())
        slot = signed.message.slot()
        if slot is None:
            continue
        known = first.setdefault((signed.author, slot), signed)
        if known.message != signed.message:
            proofs.setdefault(signed.author, (known, signed))
    return proofs
