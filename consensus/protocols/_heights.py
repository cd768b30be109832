"""What protocols share that decide one height after the other.

Small things, all bounded: the votes of the heights and views that matter, where the others say they
are, which payloads were checked, how often each peer was answered, and which timers run.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from consensus.interface import (
    Accuse,
    CancelTimer,
    CheckPayload,
    Committee,
    Height,
    Ignore,
    Message,
    SetTimer,
    Signed,
    Slot,
    Ticket,
    View,
)
from consensus.votes import Votes
from crypto.interface import Digest, NodeId

M = TypeVar("M", bound=Message)

HEIGHTS_AHEAD_MAX = 2
"""Votes of heights further ahead are not kept: what is missing below has to come first."""

VIEWS_AHEAD_MAX = 2
"""Votes of views further ahead are not kept (faults: future-round flood)."""

COMMITS_KEPT = 16
"""Of so many decided heights the proof is kept for those who lag and cannot sync yet."""

ANSWERS_MAX = 4
"""So many statuses of a peer are answered in one resend interval."""

SUSPECT_HEIGHTS = 8
"""For so many heights a member that passed requests over is not waited for."""

ACCUSED_MAX = 1_024


@dataclass(slots=True)
class Claims:
    """The highest (height, view) that each member was heard to be in.

    A claim binds nobody: it is believed when f + 1 members claim as much, one of them correct.
    """

    committee: Committee
    _heard: dict[NodeId, tuple[int, int]] = field(default_factory=dict)

    def note(self, member: NodeId, height: int, view: int) -> None:
        self._heard[member] = max((height, view), self._heard.get(member, (0, 0)))

    def note_all(self, votes: Sequence[Signed[M]], height: int, view: int) -> None:
        for signed in votes:
            self.note(signed.author, height, view)

    def height(self) -> int:
        """A correct member is at this height or above it."""
        return self._believed(height for height, _ in self._heard.values())

    def view(self, height: int) -> int:
        """A correct member is in this view of `height`, or in a higher one."""
        return self._believed(view for known, view in self._heard.values() if known == height)

    def within(self, height: int, view: int) -> bool:
        """A quorum is in this view of `height`, or beyond."""
        there = [heard for heard in self._heard.values() if heard >= (height, view)]
        return len(there) >= self.committee.quorum

    def _believed(self, numbers: Iterable[int]) -> int:
        highest = sorted(numbers, reverse=True)
        wanted = self.committee.one_correct
        return highest[wanted - 1] if len(highest) >= wanted else 0


@dataclass(slots=True)
class Answers:
    """How often each peer was answered since the last `clear`."""

    _given: dict[NodeId, int] = field(default_factory=dict)

    def allow(self, peer: NodeId) -> bool:
        """Whether one more is allowed; it is counted."""
        given = self._given.get(peer, 0)
        self._given[peer] = given + 1
        return given < ANSWERS_MAX

    def clear(self) -> None:
        self._given.clear()


class Ballots(Generic[M]):
    """The votes of this height and the next few, in views about the current one.

    Evidence is handed over once for each culprit and slot.
    """

    def __init__(self, committee: Committee) -> None:
        self._quorum = committee.quorum
        self._votes: Votes[M] = Votes()
        self._accused: set[tuple[NodeId, Slot]] = set()
        self.height = 1
        self.view = 0

    def file(
        self, sender: NodeId, slot: Slot, choice: Digest, signed: Signed[M]
    ) -> list[Accuse[M] | Ignore]:
        """Keep a vote if it matters. The first of an author stays, a second is evidence.

        Returns nothing exactly where it was kept or was known.
        """
        reason = self._refuse(slot.height, slot.view)
        if reason is not None:
            return [Ignore(sender, reason)]
        conflict = self._votes.add(slot, choice, signed)
        if conflict is None:
            return []
        found: list[Accuse[M] | Ignore] = [Ignore(sender, "second body for a slot")]
        if (signed.author, slot) not in self._accused and len(self._accused) < ACCUSED_MAX:
            self._accused.add((signed.author, slot))
            found.append(Accuse(signed.author, conflict.first, conflict.second))
        return found

    def _refuse(self, height: int, view: int) -> str | None:
        here = self.view if height == self.height else 0
        if height < self.height:
            return "old height"
        if height > self.height + HEIGHTS_AHEAD_MAX:
            return "height too far ahead"
        if view < here - 1:
            return "old view"
        if view > here + VIEWS_AHEAD_MAX:
            return "view too far ahead"
        return None

    def enter(self, height: int, view: int) -> None:
        """Forget what is below."""
        self.height, self.view = height, view
        self._votes.forget(
            lambda slot: slot.height < height or (slot.height == height and slot.view < view - 1)
        )

    def slots(self) -> list[Slot]:
        """Of this height."""
        return [slot for slot in self._votes.slots() if slot.height == self.height]

    def by(self, phase: str, author: NodeId) -> Signed[M] | None:
        """What this author said in the current view."""
        return self._votes.by(Slot(phase, self.height, self.view), author)

    def said(self, slot: Slot, author: NodeId) -> Signed[M] | None:
        return self._votes.by(slot, author)

    def all(self, phase: str) -> list[Signed[M]]:
        """What was said in the current view, in the order of the authors."""
        slot = Slot(phase, self.height, self.view)
        return sorted(
            (signed for choice in self._votes.choices(slot) for signed in self.of(slot, choice)),
            key=lambda signed: signed.author,
        )

    def of(self, slot: Slot, choice: Digest) -> list[Signed[M]]:
        """The votes for `choice`, in the order of the authors."""
        return [signed for _, signed in sorted(self._votes.of(slot, choice).items())]

    def chosen(self, slot: Slot) -> dict[Digest, list[Signed[M]]]:
        """The votes of a quorum for each choice that has one."""
        counts = self._votes.choices(slot)
        return {
            choice: self.of(slot, choice)[: self._quorum]
            for choice, count in counts.items()
            if count >= self._quorum
        }

    def complete(self, phase: str) -> bool:
        """Whether a quorum voted in the current view, for whatever."""
        counts = self._votes.choices(Slot(phase, self.height, self.view))
        return sum(counts.values()) >= self._quorum


@dataclass(slots=True)
class Checks:
    """Which payloads of this height the host found valid; each is asked for once in a view."""

    emit: Callable[[CheckPayload], None]
    height: int = 1
    _known: dict[Digest, bool] = field(default_factory=dict)
    _asked: set[tuple[int, Digest]] = field(default_factory=set)

    def begin(self, height: int) -> None:
        self.height = height
        self._known.clear()
        self._asked.clear()

    def forget(self, view: int, kept: Iterable[Digest]) -> None:
        """Answers but for `kept`, and questions of views long before `view`, matter no more."""
        remaining = set(kept)
        self._known = {key: valid for key, valid in self._known.items() if key in remaining}
        self._asked = {item for item in self._asked if item[0] >= view - 1}

    def answered(self, ticket: Ticket, payload: Digest, *, valid: bool) -> None:
        if ticket.height == self.height:
            self._known[payload] = valid

    def ask(self, view: int, payload: Digest, proposer: NodeId) -> bool | None:
        """Whether it is valid; None until the host has answered."""
        known = self._known.get(payload)
        if known is None and (view, payload) not in self._asked:
            self._asked.add((view, payload))
            self.emit(CheckPayload(Ticket(Height(self.height), View(view)), payload, proposer))
        return known


@dataclass(slots=True)
class Suspects:
    """Proposers that are passed over, each until a height; f at most, or nobody might be left."""

    committee: Committee
    _until: dict[NodeId, int] = field(default_factory=dict)

    def add(self, member: NodeId, height: int) -> None:
        self._until.pop(member, None)
        self._until[member] = height + SUSPECT_HEIGHTS
        while len(self._until) > self.committee.faults_max:
            del self._until[next(iter(self._until))]

    def has(self, member: NodeId, height: int) -> bool:
        return self._until.get(member, 0) > height


@dataclass(slots=True)
class Timers:
    """The timers that run. Each change is an output."""

    emit: Callable[[SetTimer | CancelTimer], None]
    _running: set[str] = field(default_factory=set)

    def want(self, name: str, delay_ms: int, *, wanted: bool) -> None:
        """Have it run, or not; one that runs goes on."""
        if wanted and name not in self._running:
            self._running.add(name)
            self.emit(SetTimer(name, delay_ms))
        elif not wanted:
            self.cancel(name)

    def cancel(self, *names: str) -> None:
        for name in names:
            if name in self._running:
                self._running.discard(name)
                self.emit(CancelTimer(name))

    def fired(self, name: str) -> None:
        self._running.discard(name)
