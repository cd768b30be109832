"""What a QBFT replica remembers across a restart.

Its own words of the current round, what it has prepared with the certificate, and what decided the
last heights.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from consensus.interface import Signed
from consensus.protocols._qbft_messages import Commit, Prepare, Proposal, RoundChange
from crypto.encoding import Codec, Malformed, Record, encode
from crypto.header import DigestField

REMEMBERED_BYTES_MAX = 16 * 1024 * 1024

_CURRENT = b"current"
_PROPOSED = b"proposed"
_PREPARED = b"prepared"
_DECISION = b"decision/"


class CorruptMemory(Exception):
    """What this replica remembered does not decode: the journal is damaged."""


class Current(Record, frozen=True):
    """The round that it is in, and what it has said there."""

    height: int
    view: int
    round_change: RoundChange | None = None
    prepare: DigestField | None = None
    commit: DigestField | None = None


class Prepared(Record, frozen=True):
    """The certificate of the highest round that was prepared here."""

    votes: tuple[Signed[Prepare], ...]


class Decided(Record, frozen=True):
    """A quorum of commits."""

    votes: tuple[Signed[Commit], ...]


_currents: Codec[Current] = Codec(Current, bytes_max=1024)
_proposals: Codec[Proposal] = Codec(Proposal, bytes_max=REMEMBERED_BYTES_MAX)
_prepared: Codec[Prepared] = Codec(Prepared, bytes_max=REMEMBERED_BYTES_MAX)
_decided: Codec[Decided] = Codec(Decided, bytes_max=REMEMBERED_BYTES_MAX)


@dataclass(frozen=True, slots=True)
class Memory:
    """What `Persist` left, decoded. Each part may be of another height than the others."""

    current: Current | None
    proposal: Proposal | None
    prepared: Prepared | None
    decisions: Mapping[int, Decided]


def recall(remembered: Mapping[bytes, bytes]) -> Memory:
    """Raises `CorruptMemory`."""
    try:
        return Memory(
            _currents.decode(remembered[_CURRENT]) if _CURRENT in remembered else None,
            _proposals.decode(remembered[_PROPOSED]) if _PROPOSED in remembered else None,
            _prepared.decode(remembered[_PREPARED]) if _PREPARED in remembered else None,
            {
                int.from_bytes(key[len(_DECISION) :], "big"): _decided.decode(raw)
                for key, raw in sorted(remembered.items())
                if key.startswith(_DECISION)
            },
        )
    except Malformed as error:
        raise CorruptMemory(f"QBFT cannot read what it remembered: {error}") from None


def keep_current(current: Current) -> dict[bytes, bytes | None]:
    return {_CURRENT: encode(current)}


def keep_proposal(proposal: Proposal) -> dict[bytes, bytes | None]:
    return {_PROPOSED: encode(proposal)}


def keep_prepared(votes: tuple[Signed[Prepare], ...]) -> dict[bytes, bytes | None]:
    return {_PREPARED: encode(Prepared(votes))}


def keep_decision(
    height: int, votes: tuple[Signed[Commit], ...], forgotten: Iterable[int]
) -> dict[bytes, bytes | None]:
    """Q11: what decided a height, instead of what decided those long ago."""
    changes: dict[bytes, bytes | None] = {_key(old): None for old in forgotten}
    return {**changes, _key(height): encode(Decided(votes))}


def _key(height: int) -> bytes:
    return _DECISION + height.to_bytes(8, "big")
