"""What a node counts, in Prometheus' form; one registry per node, nothing global.

Every label has a bounded number of values: reasons and routes beyond `LABELS_MAX` are counted as
`other`, so that no peer and no client can grow the registry. The methods are cheap enough to be
called once per block, frame or batch; none is meant to be called once per transaction.
"""

from collections.abc import Sequence

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)

LABELS_MAX = 64
ANSWERS_MAX = 256
"""Pairs of a route and a status."""
OTHER = "other"
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_FSYNC_SECONDS = (0.0001, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 2.0)
_LATENCY_SECONDS = (0.002, 0.005, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0)
_BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class _Labelled:
    """A counter by one label, with at most `labels_max` values and `other`."""

    def __init__(self, counter: Counter, labels_max: int = LABELS_MAX) -> None:
        self._counter = counter
        self._labels_max = labels_max
        self._children: dict[str, Counter] = {}

    def add(self, label: str, count: int) -> None:
        child = self._children.get(label)
        if child is None:
            if len(self._children) >= self._labels_max:
                label = OTHER
            child = self._counter.labels(label)
            self._children[label] = child
        child.inc(count)


class Metrics:
    """The counters, gauges and histograms of one node."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._chain()
        self._edges()

    def _chain(self) -> None:
        self._committed = self._counter("transactions_committed", "Transactions in stored blocks")
        self._blocks = self._counter("blocks_committed", "Blocks executed and stored")
        self._height = self._gauge("height", "Height executed and stored")
        self._certified = self._gauge("certified_height", "Highest height with a certificate")
        self._view = self._gauge("view", "Current view of the consensus protocol")
        self._view_changes = self._counter("view_changes", "Times the view has gone up")
        self._last_view: int | None = None
        self._mempool_count = self._gauge("mempool_transactions", "Transactions that wait")
        self._mempool_bytes = self._gauge("mempool_bytes", "Bytes of transactions that wait")
        self._latency = self._histogram(
            "commit_latency_seconds",
            "From admission here to execution, of the oldest transaction of each block",
            _LATENCY_SECONDS,
        )
        self._fsync = self._histogram("fsync_seconds", "Durable writes", _FSYNC_SECONDS)
        self._sync_local = self._gauge("sync_height", "Height reached while catching up")
        self._sync_target = self._gauge("sync_target_height", "Height that the peers have")

    def _edges(self) -> None:
        self._peers = self._gauge("peers", "Connected peers")
        self._bytes_in = self._counter("peer_bytes_in", "Bytes received from peers")
        self._bytes_out = self._counter("peer_bytes_out", "Bytes sent to peers")
        self._batches = self._histogram(
            "verify_batch_size", "Signatures checked together", _BATCH_SIZES
        )
        self._verify_seconds = self._counter("verify_seconds", "Seconds of signature checking")
        self._ignored = _Labelled(
            self._counter("messages_ignored", "Messages of peers not acted upon", "reason")
        )
        self._refused = _Labelled(
            self._counter("transactions_refused", "Transactions not admitted", "reason")
        )
        self._accused = _Labelled(
            self._counter("accusations", "Proven misbehaviour, by culprit", "culprit")
        )
        self._answers = _Labelled(
            self._counter("api_answers", "Answers of the API, as `route status`", "answer"),
            ANSWERS_MAX,
        )
        self._streams = self._gauge("api_event_streams", "Open event streams")

    def committed(self, transactions: int, blocks: int = 1) -> None:
        self._committed.inc(transactions)
        self._blocks.inc(blocks)

    def height(self, height: int, certified: int) -> None:
        self._height.set(height)
        self._certified.set(certified)

    def view(self, view: int) -> None:
        """The current view; a rise since the last call counts as a view change."""
        if self._last_view is not None and view > self._last_view:
            self._view_changes.inc()
        self._last_view = view
        self._view.set(view)

    def mempool(self, count: int, size_bytes: int) -> None:
        self._mempool_count.set(count)
        self._mempool_bytes.set(size_bytes)

    def latencies(self, seconds: Sequence[float]) -> None:
        """From admission to execution; one of each block is enough."""
        for value in seconds:
            self._latency.observe(value)

    def fsync(self, seconds: float) -> None:
        self._fsync.observe(seconds)

    def syncing(self, local: int, target: int) -> None:
        self._sync_local.set(local)
        self._sync_target.set(target)

    def peers(self, count: int) -> None:
        self._peers.set(count)

    def bytes_in(self, count: int) -> None:
        self._bytes_in.inc(count)

    def bytes_out(self, count: int) -> None:
        self._bytes_out.inc(count)

    def verified(self, signatures: int, seconds: float = 0.0) -> None:
        """One batch of signature checks."""
        self._batches.observe(signatures)
        self._verify_seconds.inc(seconds)

    def ignored(self, reason: str, count: int = 1) -> None:
        self._ignored.add(reason, count)

    def refused(self, reason: str, count: int = 1) -> None:
        self._refused.add(reason, count)

    def accused(self, culprit: str) -> None:
        self._accused.add(culprit, 1)

    def answered(self, route: str, status: int) -> None:
        self._answers.add(f"{route} {status}", 1)

    def streams(self, count: int) -> None:
        self._streams.set(count)

    def render(self) -> bytes:
        """Everything, as `/metrics` answers it."""
        return generate_latest(self.registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"assay_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str) -> Gauge:
        return Gauge(f"assay_{name}", text, registry=self.registry)

    def _histogram(self, name: str, text: str, buckets: Sequence[float]) -> Histogram:
        return Histogram(f"assay_{name}", text, buckets=buckets, registry=self.registry)
