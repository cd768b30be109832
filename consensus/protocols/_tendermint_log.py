"""What a Tendermint replica remembers across a restart.

Its own words of the current round, its lock, its valid value with the proof, the precommits that
began the round, and those of the last decided heights.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from consensus.interface import Signed
from consensus.protocols._tendermint_messages import NIL, NONE, Precommit, Prevote, Proposal
from crypto.encoding import Codec, Malformed, Record, encode
from crypto.header import DigestField

REMEMBERED_BYTES_MAX = 16 * 1024 * 1024

_CURRENT = b"current"
_PROPOSED = b"proposed"
_VALID = b"valid"
_ENTRY = b"entry"
_COMMIT = b"commit/"


class CorruptMemory(Exception):
    """What this replica remembered does not decode: the journal is damaged."""


class Current(Record, frozen=True):
    """The round that it is in, its lock (T5), and what it has voted in this round."""

    height: int
    view: int
    locked_view: int = NONE
    locked: DigestField = NIL
    prevote: DigestField | None = None
    precommit: DigestField | None = None


class Quorum(Record, frozen=True):
    """A quorum of prevotes for one value: the valid value and its proof."""

    votes: tuple[Signed[Prevote], ...]


class End(Record, frozen=True):
    """A quorum of precommits of one round."""

    votes: tuple[Signed[Precommit], ...]


_currents: Codec[Current] = Codec(Current, bytes_max=1024)
_proposals: Codec[Proposal] = Codec(Proposal, bytes_max=REMEMBERED_BYTES_MAX)
_quorums: Codec[Quorum] = Codec(Quorum, bytes_max=REMEMBERED_BYTES_MAX)
_ends: Codec[End] = Codec(End, bytes_max=REMEMBERED_BYTES_MAX)


@dataclass(frozen=True, slots=True)
class Memory:
    """What `Persist` left, decoded. Each part may be of another height than the others."""

    current: Current | None
    proposal: Proposal | None
    valid: Quorum | None
    entry: End | None
    commits: Mapping[int, End]


def recall(remembered: Mapping[bytes, bytes]) -> Memory:
    """Raises `CorruptMemory`."""
    try:
        return Memory(
            _currents.decode(remembered[_CURRENT]) if _CURRENT in remembered else None,
            _proposals.decode(remembered[_PROPOSED]) if _PROPOSED in remembered else None,
            _quorums.decode(remembered[_VALID]) if _VALID in remembered else None,
            _ends.decode(remembered[_ENTRY]) if _ENTRY in remembered else None,
            {
                int.from_bytes(key[len(_COMMIT) :], "big"): _ends.decode(raw)
                for key, raw in sorted(remembered.items())
                if key.startswith(_COMMIT)
            },
        )
    except Malformed as error:
        raise CorruptMemory(f"Tendermint cannot read what it remembered: {error}") from None


def keep_current(current: Current) -> dict[bytes, bytes | None]:
    return {_CURRENT: encode(current)}


def keep_proposal(proposal: Proposal) -> dict[bytes, bytes | None]:
    return {_PROPOSED: encode(proposal)}


def keep_valid(votes: tuple[Signed[Prevote], ...]) -> dict[bytes, bytes | None]:
    return {_VALID: encode(Quorum(votes))}


def keep_entry(votes: tuple[Signed[Precommit], ...] | None) -> dict[bytes, bytes | None]:
    return {_ENTRY: None if votes is None else encode(End(votes))}


def keep_commit(
    height: int, votes: tuple[Signed[Precommit], ...], forgotten: Iterable[int]
) -> dict[bytes, bytes | None]:
    """T12: what decided a height, instead of what decided those long ago."""
    changes: dict[bytes, bytes | None] = {_key(old): None for old in forgotten}
    return {**changes, _key(height): encode(End(votes))}


def _key(height: int) -> bytes:
    return _COMMIT + height.to_bytes(8, "big")
