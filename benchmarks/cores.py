"""Which cores a benchmark may use: nodes, load generator and the verify limit share the same."""

import os
from collections.abc import Sequence

import psutil

from benchmarks.figures import NothingMeasured

BUSY_PERCENT_MAX = 15.0
"""A core that somebody else keeps busier than this spoils the figures."""


def allowed() -> list[int]:
    """The cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def choose(count: int, wanted: Sequence[int] = ()) -> list[int]:
    """`count` cores: those that were asked for, or the idlest ones right now.

    Raises `NothingMeasured` if this process may not use so many.
    """
    available = allowed()
    foreign = sorted(set(wanted) - set(available))
    if foreign:
        raise NothingMeasured(f"cores {foreign} cannot be used here; there are {available}")
    if wanted:
        return sorted(wanted)
    if len(available) < count:
        raise NothingMeasured(
            f"{count} cores are wanted and this process may use {len(available)}; "
            "say --cores with fewer (the figures are then of another machine)"
        )
    load = busy_percent(0.5)
    return sorted(sorted(available, key=lambda core: (load.get(core, 0.0), core))[:count])


def busy_percent(interval_s: float) -> dict[int, float]:
    """How busy each core is, over the interval."""
    return dict(enumerate(psutil.cpu_percent(interval_s, percpu=True)))


def hold(cores: Sequence[int]) -> bool:
    """Keep this process, and all that it starts from now on, on `cores`; False if impossible."""
    if not hasattr(os, "sched_setaffinity"):
        return False
    os.sched_setaffinity(0, set(cores))
    return True
