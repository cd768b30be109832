"""Runs many seeds on all cores, and keeps what failed as small files that can be run again."""

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Protocol

from simulation.run import Result, Verdict, run
from simulation.scenario import BadScenario, Scenario, dump
from simulation.shrink import shrink

STRATEGIES = ("random", "twins", "byzzfuzz", "liars")
CHUNK = 20
"""Seeds that a process takes at a time."""

FAILURES_KEPT_MAX = 20


class Strategy(Protocol):
    """Turns a seed into a scenario."""

    def __call__(self, protocol: str, nodes: int, byzantine: int, seed: int) -> Scenario: ...


@dataclass(frozen=True, slots=True)
class Search:
    """What to explore."""

    protocol: str
    nodes: int
    byzantine: int
    strategy: str
    allow: tuple[str, ...] = ()
    """Protocols of other packages that may be loaded."""


@dataclass(slots=True)
class Found:
    """What came of it so far."""

    seeds: int = 0
    seconds: float = 0.0
    verdicts: Counter[str] = field(default_factory=Counter)
    failures: list[Path] = field(default_factory=list)

    @property
    def seeds_per_minute(self) -> float:
        return 60 * self.seeds / self.seconds if self.seconds else 0.0


def strategy(name: str) -> Strategy:
    """Raises `BadScenario` for a name that there is not."""
    if name not in STRATEGIES:
        raise BadScenario(f"there is no strategy {name!r}; there are {', '.join(STRATEGIES)}")
    found: Strategy = import_module(f"simulation.strategies.{name}").scenario
    return found


def scenario_of(search: Search, seed: int) -> Scenario:
    """The scenario of a seed. Raises `BadScenario`."""
    if not 0 <= search.byzantine < search.nodes:
        raise BadScenario(f"{search.byzantine} Byzantine members of {search.nodes}")
    return strategy(search.strategy)(search.protocol, search.nodes, search.byzantine, seed)


def explore(
    search: Search,
    seeds: range,
    failures: Path,
    *,
    processes: int | None = None,
    told: Callable[[Found, int], None] = lambda _found, _last: None,
) -> Found:
    """Run `seeds`. `told` hears of the progress, with the number up to which all are done.

    A failure is shrunk and saved in the folder `failures`. Raises `BadScenario`.
    """
    scenario_of(search, seeds.start if seeds else 0)
    began = time.monotonic()
    found = Found()
    for last, results in _results(search, seeds, processes or os.cpu_count() or 1):
        for seed, result in results:
            found.seeds += 1
            found.verdicts[result.verdict.value] += 1
            if result.verdict is not Verdict.PASS and len(found.failures) < FAILURES_KEPT_MAX:
                found.failures.append(_save(search, seed, result, failures))
        found.seconds = time.monotonic() - began
        told(found, last)
    return found


def _results(
    search: Search, seeds: range, processes: int
) -> Iterator[tuple[int, Sequence[tuple[int, Result]]]]:
    """In order of the seeds, so that an interrupted search knows where to go on."""
    chunks = [seeds[start : start + CHUNK] for start in range(0, len(seeds), CHUNK)]
    if processes == 1:
        for chunk in chunks:
            yield chunk[-1], _run_all(search, chunk)
        return
    with ProcessPoolExecutor(processes) as pool:
        try:
            for chunk, results in zip(
                chunks, pool.map(_run_all, [search] * len(chunks), chunks), strict=True
            ):
                yield chunk[-1], results
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _run_all(search: Search, seeds: range) -> list[tuple[int, Result]]:
    return [(seed, run(scenario_of(search, seed), allow=search.allow)) for seed in seeds]


def _save(search: Search, seed: int, result: Result, folder: Path) -> Path:
    small = shrink(scenario_of(search, seed), result.verdict, allow=search.allow)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{search.protocol}-{search.nodes}-{search.strategy}-{seed}.json"
    path.write_bytes(dump(small))
    return path
