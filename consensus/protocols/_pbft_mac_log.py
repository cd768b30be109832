"""What a replica of PBFT with MACs knows of each height, and how that survives a restart.

No signer guards what it says, so whatever it says once is in here before it is said (M4).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from consensus.protocols._pbft_mac_messages import (
    CHOICES_MAX,
    NULL,
    Claim,
    Copy,
    NewView,
    Result,
    ViewChange,
)
from crypto.encoding import Codec, Malformed, Record, encode
from crypto.interface import Digest

REMEMBERED_BYTES_MAX = 16 * 1024 * 1024

_VIEW = b"view"
_CHANGE = b"view-change"
_NEW_VIEW = b"new-view"
_STABLE = b"stable"
_PREPARED = b"p/"
_PRE_PREPARED = b"q/"
_CHECKPOINT = b"checkpoint/"


class CorruptMemory(Exception):
    """What this replica remembered does not decode: the journal is damaged."""


class CurrentView(Record, frozen=True):
    view: int
    changing: bool


class Begun(Record, frozen=True):
    """A new-view and those of the view-changes in it that came from their authors themselves."""

    new_view: NewView
    copies: tuple[Copy, ...]


class Pairs(Record, frozen=True):
    """Q of one height."""

    claims: tuple[Claim, ...]


_views: Codec[CurrentView] = Codec(CurrentView, bytes_max=64)
_changes: Codec[ViewChange] = Codec(ViewChange, bytes_max=REMEMBERED_BYTES_MAX)
_begun: Codec[Begun] = Codec(Begun, bytes_max=REMEMBERED_BYTES_MAX)
_results: Codec[Result] = Codec(Result, bytes_max=1024)
_claims: Codec[Claim] = Codec(Claim, bytes_max=1024)
_pairs: Codec[Pairs] = Codec(Pairs, bytes_max=4096)


@dataclass(slots=True)
class Entry:
    """One height above the stable checkpoint."""

    assigned: Digest | None = None
    """What was accepted in the current view."""
    checked: bool = False
    """It may be voted for."""
    prepared: Claim | None = None
    """P: what prepared here in the highest view."""
    pre_prepared: tuple[Claim, ...] = ()
    """Q: what pre-prepared here, each payload in its highest view."""
    decided: Digest | None = None

    def add(self, claim: Claim) -> None:
        """M5: pre-prepared in this view; of many payloads the newest are kept."""
        others = [item for item in self.pre_prepared if item.payload != claim.payload]
        newest = sorted([*others, claim], key=lambda item: -item.view)[:CHOICES_MAX]
        self.pre_prepared = tuple(sorted(newest, key=lambda item: item.payload))

    def said(self, view: int) -> Digest | None:
        """What this replica agreed to in that view."""
        return next((item.payload for item in self.pre_prepared if item.view == view), None)


@dataclass(frozen=True, slots=True)
class Memory:
    """What `Persist` left, decoded."""

    current: CurrentView
    change: ViewChange | None
    begun: Begun | None
    stable: Result
    entries: dict[int, Entry]
    checkpoints: dict[int, Result]
    """Our own that are not stable yet."""


def recall(remembered: Mapping[bytes, bytes]) -> Memory:
    """Raises `CorruptMemory`."""
    try:
        entries: dict[int, Entry] = {}
        for height, raw in _under(_PREPARED, remembered):
            entries.setdefault(height, Entry()).prepared = _claims.decode(raw)
        for height, raw in _under(_PRE_PREPARED, remembered):
            entries.setdefault(height, Entry()).pre_prepared = _pairs.decode(raw).claims
        return Memory(
            _views.decode(remembered[_VIEW]) if _VIEW in remembered else CurrentView(0, False),
            _changes.decode(remembered[_CHANGE]) if _CHANGE in remembered else None,
            _begun.decode(remembered[_NEW_VIEW]) if _NEW_VIEW in remembered else None,
            _results.decode(remembered[_STABLE]) if _STABLE in remembered else Result(0, NULL),
            entries,
            {height: _results.decode(raw) for height, raw in _under(_CHECKPOINT, remembered)},
        )
    except Malformed as error:
        raise CorruptMemory(f"PBFT cannot read what it remembered: {error}") from None


def keep_change(change: ViewChange) -> dict[bytes, bytes | None]:
    """M11: a replica that left a view never votes in it again, and repeats its own words."""
    return {_VIEW: encode(CurrentView(change.view, True)), _CHANGE: encode(change)}


def keep_offer(begun: Begun) -> dict[bytes, bytes | None]:
    """M19: the own new-view, before it is sent."""
    return {_NEW_VIEW: encode(begun)}


def keep_view(begun: Begun) -> dict[bytes, bytes | None]:
    current = CurrentView(begun.new_view.view, False)
    return {_VIEW: encode(current), _NEW_VIEW: encode(begun)}


def keep_pre_prepared(height: int, entry: Entry) -> dict[bytes, bytes | None]:
    return {_key(_PRE_PREPARED, height): encode(Pairs(entry.pre_prepared))}


def keep_prepared(claim: Claim) -> dict[bytes, bytes | None]:
    return {_key(_PREPARED, claim.height): encode(claim)}


def keep_checkpoint(result: Result) -> dict[bytes, bytes | None]:
    return {_key(_CHECKPOINT, result.height): encode(result)}


def keep_stable(stable: Result, forgotten: Sequence[int]) -> dict[bytes, bytes | None]:
    """The new checkpoint; everything about these heights is forgotten."""
    changes: dict[bytes, bytes | None] = {_STABLE: encode(stable)}
    for height in forgotten:
        for prefix in (_PREPARED, _PRE_PREPARED, _CHECKPOINT):
            changes[_key(prefix, height)] = None
    return changes


def _key(prefix: bytes, height: int) -> bytes:
    return prefix + height.to_bytes(8, "big")


def _under(prefix: bytes, remembered: Mapping[bytes, bytes]) -> list[tuple[int, bytes]]:
    return sorted(
        (int.from_bytes(key[len(prefix) :], "big"), raw)
        for key, raw in remembered.items()
        if key.startswith(prefix)
    )
