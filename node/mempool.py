"""Transactions that wait to be decided: bounded, deduplicated, fair between senders.

Held per sender in order of arrival; a payload takes one of each sender in turn, so that a
hyperactive client cannot crowd out the others. The same per-sender order decides what is
overdue: a sender none of whose transactions was decided for a while, although later arrivals
of others were.
"""

from collections import OrderedDict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

import msgspec

from crypto.interface import Digest, NodeId, PublicKey
from node.service import Refusal
from node.validity import Entry


@dataclass(frozen=True, slots=True)
class MempoolLimits:
    count_max: int = 10_000
    bytes_max: int = 16 * 1024 * 1024
    sender_count_max: int = 5_000
    recent_max: int = 50_000
    """Ids of decided transactions that are recognised without asking the ledger.

    So many at most, and the latest half of so many at least.
    """


@dataclass(slots=True)
class _Sender:
    waiting: dict[Digest, "Waiting"] = field(default_factory=dict)
    decided_ms: float = 0.0
    """When one of its transactions was decided last."""


class Waiting(msgspec.Struct, gc=False):
    """A struct and not a dataclass because one is made for each transaction."""

    entry: Entry
    arrived_ms: float
    forwarded: NodeId | None = None
    """To whom, last. Empty: to all."""


class Mempool:
    """Not thread-safe: belongs to the event loop. Times are monotonic milliseconds."""

    def __init__(self, limits: MempoolLimits) -> None:
        self._limits = limits
        self._senders: OrderedDict[PublicKey, _Sender] = OrderedDict()
        self._by_id: dict[Digest, Waiting] = {}
        self._recent: set[Digest] = set()
        self._less_recent: set[Digest] = set()
        self._newest_decided_ms = 0.0
        self._decided_ms = 0.0
        self.bytes = 0

    @property
    def count(self) -> int:
        return len(self._by_id)

    def room(self) -> int:
        """How many more fit, by count."""
        return max(0, self._limits.count_max - len(self._by_id))

    def waits(self, identity: Digest) -> bool:
        return identity in self._by_id

    def decided_lately(self, identity: Digest) -> bool:
        return identity in self._recent or identity in self._less_recent

    def add(self, entry: Entry, now_ms: float) -> Refusal | None:
        """Take it in, or say why not."""
        identity, size = entry.id, len(entry.raw)
        if identity in self._by_id or self.decided_lately(identity):
            return Refusal.DUPLICATE
        limits = self._limits
        if len(self._by_id) >= limits.count_max or self.bytes + size > limits.bytes_max:
            return Refusal.FULL
        address = entry.transaction.sender
        sender = self._senders.get(address)
        if sender is None:
            sender = self._senders[address] = _Sender(decided_ms=now_ms)
        if len(sender.waiting) >= limits.sender_count_max:
            return Refusal.SENDER_QUOTA
        sender.waiting[identity] = self._by_id[identity] = Waiting(entry, now_ms)
        self.bytes += size
        return None

    def take(self, count_max: int, bytes_max: int, exclude: Collection[Digest]) -> list[Entry]:
        """Up to so many, one of each sender in turn, without the ids in `exclude`.

        They stay in the mempool until they are decided.
        """
        taken: list[Entry] = []
        size = 0
        queues = [iter(sender.waiting.values()) for sender in self._senders.values()]
        while queues and len(taken) < count_max:
            still = []
            for queue in queues:
                waiting = next((item for item in queue if item.entry.id not in exclude), None)
                if waiting is None:
                    continue
                size += len(waiting.entry.raw)
                if size > bytes_max or len(taken) == count_max:
                    return taken
                taken.append(waiting.entry)
                still.append(queue)
            queues = still
        return taken

    def remove(self, ids: Collection[Digest], now_ms: float) -> float:
        """They were decided (in whatever way): forget them, but recognise them for a while.

        Returns how long the one of them that waited longest was here, in ms; 0 if none was.
        """
        arrivals = [now_ms]
        served: dict[PublicKey, _Sender] = {}
        for identity in ids:
            waiting = self._by_id.pop(identity, None)
            if waiting is None:
                continue
            entry = waiting.entry
            self.bytes -= len(entry.raw)
            arrivals.append(waiting.arrived_ms)
            address = entry.transaction.sender
            sender = served[address] = self._senders[address]
            del sender.waiting[identity]
        for address, sender in served.items():
            sender.decided_ms = now_ms
            if sender.waiting:
                # Why: whoever was served goes last, so that everybody's turn comes.
                self._senders.move_to_end(address)
            else:
                del self._senders[address]
        if len(arrivals) > 1:
            self._newest_decided_ms = max(self._newest_decided_ms, *arrivals[1:])
        self._decided_ms = now_ms
        self._recognise(ids)
        return now_ms - min(arrivals)

    def _recognise(self, ids: Iterable[Digest]) -> None:
        half = max(1, self._limits.recent_max // 2)
        for identity in ids:
            if len(self._recent) >= half:
                self._less_recent, self._recent = self._recent, set()
            self._recent.add(identity)

    def drop_expired(self, height: int, now_ms: float) -> int:
        """Forget what can no longer be executed at `height` or later; how many those were."""
        expired = [
            identity
            for identity, waiting in self._by_id.items()
            if waiting.entry.transaction.expiry < height
        ]
        self.remove(expired, now_ms)
        return len(expired)

    def unforwarded(
        self, leader: NodeId | None, age_ms: float, count_max: int, now_ms: float
    ) -> list[Entry]:
        """Up to so many that have waited for `age_ms` and may be unknown to `leader`.

        Those are: the ones that arrivals later by `age_ms` were preferred to, and all if nothing
        was decided for so long. Each is given out once for each leader in turn; None: for all.
        """
        to = leader or NodeId("")
        entries: list[Entry] = []
        stalled = now_ms - self._decided_ms >= age_ms
        before_ms = (now_ms if stalled else self._newest_decided_ms) - age_ms
        for waiting in self._by_id.values():
            if len(entries) == count_max or waiting.arrived_ms > before_ms:
                break
            if waiting.forwarded != to:
                waiting.forwarded = to
                entries.append(waiting.entry)
        return entries

    def overdue(self, age_ms: float, now_ms: float) -> list[Waiting]:
        """The oldest transaction of each sender that was passed over for `age_ms`."""
        overdue = []
        for sender in self._senders.values():
            oldest = next(iter(sender.waiting.values()))
            passed_over = oldest.arrived_ms < self._newest_decided_ms
            waited_ms = now_ms - max(oldest.arrived_ms, sender.decided_ms)
            if passed_over and waited_ms > age_ms:
                overdue.append(oldest)
        return overdue
