"""Every protocol conforms; one with a planted bug does not, within a few seeds."""

import pytest

from consensus.interface import ConsensusClaims
from crypto.quorum import FaultModel
from mechanisms.registry import Kind, load, names
from simulation.conformance import CHECKS, check
from simulation.explore import STRATEGIES, Search, scenario_of
from simulation.run import Verdict, run
from tests.simulation.planted import BUGS

SEEDS_MAX = 60
"""Of each strategy; docs/simulation.md has how many it took."""

NEEDS_RELAY = {"pbft", "tendermint"}
"""In the others a `Relay` only saves time."""


def claims(name: str) -> ConsensusClaims:
    found: ConsensusClaims = load(Kind.CONSENSUS, name, lab=False).claims
    return found


PROTOCOLS = names(Kind.CONSENSUS)
BYZANTINE = [name for name in PROTOCOLS if claims(name).fault_model is FaultModel.BYZANTINE]


@pytest.mark.parametrize(
    ("protocol", "seeds"),
    [pytest.param(name, 4, marks=() if name == "pbft" else pytest.mark.slow) for name in PROTOCOLS]
    + [pytest.param(name, 300, marks=pytest.mark.exhaustive) for name in PROTOCOLS],
)
def test_it_conforms(protocol: str, seeds: int) -> None:
    outcomes = check(protocol, seeds=seeds)
    assert [outcome.name for outcome in outcomes] == list(CHECKS)
    assert [(outcome.name, outcome.failure) for outcome in outcomes if outcome.failure] == []


@pytest.mark.parametrize("bug", BUGS)
@pytest.mark.parametrize(
    "protocol",
    [pytest.param(name, marks=() if name == "pbft" else pytest.mark.slow) for name in BYZANTINE],
)
def test_a_planted_bug_is_found(protocol: str, bug: str) -> None:
    if bug == "nothing is relayed" and protocol not in NEEDS_RELAY:
        pytest.skip("it can do without, slowly")
    with BUGS[bug](protocol):
        for seed in range(SEEDS_MAX):
            for strategy in STRATEGIES:
                chosen = seed * (97 if strategy == "twins" else 1)
                result = run(scenario_of(Search(protocol, 4, 1, strategy), chosen))
                if result.verdict is not Verdict.PASS:
                    return
    pytest.fail(f"{bug}: not found with {SEEDS_MAX} seeds of each strategy")


def test_a_bug_shows_in_the_kit_with_a_run_that_repeats_it() -> None:
    with BUGS["timers are never set"]("pbft"):
        outcomes = check("pbft", seeds=2)
        failed = [outcome for outcome in outcomes if outcome.failure]
        assert failed
        assert failed[0].scenario is not None
        assert run(failed[0].scenario).verdict is not Verdict.PASS
    assert not [outcome for outcome in check("pbft", seeds=2) if outcome.failure]
