import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import report
from benchmarks.figures import Completion, NothingMeasured
from benchmarks.load import Seen
from benchmarks.report import Measured
from benchmarks.sampler import Samples
from benchmarks.verify_limit import Rate


def measured() -> Measured:
    calm = Seen(latencies_ms=[5.0] * 98 + [9.0, 30.0], completions=[Completion(1.0, 100)])
    busy = Seen(
        completions=[Completion(tick / 10, 300) for tick in range(1, 101)],
        heights=set(range(100)),
        sent=30_000,
        duration_s=10.0,
    )
    return Measured(
        config={"nodes": 4},
        provenance={"commit": "abc", "cores_pinned": True},
        first_commit_s=1.234,
        calm=calm,
        busy=busy,
        verify_rates=[
            [Rate(10_000.0, 1.0), Rate(10_000.0, 1.0)],
            [Rate(10_400.0, 1.04), Rate(9_600.0, 0.96)],
        ],
        samples=Samples([0.0, 60.0, 120.0, 180.0], {"v1": [90.0, 99.0, 100.0, 101.0]}),
        account={
            "elapsed_s": 10.0,
            "generator_cpu_s": 1.0,
            "cpu_s": {"v1": 6.0, "v2": 6.0},
            "metrics": {"v1": {"assay_verify_seconds_total": 3.0}, "v2": {}},
        },
        quiet_account={"elapsed_s": 10.0, "cpu_s": {"v1": 1.0, "v2": 2.0}},
        replicas=4,
        cores=2,
    )


def test_the_figures_that_scripts_rely_on() -> None:
    figures = report.figures_of(measured())
    assert figures["throughput_tx_s"] == 3000.0
    assert figures["verify_limit_tx_s"] == 5000.0
    assert figures["ratio"] == 0.6
    assert figures["latency_p50_ms"] == 5.0
    assert figures["latency_p99_ms"] == 9.0
    assert figures["rss_mib_max"] == 101.0
    assert figures["rss_growth_mib_per_minute"] == 1.0


def test_the_cost_is_per_transaction_and_replica() -> None:
    cost = report.cost(measured())
    assert cost["cpu_us"] == pytest.approx(12.0 / 30_000 / 4 * 1e6)
    assert cost["signature_checks_us"] == pytest.approx(100.0)
    assert cost["everything_else_us"] == pytest.approx(0.0)


def test_a_profile_is_shown_per_transaction_and_replica_largest_first() -> None:
    account = {
        **measured().account,
        "parts_s": {"consensus/a.py:f": 0.6, "crypto/signatures/b.py:g": 6.0},
    }
    parts = report.parts(replace(measured(), account=account))
    assert list(parts) == ["part: signatures", "part: consensus"]
    assert parts["part: consensus"] == pytest.approx(0.6 / 30_000 / 4 * 1e6)
    assert report.parts(measured()) == {}


def test_how_busy_the_nodes_were_in_the_latency_phase_is_told() -> None:
    assert report.cores_used(measured().quiet_account) == pytest.approx(0.3)
    assert report.cores_used({}) == 0.0


def test_a_good_run_has_no_warnings() -> None:
    assert report.warnings(measured()) == []


def test_what_spoils_a_run_is_said() -> None:
    good = measured()
    slowing = replace(
        good.busy, completions=[Completion(t / 10, 300 if t < 60 else 30) for t in range(1, 101)]
    )
    losing = replace(good.busy, failures=Counter({"not_committed_in_time": 4}))
    found = {
        "no steady state": replace(good, busy=slowing),
        "not_committed_in_time": replace(good, busy=losing),
        "load generator": replace(good, account={**good.account, "generator_cpu_s": 9.0}),
        "behind its schedule": replace(good, calm=replace(good.calm, late_ms_max=80.0)),
        "noisy machine": replace(good, verify_rates=[[Rate(10_000, 1.0)], [Rate(7_000, 1.0)]]),
        "somebody else": replace(good, verify_rates=[[Rate(7_000.0, 0.7)]]),
        "held to the cores": replace(good, provenance={"cores_pinned": False}),
    }
    for words, run in found.items():
        assert any(words in warning for warning in report.warnings(run)), words


def test_a_run_without_commits_has_no_figures() -> None:
    for broken in (
        replace(measured(), busy=Seen(duration_s=10.0)),
        replace(measured(), calm=Seen()),
        replace(measured(), verify_rates=[]),
    ):
        with pytest.raises(NothingMeasured):
            report.document(broken)


def test_the_result_file_is_json_with_everything_in_it(tmp_path: Path) -> None:
    path = report.write(measured(), tmp_path / "results")
    document = json.loads(path.read_text())
    assert document["format"] == 1
    assert document["kind"] == "node"
    assert document["provenance"]["commit"] == "abc"
    assert document["throughput"]["per_second"] == [2700, *[3000] * 8, 3000]
    assert sum(document["latency"]["histogram_ms"].values()) == 100
    assert document["memory"]["rss_mib"] == {"v1": [90.0, 99.0, 100.0, 101.0]}
    assert document["verify"]["cores"][0][0] == {"per_s": 10_000.0, "core_share": 1.0}


def test_the_table_names_the_kinds_of_load() -> None:
    rows = dict(report.rows(measured()))
    assert "closed loop" in rows["committed"]
    assert "open loop" in rows["latency p50"]
    assert rows["ratio"] == "0.60"
