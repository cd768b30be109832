"""The statistics of a measurement: percentiles, histograms, series, ratios. Pure.

Percentiles are nearest-rank (NIST/SEMATECH e-Handbook, section 2.6.2, method of the smallest value
with at least that share below or at it): every percentile is a latency that really happened.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

WARM_UP_SHARE = 0.2
"""The first fifth of a run at saturation is not counted."""

STEADY_SPREAD_MAX = 0.25
"""Half the difference of first and second half, over the mean: above it, no steady state."""


class NothingMeasured(Exception):
    """The run yielded no figure; the message says why."""


@dataclass(frozen=True, slots=True)
class Latencies:
    """Of all samples, in milliseconds."""

    count: int
    mean_ms: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float


def latencies(samples_ms: Sequence[float]) -> Latencies:
    """Raises `NothingMeasured` for no samples."""
    if not samples_ms:
        raise NothingMeasured("no transaction of the latency phase was committed")
    ordered = sorted(samples_ms)
    return Latencies(
        count=len(ordered),
        mean_ms=sum(ordered) / len(ordered),
        p50_ms=percentile(ordered, 50),
        p90_ms=percentile(ordered, 90),
        p99_ms=percentile(ordered, 99),
        p999_ms=percentile(ordered, 99.9),
        max_ms=ordered[-1],
    )


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Nearest-rank percentile of ascending values. Raises `NothingMeasured` for none."""
    if not ordered:
        raise NothingMeasured("no values")
    if not 0 < percent <= 100:
        raise ValueError(f"{percent} is no percentile: above 0, up to 100")
    # Rounded first: 99.9 % of 1000 must be rank 999, not 1000 by the error of a float.
    rank = math.ceil(round(percent / 100 * len(ordered), 9))
    return ordered[max(rank, 1) - 1]


def histogram(samples_ms: Sequence[float]) -> dict[str, int]:
    """How many samples per bucket; a bucket is `(bound / 2^(1/4), bound]`, named by its bound.

    Logarithmic, four buckets per doubling from 0.125 ms on: at most 19 % wide.
    """
    counts: dict[int, int] = {}
    for value in samples_ms:
        step = max(0, math.ceil(round(4 * math.log2(max(value, 0.125) / 0.125), 9)))
        counts[step] = counts.get(step, 0) + 1
    return {f"{0.125 * 2 ** (step / 4):.3f}": counts[step] for step in sorted(counts)}


@dataclass(frozen=True, slots=True)
class Completion:
    """So many transactions were reported committed at this time."""

    at_s: float
    """Since the phase began."""
    count: int


def per_second(completions: Sequence[Completion], duration_s: float) -> list[int]:
    """Commits in each whole second of the phase."""
    series = [0] * math.floor(duration_s)
    for completion in completions:
        second = math.floor(completion.at_s)
        if 0 <= second < len(series):
            series[second] += completion.count
    return series


@dataclass(frozen=True, slots=True)
class Throughput:
    """Committed transactions per second after the warm-up."""

    tx_s: float
    warm_up_s: float
    """Cut from the beginning."""
    measured_s: float
    transactions: int
    spread: float
    """How far the two halves differ from their mean, as a share of it."""
    steady: bool


def throughput(
    completions: Sequence[Completion], duration_s: float, warm_up_share: float = WARM_UP_SHARE
) -> Throughput:
    """The rate between warm-up and end. Raises `NothingMeasured` if nothing was committed then."""
    warm_up_s = duration_s * warm_up_share
    counted = [each for each in completions if warm_up_s < each.at_s <= duration_s]
    total = sum(each.count for each in counted)
    if not total:
        raise NothingMeasured(
            f"no transaction was committed between second {warm_up_s:.1f} and {duration_s:.1f}"
        )
    measured_s = duration_s - warm_up_s
    middle = warm_up_s + measured_s / 2
    first = sum(each.count for each in counted if each.at_s <= middle)
    spread = abs(first - (total - first)) / total
    return Throughput(
        tx_s=total / measured_s,
        warm_up_s=warm_up_s,
        measured_s=measured_s,
        transactions=total,
        spread=spread,
        steady=spread <= STEADY_SPREAD_MAX,
    )


def verify_limit(per_core_s: Sequence[Sequence[float]], replicas: int) -> float:
    """What signature checking alone would allow, in transactions per second.

    Args:
        per_core_s: for each repetition, the verifications per second of each core.
        replicas: how many check each signature.
    """
    if not per_core_s or not all(per_core_s):
        raise NothingMeasured("signature verification was not measured")
    totals = [sum(cores) for cores in per_core_s]
    return sum(totals) / len(totals) / replicas


def growth_per_second(samples: Sequence[tuple[float, float]]) -> float:
    """Slope of the least-squares line through (time, value); 0 for fewer than two times."""
    if len(samples) < 2:
        return 0.0
    mean_x = sum(x for x, _ in samples) / len(samples)
    mean_y = sum(y for _, y in samples) / len(samples)
    spread = sum((x - mean_x) ** 2 for x, _ in samples)
    if spread == 0:
        return 0.0
    return sum((x - mean_x) * (y - mean_y) for x, y in samples) / spread


def shares(parts: Mapping[str, float]) -> dict[str, float]:
    """Each part as a share of the whole; empty for a whole of nothing."""
    whole = sum(parts.values())
    return {name: value / whole for name, value in parts.items()} if whole > 0 else {}
