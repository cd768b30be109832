"""Every protocol conforms; one with a planted bug does not."""

import pytest

from mechanisms.registry import Kind, names
from simulation.conformance import CHECKS, check
from simulation.run import Verdict, run
from tests.simulation.planted import BUGS

PROTOCOLS = names(Kind.CONSENSUS)


@pytest.mark.parametrize(
    ("protocol", "seeds"),
    [pytest.param(name, 4, marks=() if name == "pbft" else pytest.mark.slow) for name in PROTOCOLS]
    + [pytest.param(name, 300, marks=pytest.mark.exhaustive) for name in PROTOCOLS],
)
def test_it_conforms(protocol: str, seeds: int) -> None:
    outcomes = check(protocol, seeds=seeds)
    assert [outcome.name for outcome in outcomes] == list(CHECKS)
    assert [(outcome.name, outcome.failure) for outcome in outcomes if outcome.failure] == []


def test_a_bug_shows_in_the_kit_with_a_run_that_repeats_it() -> None:
    with BUGS["timers are never set"]("pbft"):
        outcomes = check("pbft", seeds=2)
        failed = [outcome for outcome in outcomes if outcome.failure]
        assert failed
        assert failed[0].scenario is not None
        assert run(failed[0].scenario).verdict is not Verdict.PASS
    assert not [outcome for outcome in check("pbft", seeds=2) if outcome.failure]
