"""How many of n members must agree: the only place a quorum is computed."""

from enum import StrEnum


class FaultModel(StrEnum):
    """What a faulty member may do."""

    BYZANTINE = "byzantine"
    """Anything. Needs n > 3f."""
    CRASH = "crash"
    """Stop. Needs n > 2f."""
    NONE = "none"
    """Nothing: whoever stops is waited for."""


def faults_max(members: int, model: FaultModel) -> int:
    """f: how many of `members` (at least one) may be faulty."""
    assert members >= 1, "a committee without members would need no votes"
    if model is FaultModel.NONE:
        return 0
    return (members - 1) // (3 if model is FaultModel.BYZANTINE else 2)


def quorum(members: int, model: FaultModel) -> int:
    """So many that any two quorums share a correct member (crash: any member)."""
    overlap = faults_max(members, model) if model is FaultModel.BYZANTINE else 0
    return (members + overlap) // 2 + 1
