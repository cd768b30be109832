"""Whole nodes in virtual time, and a bad peer that says to one of them what it likes."""

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import structlog
from prometheus_client import CollectorRegistry

from crypto.genesis import digest
from crypto.interface import Digest, NodeId, SigningKey
from p2p.interface import Peer, Role
from simulation.whole_cluster import Member, WholeCluster, heights
from testnet.keyring import open_signing_key

LOG = structlog.wrap_logger(
    structlog.PrintLogger(sys.stderr),
    processors=[structlog.processors.JSONRenderer()],
    wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL),
)


class Attacked:
    """Four validators that have decided height 1. `v4` says to `v2` what a test wants it to."""

    def __init__(self, cluster: WholeCluster) -> None:
        self.cluster = cluster
        self._counted: dict[str, int] = {}
        cluster.start()
        assert cluster.run(60_000, lambda: min(heights(cluster.running())) >= 1)

    @property
    def next(self) -> int:
        """The height that the victim decides next."""
        return self.victim.height + 1

    def count_from_now(self) -> None:
        """What was ignored before does not count."""
        self._counted = {}
        for metric in self._registry.collect():
            if metric.name == "assay_messages_ignored":
                for sample in metric.samples:
                    if sample.name.endswith("_total"):
                        self._counted[sample.labels["reason"]] = int(sample.value)

    @property
    def victim(self) -> Member:
        return self.cluster["v2"]

    @property
    def network(self) -> Digest:
        return digest(self.cluster.genesis)

    def key(self, name: str) -> SigningKey:
        path = self.cluster[name].home.validator_key
        return open_signing_key(path, self.cluster.genesis.validator_signature)

    def tell(self, frame: bytes, author: str = "v4", role: Role = Role.VALIDATOR) -> None:
        """A frame as it comes out of the link with `author`."""

        async def arrive() -> None:
            assert self.victim.assembled is not None
            self.victim.assembled.node.on_frame(Peer(NodeId(author), role), frame)

        self.cluster.loop.run_until_complete(arrive())

    def ignored(self, reason: str) -> int:
        """How often the victim counted this reason, since `count_from_now`."""
        found = self._registry.get_sample_value("assay_messages_ignored_total", {"reason": reason})
        return int(found or 0) - self._counted.get(reason, 0)

    @property
    def _registry(self) -> CollectorRegistry:
        assert self.victim.assembled is not None
        return self.victim.assembled.metrics.registry

    def goes_on(self, count: int = 3) -> None:
        """The victim takes transactions, and all who run commit them and agree."""
        cluster = self.cluster
        wanted = len(cluster.acknowledged) + count
        cluster.submit(count, "v2")
        done = cluster.run(
            60_000,
            lambda: (
                len(cluster.acknowledged) >= wanted and len(set(heights(cluster.running()))) == 1
            ),
        )
        assert done, f"{len(cluster.acknowledged)} of {wanted}, {heights(cluster.running())}"
        cluster.check()


@pytest.fixture
def make_cluster(tmp_path: Path) -> Iterator[Callable[..., WholeCluster]]:
    with ExitStack() as stack:
        count = 0

        def make(**given: object) -> WholeCluster:
            nonlocal count
            count += 1
            return stack.enter_context(
                WholeCluster(tmp_path / f"net{count}", log=LOG, **given)  # type: ignore[arg-type]
            )

        yield make


@pytest.fixture(scope="module")
def _attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    with WholeCluster(tmp_path_factory.mktemp("attacked"), log=LOG) as cluster:
        yield Attacked(cluster)


@pytest.fixture
def attacked(_attacked: Attacked) -> Attacked:
    """The same nodes for all tests of a file: none of them may leave the others a trace."""
    _attacked.count_from_now()
    return _attacked
