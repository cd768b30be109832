"""Transactions that wait to be decided: bounded, deduplicated, fair between senders.

Held per sender in order of arrival; a payload takes one of each sender in turn, so that a
hyperactive client cannot crowd out the others. The same per-sender order decides what is
overdue: a sender none of whose transactions was decided for a while, although later arrivals
of others were.
"""

from collections import OrderedDict
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from crypto.interface import Digest, PublicKey
from node.service import Refusal
from node.validity import Entry


@dataclass(frozen=True, slots=True)
class MempoolLimits:
    count_max: int = 10_000
    bytes_max: int = 16 * 1024 * 1024
    sender_count_max: int = 5_000
    recent_max: int = 50_000
    """Ids of decided transactions that are still recognised without asking the ledger."""


@dataclass(slots=True)
class _Sender:
    waiting: dict[Digest, "Waiting"] = field(default_factory=dict)
    decided_ms: float = 0.0
    """When one of its transactions was decided last."""


@dataclass(slots=True)
class Waiting:
    entry: Entry
    arrived_ms: float
    forwarded: bool = False


class Mempool:
    """Not thread-safe: belongs to the event loop. Times are monotonic milliseconds."""

    def __init__(self, limits: MempoolLimits) -> None:
        self._limits = limits
        self._senders: OrderedDict[PublicKey, _Sender] = OrderedDict()
        self._by_id: dict[Digest, Waiting] = {}
        self._recent: OrderedDict[Digest, None] = OrderedDict()
        self._newest_decided_ms = 0.0
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
        return identity in self._recent

    def add(self, entry: Entry, now_ms: float) -> Refusal | None:
        """Take it in, or say why not."""
        if entry.id in self._by_id or entry.id in self._recent:
            return Refusal.DUPLICATE
        limits = self._limits
        if self.count >= limits.count_max or self.bytes + len(entry.raw) > limits.bytes_max:
            return Refusal.FULL
        sender = self._senders.get(entry.transaction.sender)
        if sender is None:
            sender = self._senders[entry.transaction.sender] = _Sender(decided_ms=now_ms)
        if len(sender.waiting) >= limits.sender_count_max:
            return Refusal.SENDER_QUOTA
        waiting = Waiting(entry, now_ms)
        sender.waiting[entry.id] = self._by_id[entry.id] = waiting
        self.bytes += len(entry.raw)
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

    def remove(self, ids: Iterable[Digest], now_ms: float) -> float:
        """They were decided (in whatever way): forget them, but recognise them for a while.

        Returns how long the one of them that waited longest was here, in ms; 0 if none was.
        """
        oldest_ms = now_ms
        for identity in ids:
            self._recent[identity] = None
            waiting = self._by_id.pop(identity, None)
            if waiting is None:
                continue
            entry = waiting.entry
            self.bytes -= len(entry.raw)
            self._newest_decided_ms = max(self._newest_decided_ms, waiting.arrived_ms)
            oldest_ms = min(oldest_ms, waiting.arrived_ms)
            sender = self._senders[entry.transaction.sender]
            sender.decided_ms = now_ms
            del sender.waiting[identity]
            if sender.waiting:
                # Why: whoever was served goes last, so that everybody's turn comes.
                self._senders.move_to_end(entry.transaction.sender)
            else:
                del self._senders[entry.transaction.sender]
        while len(self._recent) > self._limits.recent_max:
            self._recent.popitem(last=False)
        return now_ms - oldest_ms

    def drop_expired(self, height: int, now_ms: float) -> int:
        """Forget what can no longer be executed at `height` or later; how many those were."""
        expired = [
            identity
            for identity, waiting in self._by_id.items()
            if waiting.entry.transaction.expiry < height
        ]
        self.remove(expired, now_ms)
        return len(expired)

    def unforwarded(self, age_ms: float, count_max: int, now_ms: float) -> list[Entry]:
        """Up to so many that have waited for `age_ms`; each is given out once."""
        entries: list[Entry] = []
        for waiting in self._by_id.values():
            if len(entries) == count_max or now_ms - waiting.arrived_ms < age_ms:
                break
            if not waiting.forwarded:
                waiting.forwarded = True
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
