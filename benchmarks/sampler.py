"""Memory and processor time of the nodes while a benchmark runs."""

import asyncio
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import psutil

INTERVAL_S = 1.0
MIB = 2**20


@dataclass(slots=True)
class Samples:
    """Series of one run: seconds since it began, and for each node its resident memory."""

    at_s: list[float] = field(default_factory=list)
    rss_mib: dict[str, list[float]] = field(default_factory=dict)

    def rss_mib_max(self) -> float:
        """Of any node at any time; 0 if nothing was sampled."""
        return max((value for series in self.rss_mib.values() for value in series), default=0.0)


class Sampler:
    """Looks once a second, in a task of its own."""

    def __init__(self, pids: Mapping[str, int]) -> None:
        self._processes = {name: psutil.Process(pid) for name, pid in pids.items()}
        self._began = time.monotonic()
        self.samples = Samples(rss_mib={name: [] for name in pids})

    async def run(self) -> None:
        """Until cancelled. Raises `psutil.NoSuchProcess` if a node dies."""
        while True:
            self.look()
            await asyncio.sleep(INTERVAL_S)

    def look(self) -> None:
        self.samples.at_s.append(round(time.monotonic() - self._began, 3))
        for name, process in self._processes.items():
            rss = process.memory_info().rss / MIB
            self.samples.rss_mib[name].append(round(rss, 2))

    def cpu_seconds(self) -> dict[str, float]:
        """Processor time each node has used so far."""
        used = {}
        for name, process in self._processes.items():
            times = process.cpu_times()
            used[name] = times.user + times.system
        return used


def own_cpu_seconds() -> float:
    """Processor time of this process: the load generator's."""
    times = os.times()
    return times.user + times.system


def used_between(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    return {name: after[name] - before[name] for name in before}


def series(values: Sequence[float]) -> list[float]:
    return [round(value, 3) for value in values]
