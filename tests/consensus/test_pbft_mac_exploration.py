"""Random runs of PBFT with MACs: crashes, partitions, loss, repeats, pauses and liars.

Every run checks agreement at each block, decisions in order, progress after the network has healed,
and that no honest member says two things for one. A failure names its seed.
"""

from typing import TYPE_CHECKING

import pytest

from tests.consensus.chaos import explore, seeds
from tests.consensus.pbft_mac_liar import SETTINGS, Ear, liar

if TYPE_CHECKING:
    from tests.consensus.conftest import Cluster


@pytest.mark.parametrize("seed", seeds(300))
def test_four_replicas_agree_and_go_on(make_cluster: "type[Cluster]", seed: int) -> None:
    cluster = make_cluster(4, seed, protocol="pbft_mac", **SETTINGS)
    ear = Ear(cluster)
    liars = [f"v{seed % 4 + 1}"] if seed % 3 else []
    explore(cluster, liars, liar)
    ear.check(*liars)


@pytest.mark.parametrize("seed", seeds(100))
def test_seven_replicas_agree_and_go_on(make_cluster: "type[Cluster]", seed: int) -> None:
    cluster = make_cluster(7, seed, protocol="pbft_mac", **SETTINGS)
    ear = Ear(cluster)
    liars = [f"v{seed % 7 + 1}", f"v{(seed + 1) % 7 + 1}"] if seed % 3 else []
    explore(cluster, liars, liar)
    ear.check(*liars)
