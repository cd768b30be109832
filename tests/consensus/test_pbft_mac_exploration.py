"""Random runs of PBFT with MACs: crashes, partitions, loss, repeats, pauses and liars.

Every run checks agreement at each block, decisions in order, progress after the network has healed,
and that no honest member says two things for one. A failure names its seed.
"""

from typing import TYPE_CHECKING

import pytest

from tests.consensus.chaos import explore, seeds
from tests.consensus.pbft_mac_history import live
from tests.consensus.pbft_mac_liar import SETTINGS, Ear, liar
from tests.consensus.pbft_mac_pressure import press

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


@pytest.mark.parametrize("n", [4, 5, 7, 10])
def test_what_committed_is_chosen_in_all_later_views(n: int) -> None:
    """And the words of all correct members suffice for a choice. 300 histories of one height."""
    assert sum(live(n, seed) for seed in range(300)) > 300


@pytest.mark.parametrize("seed", seeds(200))
def test_a_primary_that_forges_and_denies_undoes_nothing(seed: int) -> None:
    press(seed)
