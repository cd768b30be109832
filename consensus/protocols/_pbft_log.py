"""What a PBFT replica knows of each height, and how it is remembered across a restart."""

from collections.abc import Mapping
from dataclasses import dataclass

from consensus.interface import Signed
from consensus.protocols._pbft_messages import Checkpoint, NewView, Prepared, PrePrepare, ViewChange
from crypto.encoding import Codec, Malformed, Record, encode
from crypto.interface import Digest

REMEMBERED_BYTES_MAX = 16 * 1024 * 1024

_VIEW = b"view"
_CHANGE = b"view-change"
_NEW_VIEW = b"new-view"
_STABLE = b"stable"
_ASSIGNED = b"assigned/"
_PROPOSED = b"proposed/"
_PREPARED = b"prepared/"
_CHECKPOINT = b"checkpoint/"


class CorruptMemory(Exception):
    """What this replica remembered does not decode: the journal is damaged."""


class CurrentView(Record, frozen=True):
    view: int
    changing: bool


class Stable(Record, frozen=True):
    height: int
    proof: tuple[Signed[Checkpoint], ...]


_views: Codec[CurrentView] = Codec(CurrentView, bytes_max=64)
_changes: Codec[ViewChange] = Codec(ViewChange, bytes_max=REMEMBERED_BYTES_MAX)
_new_views: Codec[Signed[NewView]] = Codec(Signed[NewView], bytes_max=REMEMBERED_BYTES_MAX)
_stables: Codec[Stable] = Codec(Stable, bytes_max=REMEMBERED_BYTES_MAX)
_assigned: Codec[Signed[PrePrepare]] = Codec(Signed[PrePrepare], bytes_max=64 * 1024)
_proposed: Codec[PrePrepare] = Codec(PrePrepare, bytes_max=1024)
_checkpoints: Codec[Checkpoint] = Codec(Checkpoint, bytes_max=1024)
_prepared: Codec[Prepared] = Codec(Prepared, bytes_max=REMEMBERED_BYTES_MAX)


@dataclass(slots=True)
class Entry:
    """One height above the stable checkpoint."""

    assigned: Signed[PrePrepare] | None = None
    """The pre-prepare accepted in the current view."""
    checked: bool = False
    """Its payload may be voted for."""
    prepared: Prepared | None = None
    """The certificate of the highest view in which this height was prepared here."""
    decided: Digest | None = None


@dataclass(frozen=True, slots=True)
class Memory:
    """What `Persist` left, decoded."""

    current: CurrentView
    change: ViewChange | None
    new_view: Signed[NewView] | None
    stable: Stable
    assigned: Mapping[int, Signed[PrePrepare]]
    proposed: Mapping[int, PrePrepare]
    prepared: Mapping[int, Prepared]
    checkpoints: Mapping[int, Checkpoint]
    """Our own that are not stable yet."""


def recall(remembered: Mapping[bytes, bytes]) -> Memory:
    """Raises `CorruptMemory`."""
    try:
        return Memory(
            _views.decode(remembered[_VIEW]) if _VIEW in remembered else CurrentView(0, False),
            _changes.decode(remembered[_CHANGE]) if _CHANGE in remembered else None,
            _new_views.decode(remembered[_NEW_VIEW]) if _NEW_VIEW in remembered else None,
            _stables.decode(remembered[_STABLE]) if _STABLE in remembered else Stable(0, ()),
            {height: _assigned.decode(raw) for height, raw in _under(_ASSIGNED, remembered)},
            {height: _proposed.decode(raw) for height, raw in _under(_PROPOSED, remembered)},
            {height: _prepared.decode(raw) for height, raw in _under(_PREPARED, remembered)},
            {height: _checkpoints.decode(raw) for height, raw in _under(_CHECKPOINT, remembered)},
        )
    except Malformed as error:
        raise CorruptMemory(f"PBFT cannot read what it remembered: {error}") from None


def keep_change(change: ViewChange) -> dict[bytes, bytes | None]:
    """P12: a replica that left a view never votes in it again, and repeats its own words."""
    return {_VIEW: encode(CurrentView(change.view, True)), _CHANGE: encode(change)}


def keep_view(signed: Signed[NewView]) -> dict[bytes, bytes | None]:
    current = CurrentView(signed.message.view, False)
    return {_VIEW: encode(current), _NEW_VIEW: encode(signed), _CHANGE: None}


def keep_assigned(signed: Signed[PrePrepare]) -> dict[bytes, bytes | None]:
    return {_key(_ASSIGNED, signed.message.height): encode(signed)}


def keep_proposed(message: PrePrepare) -> dict[bytes, bytes | None]:
    return {_key(_PROPOSED, message.height): encode(message)}


def keep_prepared(prepared: Prepared) -> dict[bytes, bytes | None]:
    return {_key(_PREPARED, prepared.pre_prepare.message.height): encode(prepared)}


def keep_checkpoint(message: Checkpoint) -> dict[bytes, bytes | None]:
    """P10: only we know what we executed, and the host does not tell it again."""
    return {_key(_CHECKPOINT, message.height): encode(message)}


def keep_stable(stable: Stable, former: int) -> dict[bytes, bytes | None]:
    """The new checkpoint; everything about heights from above `former` up to it is forgotten."""
    changes: dict[bytes, bytes | None] = {_STABLE: encode(stable)}
    for height in range(former + 1, stable.height + 1):
        for prefix in (_ASSIGNED, _PROPOSED, _PREPARED, _CHECKPOINT):
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
