"""Bugs of Raft. The rules that they break are those of docs/specs/raft.md."""

from collections.abc import Mapping

import msgspec

from consensus.interface import NUMBER_MAX
from consensus.protocols._raft_log import Changes, Log, _key
from consensus.protocols._raft_messages import Append, Entry, Position, RequestVote
from consensus.protocols.raft import _Raft
from crypto.encoding import encode
from crypto.interface import NodeId
from tests.simulation.planted import Bug, generic, replaced

_enter, _put, _request, _append = Log.enter, Log.put, _Raft._on_request, _Raft._on_append


def _vote_is_forgotten(self: Log, term: int, voted: str) -> Changes:
    """R2: the term is remembered, and not who was voted for."""
    changes = _enter(self, term, voted)
    return _enter_nobody(changes, term)


def _enter_nobody(changes: Changes, term: int) -> Changes:
    return {key: encode([term, ""]) for key in changes}


def _any_log_will_do(self: _Raft, sender: NodeId, request: RequestVote) -> None:
    """R5."""
    _request(self, sender, RequestVote(request.term, Position(NUMBER_MAX, NUMBER_MAX)))


def _nothing_is_cut_off(self: Log, first: int, entries: tuple[Entry, ...]) -> Changes:
    """R8: what stands behind a conflict stays."""
    changes: Changes = {}
    for index, entry in enumerate(entries, first):
        self._entries[index] = entry
        changes[_key(index)] = encode(entry)
    self._entries = dict(sorted(self._entries.items()))
    return changes


def _late_append_cuts(self: _Raft, sender: NodeId, append: Append) -> None:
    """R8: an append that says less takes away what is behind it."""
    _append(self, sender, append)
    end = append.previous.index + len(append.entries)
    if append.term == self._log.current.term and self._executed < end < self._log.last.index:
        _put(self._log, end + 1, ())
        self._matched = min(self._matched, end)


def _old_leaders_are_followed(self: _Raft, sender: NodeId, append: Append) -> None:
    """R4."""
    if append.term < self._log.current.term and not self._leads:
        self._leader = None
        append = msgspec.structs.replace(append, term=self._log.current.term)
    _append(self, sender, append)


def _overtaken_entries_stay(self: Log, height: int) -> Changes:
    """R12."""
    self.executed = max(self.executed, height)
    return {}


PLANTED: Mapping[str, Bug] = {
    **generic(
        "raft",
        {
            "a quorum is f + 1": ("random", 8),
            "nothing is persisted": ("random", 16),
            "timers are never set": ("random", 1),
            "timers are never set, nor cancelled": ("random", 1),
            "one replica decides something else now and then": ("random", 1),
        },
    ),
    "a vote is not remembered": Bug(lambda: replaced(Log, enter=_vote_is_forgotten), "random", 0),
    "a vote goes to any log": Bug(
        lambda: replaced(_Raft, _on_request=_any_log_will_do), "random", 9
    ),
    "old terms are decided by counting": Bug(
        lambda: replaced(_Raft, _counts=lambda *_: True), "random", 0
    ),
    "a conflict cuts nothing off": Bug(lambda: replaced(Log, put=_nothing_is_cut_off), "random", 0),
    "a late append cuts off": Bug(
        lambda: replaced(_Raft, _on_append=_late_append_cuts), "random", 0
    ),
    "old leaders are followed": Bug(
        lambda: replaced(_Raft, _on_append=_old_leaders_are_followed), "random", 0
    ),
    "the entry before is not compared": Bug(
        lambda: replaced(Log, holds=lambda *_: True), "random", 1
    ),
    "entries are held before their payloads are here": Bug(
        lambda: replaced(_Raft, _here=lambda *_: True), "random", 1
    ),
    "what blocks from peers overtook stays in the log": Bug(
        lambda: replaced(Log, skip=_overtaken_entries_stay), "random", 0
    ),
}
