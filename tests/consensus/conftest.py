"""The simulator's cluster, for tests of one protocol."""

import pytest

from simulation.cluster import Cluster, Hook, Node, Parcel

__all__ = ["Cluster", "Hook", "Node", "Parcel"]


@pytest.fixture(scope="session")
def make_cluster() -> type[Cluster]:
    """`make_cluster(n, seed, **options)`: `options` are those of the protocol."""
    return Cluster
