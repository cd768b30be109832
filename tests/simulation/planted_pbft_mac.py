"""Bugs of PBFT with MACs. The rules that they break are those of docs/specs/pbft_mac.md."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

from msgspec.structs import replace

from consensus.interface import Committee, Persist
from consensus.protocols import _pbft_mac_choice as choice
from consensus.protocols import _pbft_mac_log as log
from consensus.protocols._pbft_mac_changes import Offer
from consensus.protocols._pbft_mac_messages import (
    NULL,
    Ack,
    Claim,
    Message,
    Named,
    PrePrepare,
    Result,
    ViewChange,
)
from consensus.protocols.pbft_mac import _PbftMac
from crypto.interface import Digest, NodeId
from tests.simulation.planted import Bug, Plant, generic, replaced


def _null_when_in_doubt() -> AbstractContextManager[None]:
    right = choice._payload

    def wrong(height: int, changes: Any, committee: Committee) -> Digest:
        return right(height, changes, committee) or NULL

    return replaced(choice, _payload=wrong)


def _any_checkpoint(words: Any, _committee: Committee) -> Result:
    claimed: list[Result] = [item for each in words for item in each.checkpoints]
    return max(claimed, key=lambda item: item.height)


def _believes_the_primary(self: Offer, item: Named) -> bool:
    return item.author in self._bodies


def _whatever_the_primary_chose() -> AbstractContextManager[None]:
    def wrong(self: _PbftMac, sender: NodeId) -> None:
        if self._offer is not None and self._changing and not self._offer.lacks():
            self._enter(log.Begun(self._offer.new_view, self._offer.copies()))

    return replaced(_PbftMac, _try_to_enter=wrong)


def _whatever_the_primary_assigns() -> AbstractContextManager[None]:
    right = _PbftMac._on_pre_prepare

    def wrong(self: _PbftMac, sender: NodeId, message: PrePrepare) -> None:
        if message.height in self._assignments and not self._leads():
            self._assignments[message.height] = Digest(message.payload)
        right(self, sender, message)

    return replaced(_PbftMac, _on_pre_prepare=wrong)


def _without_q() -> AbstractContextManager[None]:
    def wrong(self: _PbftMac, height: int, payload: Digest) -> None:
        self._entry(height).add(Claim(height, self._view, payload))

    return replaced(_PbftMac, _keep_q=wrong)


def _no_acks() -> AbstractContextManager[None]:
    right = _PbftMac._send

    def wrong(self: _PbftMac, message: Message, to: NodeId | None = None) -> None:
        if not isinstance(message, Ack):
            right(self, message, to)

    return replaced(_PbftMac, _send=wrong)


def _says_before_it_remembers() -> AbstractContextManager[None]:
    """Each `Persist` comes after all that the step says."""
    right = _PbftMac.step

    def wrong(self: _PbftMac, event: Any) -> Any:
        outputs = right(self, event)
        return sorted(outputs, key=lambda output: isinstance(output, Persist))

    return replaced(_PbftMac, step=wrong)


def _forgets(prefix: bytes) -> Plant:
    """What a restart finds lacks these keys."""
    right = log.recall

    def wrong(remembered: Any) -> Any:
        return right({k: v for k, v in remembered.items() if not k.startswith(prefix)})

    return lambda: replaced(log, recall=wrong)


def _empty_q() -> AbstractContextManager[None]:
    right = _PbftMac._send

    def wrong(self: _PbftMac, message: Message, to: NodeId | None = None) -> None:
        right(
            self,
            replace(message, pre_prepared=()) if isinstance(message, ViewChange) else message,
            to,
        )

    return replaced(_PbftMac, _send=wrong)


BUGS: dict[str, Plant] = {
    "M15: A1 is not asked for": lambda: replaced(choice, _permits=lambda *_: True),
    "M16: A2 is not asked for": lambda: replaced(choice, _supports=lambda *_: True),
    "M17: null where nothing is certain": _null_when_in_doubt,
    "M14: any claimed checkpoint is a start": lambda: replaced(choice, _checkpoint=_any_checkpoint),
    "M21: the primary's copies are believed": lambda: replaced(
        Offer, _believed=_believes_the_primary
    ),
    "M22: whatever the primary chose": _whatever_the_primary_chose,
    "M6: whatever the primary assigns": _whatever_the_primary_assigns,
    "M4: Q is not remembered": _without_q,
    "M4: said before it is remembered": _says_before_it_remembers,
    "M8: P does not survive a restart": _forgets(b"p/"),
    "M11: the view does not survive a restart": _forgets(b"view"),
    "M11: Q is left out of view-changes": _empty_q,
    "M12: nobody acknowledges": _no_acks,
}
"""What is wrong, with its rule -> context in which it is."""

FOUND: Mapping[str, tuple[str, int]] = {
    "M17: null where nothing is certain": ("twins", 6),
    "M4: Q is not remembered": ("random", 8),
    "M8: P does not survive a restart": ("random", 55),
    "M11: the view does not survive a restart": ("random", 12),
    "M11: Q is left out of view-changes": ("random", 1),
    "M12: nobody acknowledges": ("random", 1),
}
"""By shipped strategies. The others take liars of their own: `test_planted_pbft_mac.py`."""

PLANTED: Mapping[str, Bug] = {
    **generic(
        "pbft_mac",
        {
            "a quorum is f + 1": ("twins", 2),
            "nothing is persisted": ("random", 12),
            "timers are never set": ("twins", 1),
            "timers are never set, nor cancelled": ("twins", 1),
            "one replica decides something else now and then": ("random", 1),
        },
    ),
    **{name: Bug(plant, *FOUND.get(name, ("random", 0))) for name, plant in BUGS.items()},
}
