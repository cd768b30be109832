"""What PBFT with signatures and PBFT with MACs have in common word for word."""

from typing import Any, Protocol

from consensus.votes import Votes


class Limits(Protocol):
    """The options of both."""

    @property
    def view_timeout_ms(self) -> int: ...
    @property
    def view_timeout_ms_max(self) -> int: ...
    @property
    def window(self) -> int: ...
    @property
    def pipeline(self) -> int: ...
    @property
    def checkpoint_interval(self) -> int: ...
    @property
    def resend_ms(self) -> int: ...


def check_limits(limits: Limits) -> None:
    """Raises `ValueError` with the option that cannot work."""
    if not 1 <= limits.view_timeout_ms <= limits.view_timeout_ms_max:
        raise ValueError("view_timeout_ms must be from 1 to view_timeout_ms_max")
    if not 1 <= limits.checkpoint_interval <= limits.window // 2 <= 256:
        raise ValueError("checkpoint_interval must be from 1 to half of window (at most 512)")
    if not 1 <= limits.pipeline <= limits.window:
        raise ValueError("pipeline must be from 1 to window")
    if limits.resend_ms < 1:
        raise ValueError("resend_ms must be at least 1")


def committed_by(votes: Votes[Any], view: int, *, above: int, members: int) -> int:
    """The highest height that so many committed in this view; 0 if there is none."""
    heights = [
        slot.height
        for slot in votes.slots()
        if (slot.phase, slot.view) == ("commit", view)
        and slot.height > above
        and max(votes.choices(slot).values()) >= members
    ]
    return max(heights, default=0)


def forget_votes(votes: Votes[Any], *, stable: int, view: int) -> None:
    """Votes of lower views and of settled heights; checkpoints belong to no view."""
    votes.forget(
        lambda slot: slot.height <= stable or (slot.phase != "checkpoint" and slot.view < view)
    )
