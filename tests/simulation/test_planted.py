"""What the registry records as found is found, and nothing is where no bug is."""

from collections.abc import Collection
from functools import cache
from pathlib import Path

import pytest

from mechanisms.registry import Kind, names
from simulation.run import Verdict
from tests.simulation.planted import (
    SEARCH_MAX,
    is_found,
    registry,
    run_seed,
    table,
)

DOCUMENT = Path(__file__).parents[2] / "docs" / "simulation.md"
UNIT_SEEDS = 4
"""So many runs of a bare protocol take much less than a second, ..."""
SLOW_SEEDS = 40
"""... and so many a few seconds."""

REGISTRY = registry()
Mark = pytest.MarkDecorator


def marks(protocol: str, seeds: int) -> Collection[Mark]:
    if seeds > SLOW_SEEDS:
        return (pytest.mark.exhaustive,)
    return () if protocol == "pbft" and seeds <= UNIT_SEEDS else (pytest.mark.slow,)


def planted() -> list[object]:
    """In the search for a bug only one run is needed as a rule: the last seed is the one."""
    return [
        pytest.param(
            protocol,
            name,
            marks=marks(protocol, SEARCH_MAX if bug.long else 1),
            id=f"{protocol}-{name}",
        )
        for protocol, bugs in REGISTRY.items()
        for name, bug in bugs.items()
        if bug.seeds
    ]


def unbroken() -> list[object]:
    """For each protocol and strategy, as many seeds as the bug needs that takes longest."""
    found: dict[tuple[str, str], int] = {}
    for protocol, bugs in REGISTRY.items():
        for bug in bugs.values():
            key = protocol, bug.strategy
            found[key] = max(found.get(key, 1), bug.seeds)
    steps = {
        (*key, min(seeds, step))
        for key, seeds in found.items()
        for step in (UNIT_SEEDS, SLOW_SEEDS, SEARCH_MAX)
    }
    return [pytest.param(*step, marks=marks(step[0], step[2])) for step in sorted(steps)]


@cache
def passes(protocol: str, strategy: str, number: int) -> bool:
    return run_seed(protocol, strategy, number).verdict is Verdict.PASS


@pytest.mark.parametrize(("protocol", "name"), planted())
def test_a_planted_bug_is_found_within_its_seeds(protocol: str, name: str) -> None:
    bug = REGISTRY[protocol][name]
    assert 1 <= bug.seeds <= SEARCH_MAX
    assert is_found(protocol, bug), f"{protocol}: {name}: not with {bug.seeds} of {bug.strategy}"
    assert passes(protocol, bug.strategy, bug.seeds - 1), "without the bug this seed passes"


@pytest.mark.parametrize(("protocol", "strategy", "seeds"), unbroken())
def test_without_a_bug_the_same_seeds_pass(protocol: str, strategy: str, seeds: int) -> None:
    failed = [number for number in range(seeds) if not passes(protocol, strategy, number)]
    assert failed == []


def test_each_file_of_bugs_is_named_after_a_protocol() -> None:
    assert set(REGISTRY) <= set(names(Kind.CONSENSUS))
    assert {"hotstuff", "jolteon", "pbft", "qbft", "tendermint"} <= set(REGISTRY)


@pytest.mark.parametrize("protocol", REGISTRY)
def test_at_least_eight_bugs_are_planted_in_each_protocol(protocol: str) -> None:
    assert len(REGISTRY[protocol]) >= 8


def test_the_table_in_the_documents_is_what_is_recorded() -> None:
    """`python -m tests.simulation.planted` prints it."""
    assert "\n".join(table()) in DOCUMENT.read_text(encoding="utf-8")
