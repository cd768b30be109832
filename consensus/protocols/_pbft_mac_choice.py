"""The decision procedure of a new view: what must be proposed again, from claims alone.

Source: Castro and Liskov, TOCS 20(4), 2002, Figure 4. The labels are those of
docs/specs/pbft_mac.md. Everything here is a pure function of a set of view-changes, so the primary
and the backups come to the same answer.
"""

from collections.abc import Collection
from dataclasses import dataclass

from consensus.interface import Committee
from consensus.protocols._pbft_mac_messages import NULL, Claim, Result, ViewChange
from crypto.interface import Digest


@dataclass(frozen=True, slots=True)
class Choice:
    """The paper's X."""

    base: Result
    payloads: tuple[Digest, ...]
    """Of the heights from `base` + 1 on; trailing null requests are left out (M18)."""


def choose(changes: Collection[ViewChange], committee: Committee) -> Choice | None:
    """M14 to M18; None while these view-changes do not determine a choice.

    More view-changes never make a choice impossible, so the primary waits for more.
    """
    base = _checkpoint(changes, committee)
    if base is None:
        return None
    claimed = [item.height for change in changes for item in change.prepared]
    payloads = []
    for height in range(base.height + 1, max(claimed, default=base.height) + 1):
        payload = _payload(height, changes, committee)
        if payload is None:
            return None
        payloads.append(payload)
    while payloads and payloads[-1] == NULL:
        payloads.pop()
    return Choice(base, tuple(payloads))


def _checkpoint(changes: Collection[ViewChange], committee: Committee) -> Result | None:
    """M14: the highest that f + 1 hold, somebody calls stable, and a quorum is not beyond."""
    stable = {change.stable for change in changes}
    held = {item for change in changes for item in change.checkpoints if item.height in stable}
    possible = [
        item
        for item in held
        if sum(item in change.checkpoints for change in changes) >= committee.one_correct
        and sum(change.stable <= item.height for change in changes) >= committee.quorum
    ]
    return max(possible, key=lambda item: (item.height, item.header), default=None)


def _payload(height: int, changes: Collection[ViewChange], committee: Committee) -> Digest | None:
    prepared = [_at(height, change) for change in changes if change.stable < height]
    candidates = {
        claim for change in changes for claim in change.prepared if claim.height == height
    }
    for claim in sorted(candidates, key=lambda item: (-item.view, item.payload)):
        if (
            sum(_permits(other, claim) for other in prepared) >= committee.quorum  # M15 (A1)
            and sum(_supports(change, claim) for change in changes) >= committee.one_correct
        ):  # M16 (A2)
            return claim.payload
    if sum(other is None for other in prepared) >= committee.quorum:
        return NULL  # M17 (B)
    return None


def _at(height: int, change: ViewChange) -> Claim | None:
    """What it says it prepared there."""
    return next((item for item in change.prepared if item.height == height), None)


def _permits(other: Claim | None, claim: Claim) -> bool:
    """M15 (A1): it prepared nothing there, or in a lower view, or the same."""
    return other is None or other.view < claim.view or other == claim


def _supports(change: ViewChange, claim: Claim) -> bool:
    """M16 (A2): it pre-prepared the payload, in that view or later."""
    return any(
        (item.height, item.payload) == (claim.height, claim.payload) and item.view >= claim.view
        for item in change.pre_prepared
    )
