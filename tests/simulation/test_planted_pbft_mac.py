"""Each bug planted in PBFT with MACs is found within a stated number of seeds."""

from collections.abc import Callable
from functools import partial

import pytest

from simulation.cluster import Broken, Cluster, Diverged, Framed
from tests.consensus.chaos import explore
from tests.consensus.pbft_mac_history import live
from tests.consensus.pbft_mac_liar import SETTINGS, Ear, liar
from tests.consensus.pbft_mac_pressure import press
from tests.simulation.planted_pbft_mac import BUGS


def chaos(seed: int) -> None:
    cluster = Cluster(4, seed, protocol="pbft_mac", **SETTINGS)
    ear = Ear(cluster)
    name = f"v{seed % 4 + 1}"
    explore(cluster, [name], liar)
    ear.check(name)


FOUND_BY: dict[str, tuple[Callable[[int], object], int]] = {
    "M14: any claimed checkpoint is a start": (partial(live, 4), 10),
    "M15: A1 is not asked for": (partial(live, 4), 100),
    "M16: A2 is not asked for": (partial(live, 4), 100),
    "M17: null where nothing is certain": (partial(live, 4), 100),
    "M21: the primary's copies are believed": (press, 10),
    "M22: whatever the primary chose": (press, 10),
    "M6: whatever the primary assigns": (chaos, 20),
    "M4: Q is not remembered": (chaos, 20),
    "M4: said before it is remembered": (chaos, 30),
    "M8: P does not survive a restart": (chaos, 20),
    "M11: the view does not survive a restart": (chaos, 10),
    "M11: Q is left out of view-changes": (press, 10),
    "M12: nobody acknowledges": (press, 10),
}
"""Bug -> what finds it, and with how many seeds at most."""


def test_every_planted_bug_is_looked_for() -> None:
    assert set(FOUND_BY) == set(BUGS)


@pytest.mark.parametrize("bug", FOUND_BY)
def test_a_planted_bug_is_found(bug: str) -> None:
    finder, seeds_max = FOUND_BY[bug]
    with BUGS[bug]():
        for seed in range(seeds_max):
            try:
                finder(seed)
            except (AssertionError, Diverged, Framed, Broken):
                break
        else:
            pytest.fail(f"{bug}: not found with {seeds_max} seeds")
    finder(seed)  # Without the bug all is well.
