"""Why the chain moves, or does not: one sentence for people. Decides nothing."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from consensus.interface import Committee, Progress
from crypto.interface import NodeId


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known at this node when somebody asks."""

    committee: Committee
    me: NodeId
    reachable: Collection[NodeId]
    """Validators with a link to here."""
    progress: Progress | None
    """None: an observer, or consensus has not started."""
    pending: int
    syncing: bool
    abstaining: bool
    executed: int
    certified: int
    unattested: Sequence[NodeId]
    """Validators whose attestation of the oldest uncertified block is missing."""
    stalled_s: float
    """Since when nothing was certified although something waits."""

    def sentence(self) -> tuple[bool, str]:
        """Whether it moves, and why or why not."""
        members = self.committee.members
        present = [name for name in members if name == self.me or name in self.reachable]
        quorum = self.committee.quorum
        if self.syncing:
            return True, f"Catching up with the others, at height {self.executed}."
        if len(present) < quorum:
            absent = ", ".join(name for name in members if name not in present)
            return False, (
                f"{len(present)} of {len(members)} validators are reachable from here, the "
                f"quorum is {quorum}. No link to: {absent}."
            )
        if self.me in members and self.progress is None:
            return False, "Waiting to hear from a quorum how far the chain is."
        if self.abstaining:
            return True, (
                "This validator lost its journal: it follows, and votes again at a later height."
            )
        if self.stalled_s > 1.0:
            return False, self._stall()
        return True, self._margin(len(present), quorum)

    def _stall(self) -> str:
        since = f"for {self.stalled_s:.0f} s"
        if self.executed > self.certified and self.unattested:
            names = ", ".join(self.unattested)
            return f"Block {self.certified + 1} lacks a certificate {since}; missing: {names}."
        if self.progress is None:
            return f"Nothing new came from the validators {since}."
        waiting = ", ".join(self.progress.waiting_for) or "nobody in particular"
        return (
            f"No decision {since} in view {self.progress.view} ({self.progress.phase}, leader "
            f"{self.progress.leader or 'none'}); waiting for: {waiting}."
        )

    def _margin(self, present: int, quorum: int) -> str:
        spare = present - quorum
        total = len(self.committee.members)
        state = f"{present} of {total} validators are connected, quorum {quorum}."
        tail = {0: "One more failure stops it.", 1: "It survives one more failure."}.get(
            spare, f"It survives {spare} more failures."
        )
        idle = "" if self.pending else "Idle: nothing is pending. "
        return f"{idle}{state} {tail}"
