"""The life of one height through several views, without messages: who pre-prepared, who prepared.

Each view begins with a choice made from the words of some, liars among them, and then goes as far
as chance lets it. What committed must be chosen again, always; and the words of all correct members
must be enough for a choice.
"""

import random

from consensus.interface import Committee
from consensus.protocols import _pbft_mac_choice
from consensus.protocols._pbft_mac_log import Entry
from consensus.protocols._pbft_mac_messages import NULL, Claim, Result, ViewChange
from crypto.interface import Digest, NodeId

GENESIS = Result(0, NULL)
PAYLOADS = tuple(Digest(bytes([byte]) * 32) for byte in range(1, 30))
VIEWS = 8


def _words(entry: Entry, view: int) -> ViewChange:
    prepared = () if entry.prepared is None else (entry.prepared,)
    return ViewChange(view, 0, (GENESIS,), prepared, entry.pre_prepared)


def _lie(dice: random.Random, known: list[Claim], view: int) -> ViewChange:
    """Denies, makes up, claims what was once true, or claims to be far ahead."""
    kind = dice.random()
    if kind < 0.3 or not known:
        return _words(Entry(), view)
    if kind < 0.4:
        return ViewChange(view, 4, (Result(4, PAYLOADS[0]),), (), ())
    old = dice.choice(known)
    claim = old if kind < 0.8 else Claim(1, dice.randrange(view), dice.choice(PAYLOADS))
    return ViewChange(view, 0, (GENESIS,), (claim,), (claim,))


def live(n: int, seed: int) -> int:
    """How many views chose. Raises `AssertionError` where something committed is undone."""
    dice = random.Random(seed)
    committee = Committee(0, tuple(NodeId(f"v{number + 1}") for number in range(n)))
    faults, quorum = committee.faults_max, committee.quorum
    entries = [Entry() for _ in range(n - faults)]
    known: list[Claim] = []
    committed: Digest | None = None
    chose = 0
    for view in range(VIEWS):
        payload = PAYLOADS[view]
        if view:
            lies = [_lie(dice, known, view) for _ in range(faults)]
            words = [_words(entry, view) for entry in entries]
            heard = dice.sample(words, dice.randint(quorum - faults, len(words)))
            choice = _pbft_mac_choice.choose([*heard, *lies], committee)
            assert choice is not None or len(heard) < len(words), f"no choice: seed {seed}"
            if choice is None:
                continue
            chose += 1
            payload = choice.payloads[0] if choice.payloads else payload
            undone = choice.base != GENESIS or payload != committed
            assert committed is None or not undone, f"undone in view {view}: seed {seed}"
        claim = Claim(1, view, payload)
        known.append(claim)
        agreeing = dice.sample(entries, dice.randint(0, len(entries)))
        for entry in agreeing:
            entry.add(claim)
        if len(agreeing) + faults < quorum:
            continue
        preparing = dice.sample(agreeing, dice.randint(0, len(agreeing)))
        for entry in preparing:
            entry.prepared = claim
        if len(preparing) + faults >= quorum:
            committed = payload
    return chose
