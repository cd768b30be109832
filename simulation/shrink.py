"""Makes a failing scenario smaller, as long as it fails in the same way.

Source: Zeller and Hildebrandt, "Simplifying and Isolating Failure-Inducing Input", IEEE TSE 2002
(delta debugging), on the lists of a scenario.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from simulation.run import Verdict, run
from simulation.scenario import Scenario

RUNS_MAX = 300
"""A scenario that takes more attempts stays as large as it is then."""

_LISTS = ("events", "byzantine", "round_faults", "links", "clocks")


def shrink(scenario: Scenario, verdict: Verdict, *, allow: Sequence[str] = ()) -> Scenario:
    """The smallest scenario found whose run ends in `verdict`."""
    budget = RUNS_MAX

    def fails(candidate: Scenario) -> bool:
        nonlocal budget
        budget -= 1
        return budget >= 0 and run(candidate, allow=allow).verdict is verdict

    changed = True
    while changed and budget > 0:
        changed = False
        for name in _LISTS:
            smaller = _fewer(scenario, name, fails)
            if smaller is not scenario:
                scenario, changed = smaller, True
    return scenario


def _fewer(scenario: Scenario, name: str, fails: Any) -> Scenario:  # noqa: ANN401 - a function
    """Leave out halves, quarters, ..., single items of one list."""
    size = len(getattr(scenario, name))
    while size >= 1:
        start = 0
        while start < len(getattr(scenario, name)):
            items = getattr(scenario, name)
            rest = items[:start] + items[start + size :]
            candidate = msgspec.structs.replace(scenario, **{name: rest})
            if fails(candidate):
                scenario = candidate
            else:
                start += size
        size //= 2
    return scenario
