"""The decision procedure of a new view: what must be proposed again, from claims alone.

Source: Castro and Liskov, TOCS 20(4), 2002, Figure 4. The labels are those of
docs/specs/pbft_mac.md. Everything here is a pure function of a set of view-changes, so the primary
and the backups come to the same answer.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
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


@dataclass(frozen=True, slots=True)
class _Words:
    """A view-change, ready to be asked. Why: liars make the sets as long as they may be."""

    stable: int
    checkpoints: frozenset[Result]
    prepared: Mapping[int, Claim]
    pre_prepared: Mapping[tuple[int, Digest], int]
    """To the highest view."""


def _words(change: ViewChange) -> _Words:
    return _Words(
        change.stable,
        frozenset(change.checkpoints),
        {item.height: item for item in change.prepared},
        {(item.height, item.payload): item.view for item in change.pre_prepared},
    )


def choose(changes: Collection[ViewChange], committee: Committee) -> Choice | None:
    """M14 to M18; None while these view-changes do not determine a choice.

    More view-changes never make a choice impossible, so the primary waits for more.
    """
    words = [_words(change) for change in changes]
    base = _checkpoint(words, committee)
    if base is None:
        return None
    claimed = [height for each in words for height in each.prepared]
    payloads = []
    for height in range(base.height + 1, max(claimed, default=base.height) + 1):
        payload = _payload(height, words, committee)
        if payload is None:
            return None
        payloads.append(payload)
    while payloads and payloads[-1] == NULL:
        payloads.pop()
    return Choice(base, tuple(payloads))


def _checkpoint(words: Sequence[_Words], committee: Committee) -> Result | None:
    """M14: the highest that f + 1 hold, somebody calls stable, and a quorum is not beyond."""
    stable = {each.stable for each in words}
    held = Counter(item for each in words for item in each.checkpoints if item.height in stable)
    possible = [
        item
        for item, holders in held.items()
        if holders >= committee.one_correct
        and sum(each.stable <= item.height for each in words) >= committee.quorum
    ]
    return max(possible, key=lambda item: (item.height, item.header), default=None)


def _payload(height: int, words: Sequence[_Words], committee: Committee) -> Digest | None:
    below = [each.prepared.get(height) for each in words if each.stable < height]
    candidates = {each.prepared[height] for each in words if height in each.prepared}
    for claim in sorted(candidates, key=lambda item: (-item.view, item.payload)):
        if (
            sum(_permits(other, claim) for other in below) >= committee.quorum  # M15 (A1)
            and sum(_supports(each, claim) for each in words) >= committee.one_correct
        ):  # M16 (A2)
            return claim.payload
    if sum(other is None for other in below) >= committee.quorum:
        return NULL  # M17 (B)
    return None


def _permits(other: Claim | None, claim: Claim) -> bool:
    """M15 (A1): it prepared nothing there, or in a lower view, or the same."""
    return other is None or other.view < claim.view or other == claim


def _supports(words: _Words, claim: Claim) -> bool:
    """M16 (A2): it pre-prepared the payload, in that view or later."""
    view = words.pre_prepared.get((claim.height, claim.payload))
    return view is not None and view >= claim.view
