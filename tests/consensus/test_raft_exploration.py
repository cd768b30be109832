"""Random runs of Raft: crashes, partitions, loss, repeats and pauses; nobody lies."""

from typing import TYPE_CHECKING, Any

import pytest

from tests.consensus.chaos import explore, seeds

if TYPE_CHECKING:
    from tests.consensus.conftest import Cluster

SETTINGS: dict[str, Any] = {
    "protocol": "raft",
    "election_ms": 200,
    "stagger_ms": 40,
    "heartbeat_ms": 60,
    "election_max_ms": 5_000,
}
"""Short, so that many terms fit into a short run."""


def honest(_cluster: "Cluster") -> object:
    raise AssertionError("nobody lies here")


@pytest.mark.parametrize("members", [3, 4, 5])
@pytest.mark.parametrize("seed", seeds(200))
def test_they_agree_and_go_on(make_cluster: "type[Cluster]", members: int, seed: int) -> None:
    explore(make_cluster(members, seed, **SETTINGS), [], honest)
