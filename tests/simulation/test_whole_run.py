"""Scenarios with whole nodes: the same files, the same verdicts."""

import logging
import sys

import msgspec
import pytest
import structlog

from crypto.certificate import InvalidCertificate
from simulation.run import Verdict
from simulation.scenario import BadScenario, Scenario, parse
from simulation.whole_cluster import WholeCluster
from simulation.whole_run import check_certificates, run
from tests.simulation.test_transcripts import SCENARIOS

LOG = structlog.wrap_logger(
    structlog.PrintLogger(sys.stderr),
    wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL),
)


def shipped(name: str, **changes: object) -> Scenario:
    text = (SCENARIOS / f"{name}.toml").read_text(encoding="utf-8")
    return msgspec.structs.replace(parse(text, name), **changes)


@pytest.mark.parametrize("name", ["normal", "partition", "restart", "silent_leader"])
def test_a_shipped_scenario_passes_with_whole_nodes(name: str) -> None:
    scenario = shipped(name)
    result = run(scenario, LOG)
    assert result.verdict is Verdict.PASS, result.detail
    assert result.height >= 2
    assert result.ended_ms > scenario.calm_ms
    assert run(scenario, LOG) == result, "the same seed is the same run"


@pytest.mark.parametrize("protocol", ["raft", "pbft_mac", "tendermint"])
def test_other_protocols_do_too(protocol: str) -> None:
    assert run(shipped("restart", protocol=protocol), LOG).verdict is Verdict.PASS


def test_without_a_quorum_there_is_no_progress() -> None:
    text = """
    calm_ms = 3000
    progress_within_ms = 3000
    byzantine = [{node = "v1", behaviour = "silent"}, {node = "v2", behaviour = "silent"}]
    """
    result = run(parse(text, "two silent"), LOG)
    assert result.verdict is Verdict.NO_PROGRESS
    assert "wait" in result.detail


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ('byzantine = [{node = "v1", behaviour = "equivocate"}]', "do not lie"),
        ('twins = ["v1"]', "twins"),
        ('round_faults = [{view = 0, sender = "v1", receivers = ["v2"]}]', "of a view"),
        ('events = [{do = "crash", at_ms = 1, node = "v1", after_outputs = 3}]', "after_outputs"),
        ('events = [{do = "conditions", at_ms = 1, loss = 0.5}]', "loses"),
        ("links = [{cut = true}]", "links"),
        ('events = [{do = "pause", at_ms = 1, node = "v1"}]', "pause"),
    ],
)
def test_what_whole_nodes_cannot_do_is_refused_by_name(text: str, word: str) -> None:
    with pytest.raises(BadScenario, match=word):
        run(parse(text, "file"), LOG)


def test_a_certificate_that_proves_nothing_is_noticed(
    tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    with WholeCluster(tmp_path / "net", log=LOG) as cluster:  # type: ignore[operator]
        cluster.start()
        assert cluster.run(60_000, lambda: all(m.height >= 1 for m in cluster.running()))
        cluster.run(2_000)
        check_certificates(cluster)
        assembled = cluster["v2"].assembled
        assert assembled is not None
        ledger = assembled.node.ledger
        right = ledger.certificate(1)
        assert right is not None
        short = msgspec.structs.replace(right, votes=right.votes[:2])
        monkeypatch.setattr(ledger, "certificate", lambda _height: short)
        with pytest.raises(InvalidCertificate, match="2 signers; a quorum has 3"):
            check_certificates(cluster)
