"""Collects attestations into certificates. Bounded; belongs to the event loop.

An attestation that comes before its block was executed here waits. f + 1 attestations of another
header than ours mean that this node went astray: at least one of them is honest. Where the
protocol bears crashes only, a quorum of them does.
"""

from collections.abc import Callable

from consensus.interface import Committee
from crypto.certificate import Attestation, Certificate, Vote
from crypto.interface import Digest, Signature
from crypto.quorum import FaultModel

HEIGHTS_AHEAD_MAX = 256
"""Attestations further above the certified height are not kept."""


class Attestations:
    """For one committee. `completed` is called once for each certificate, in any order."""

    def __init__(
        self,
        committee: Committee,
        *,
        completed: Callable[[Certificate], None],
        astray: Callable[[int, Digest], None],
    ) -> None:
        self._quorum = committee.quorum
        # Why not one alone where nobody lies: the one that went astray may be the other.
        byzantine = committee.fault_model is FaultModel.BYZANTINE
        self._convincing = committee.one_correct if byzantine else committee.quorum
        self._validators = len(committee.members)
        self._votes: dict[int, dict[Digest, dict[int, Signature]]] = {}
        self._ours: dict[int, Digest] = {}
        self._done_below = 0
        self._completed = completed
        self._astray = astray

    def wanted(self, attestation: Attestation) -> bool:
        """Whether it is worth verifying: in range, and not had already."""
        height = attestation.height
        if not self._done_below < height <= self._done_below + HEIGHTS_AHEAD_MAX:
            return False
        if not 0 <= attestation.validator < self._validators:
            return False
        votes = self._votes.get(height, {})
        return all(attestation.validator not in digests for digests in votes.values())

    def add(self, attestation: Attestation) -> None:
        """Count a verified attestation."""
        if not self.wanted(attestation):
            return
        votes = self._votes.setdefault(attestation.height, {})
        votes.setdefault(attestation.header, {})[attestation.validator] = attestation.signature
        self._look(attestation.height)

    def executed(self, height: int, header: Digest) -> None:
        """Our own result: only certificates for it complete."""
        if height > self._done_below:
            self._ours[height] = header
            self._look(height)

    def certified(self, height: int) -> None:
        """All heights up to this one have certificates: forget them."""
        self._done_below = max(self._done_below, height)
        for known in (self._votes, self._ours):
            for done in [key for key in known if key <= self._done_below]:
                del known[done]

    def attested_by(self, height: int) -> frozenset[int]:
        """Indexes of the validators whose attestation of our header is here."""
        ours = self._ours.get(height)
        votes = self._votes.get(height, {})
        return frozenset(votes.get(ours, {}) if ours is not None else {})

    def _look(self, height: int) -> None:
        ours = self._ours.get(height)
        if ours is None:
            return
        votes = self._votes.get(height, {})
        for digest, signatures in votes.items():
            if digest != ours and len(signatures) >= self._convincing:
                self._astray(height, digest)
        signatures = votes.get(ours, {})
        if len(signatures) >= self._quorum:
            del self._ours[height]
            ordered = tuple(Vote(*pair) for pair in sorted(signatures.items()))
            self._completed(Certificate(height, ours, ordered))
