import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.figures import (
    Completion,
    NothingMeasured,
    growth_per_second,
    histogram,
    latencies,
    per_second,
    percentile,
    shares,
    throughput,
    verify_limit,
)

MS = st.floats(min_value=0.001, max_value=60_000, allow_nan=False)


def test_percentiles_are_the_nearest_rank() -> None:
    ordered = [float(value) for value in range(1, 1001)]
    assert percentile(ordered, 50) == 500
    assert percentile(ordered, 90) == 900
    assert percentile(ordered, 99) == 990
    assert percentile(ordered, 99.9) == 999
    assert percentile(ordered, 100) == 1000


def test_a_percentile_of_one_sample_is_that_sample() -> None:
    assert percentile([7.5], 50) == percentile([7.5], 99.9) == percentile([7.5], 0.001) == 7.5


@pytest.mark.parametrize("percent", [0, -1, 100.1])
def test_what_is_no_percentile_is_refused(percent: float) -> None:
    with pytest.raises(ValueError, match="no percentile"):
        percentile([1.0], percent)


def test_no_samples_are_no_result() -> None:
    with pytest.raises(NothingMeasured):
        percentile([], 50)
    with pytest.raises(NothingMeasured, match="latency phase"):
        latencies([])


@given(st.lists(MS, min_size=1))
def test_percentiles_happened_and_are_ordered(samples: list[float]) -> None:
    result = latencies(samples)
    row = [result.p50_ms, result.p90_ms, result.p99_ms, result.p999_ms, result.max_ms]
    assert row == sorted(row)
    assert set(row) <= set(samples)
    assert result.count == len(samples)


@given(st.lists(MS, min_size=1, max_size=99).filter(lambda values: len(values) % 2 == 1))
def test_the_median_of_an_odd_number_is_the_middle_one(samples: list[float]) -> None:
    assert latencies(samples).p50_ms == statistics.median(samples)


@given(st.lists(MS))
def test_a_histogram_loses_no_sample_and_puts_none_above_its_bound(samples: list[float]) -> None:
    counts = histogram(samples)
    assert sum(counts.values()) == len(samples)
    if samples:
        assert float(list(counts)[-1]) >= max(samples) * 0.999 - 0.001


def test_histogram_buckets_are_named_by_their_upper_bound() -> None:
    assert histogram([0.1, 0.125, 0.126, 1.0, 1.01]) == {
        "0.125": 2,
        "0.149": 1,
        "1.000": 1,
        "1.189": 1,
    }


def test_the_series_counts_whole_seconds_only() -> None:
    completions = [Completion(0.5, 1), Completion(1.0, 2), Completion(1.9, 4), Completion(2.2, 8)]
    assert per_second(completions, 2.5) == [1, 6]


def test_throughput_cuts_the_warm_up_and_what_came_too_late() -> None:
    completions = [Completion(t / 10, 10) for t in range(1, 121)]
    result = throughput(completions, 10.0)
    assert result.warm_up_s == 2.0
    assert result.transactions == 800
    assert result.tx_s == pytest.approx(100.0)
    assert result.steady


def test_a_run_that_slows_down_is_not_steady() -> None:
    fast = [Completion(t / 10, 10) for t in range(1, 60)]
    slow = [Completion(t / 10, 2) for t in range(60, 101)]
    result = throughput(fast + slow, 10.0)
    assert not result.steady


def test_a_run_without_commits_says_so() -> None:
    with pytest.raises(NothingMeasured, match=r"between second 2\.0 and 10\.0"):
        throughput([Completion(0.5, 100)], 10.0)


def test_the_verify_limit_is_the_mean_over_repetitions_of_the_sum_over_cores() -> None:
    assert verify_limit([[10_000, 12_000], [14_000, 12_000]], replicas=4) == 6_000


def test_an_unmeasured_verify_limit_is_no_result() -> None:
    with pytest.raises(NothingMeasured):
        verify_limit([], replicas=4)
    with pytest.raises(NothingMeasured):
        verify_limit([[]], replicas=4)


def test_growth_is_the_slope() -> None:
    assert growth_per_second([(0.0, 5.0), (1.0, 7.0), (2.0, 9.0)]) == pytest.approx(2.0)
    assert growth_per_second([(0.0, 5.0)]) == 0.0
    assert growth_per_second([(1.0, 5.0), (1.0, 9.0)]) == 0.0


def test_shares_sum_to_one() -> None:
    assert shares({"a": 1.0, "b": 3.0}) == {"a": 0.25, "b": 0.75}
    assert shares({"a": 0.0}) == {}
