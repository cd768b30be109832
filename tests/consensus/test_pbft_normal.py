"""The normal case: three phases, pipelines, watermarks, checkpoints, and silence when idle."""

from typing import TYPE_CHECKING

import pytest

from consensus.interface import Decide, RequestPayload, Send
from consensus.protocols import pbft
from consensus.protocols._pbft_messages import (
    Checkpoint,
    Commit,
    Message,
    Prepare,
    PrePrepare,
)
from crypto.interface import NodeId

if TYPE_CHECKING:
    from tests.consensus.conftest import Cluster


def sent(cluster: "Cluster", name: str, kind: type[Message]) -> list[Message]:
    outputs = cluster[name].said(Send)
    return [output.message for output in outputs if isinstance(output.message, kind)]


def test_the_first_height_is_decided_though_nothing_is_pending(
    make_cluster: "type[Cluster]",
) -> None:
    cluster = make_cluster()
    cluster.reach(1, within_ms=200)
    assert cluster.payloads[cluster.chain[1][0]] == ()


def test_a_decision_takes_three_phases(make_cluster: "type[Cluster]") -> None:
    cluster = make_cluster()
    cluster.reach(1)
    cluster.submit()
    cluster.reach(2)
    assert [m.height for m in sent(cluster, "v1", PrePrepare)] == [1, 2]  # type: ignore[union-attr]
    for name in ("v2", "v3", "v4"):
        assert not sent(cluster, name, PrePrepare)
        assert len(sent(cluster, name, Prepare)) == len(sent(cluster, name, Commit)) == 2
        decisions = cluster[name].said(Decide)
        assert [decision.height for decision in decisions] == [1, 2]
        assert decisions[1].payloads == cluster.chain[2]
    cluster.check()


def test_nothing_runs_and_nobody_speaks_while_nothing_is_pending(
    make_cluster: "type[Cluster]",
) -> None:
    cluster = make_cluster()
    cluster.submit(3)
    cluster.reach(2)
    cluster.run(5_000)
    said = {name: len(node.outputs) for name, node in cluster.nodes.items()}
    assert not any(node.timers for node in cluster.nodes.values())
    cluster.run(60_000)
    assert said == {name: len(node.outputs) for name, node in cluster.nodes.items()}
    assert all(node.view == 0 for node in cluster.nodes.values())
    cluster.submit()  # And it still works.
    cluster.reach(3, within_ms=500)


@pytest.mark.parametrize("pipeline", [1, 4])
def test_a_primary_keeps_as_many_heights_in_flight_as_the_pipeline_allows(
    make_cluster: "type[Cluster]", pipeline: int
) -> None:
    cluster = make_cluster(pipeline=pipeline)
    cluster.delay_ms = (50, 50)
    cluster.reach(1)
    primary = cluster["v1"]
    in_flight = []

    def look() -> bool:
        asked = max(output.ticket.height for output in primary.said(RequestPayload))
        in_flight.append(asked - primary.height)
        return primary.height >= 6

    for _ in range(12):
        cluster.submit(8)
    assert cluster.run(60_000, look)
    assert max(in_flight) == pipeline


def test_what_is_in_flight_is_named_and_not_proposed_again(make_cluster: "type[Cluster]") -> None:
    cluster = make_cluster()
    cluster.delay_ms = (50, 50)
    cluster.reach(1)
    cluster.submit(20)
    cluster.run(5_000)
    ordered = [tx for height in cluster.chain for tx in cluster.payloads[cluster.chain[height][0]]]
    assert sorted(ordered) == list(range(1, 21))


def test_a_stable_checkpoint_moves_the_watermarks_and_empties_memory(
    make_cluster: "type[Cluster]",
) -> None:
    cluster = make_cluster(window=8, checkpoint_interval=4)
    cluster.reach(1)
    remembered = []
    for height in range(2, 60):
        cluster.submit()
        cluster.reach(height)
        remembered.append(max(len(node.remembered) for node in cluster.nodes.values()))
    cluster.run(1_000)
    assert max(remembered[30:]) <= max(remembered[:30]) <= 3 * 8 + 5
    assert len(sent(cluster, "v2", Checkpoint)) == 59 // 4
    cluster.check()


def test_no_height_is_voted_for_above_the_high_watermark(make_cluster: "type[Cluster]") -> None:
    """The checkpoints are lost, so the window cannot move; then they arrive."""
    cluster = make_cluster(window=8, checkpoint_interval=4)
    cluster.drop = lambda sender, to, message: isinstance(message, Checkpoint)
    cluster.syncs = False
    for _ in range(30):
        cluster.submit()
        cluster.run(50)
    voted = [message.height for message in sent(cluster, "v2", Prepare)]  # type: ignore[union-attr]
    assert max(voted) == 8
    cluster.drop = lambda *_: False
    cluster.reach(9)
    cluster.check()


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_arrival_has_no_say(make_cluster: "type[Cluster]", seed: int) -> None:
    """The harness checks that decisions come in order, once each, and only with their bytes."""
    cluster = make_cluster(seed=seed)
    cluster.delay_ms, cluster.repeats = (1, 120), 0.3
    for _ in range(20):
        cluster.submit(3)
        cluster.run(40)
    cluster.reach(5)
    cluster.check()


@pytest.mark.parametrize("members", [1, 2, 3, 5, 6, 10])
def test_committees_of_any_size_decide(make_cluster: "type[Cluster]", members: int) -> None:
    cluster = make_cluster(members)
    cluster.submit()
    cluster.reach(2)
    cluster.check()


def test_progress_names_whom_we_wait_for(make_cluster: "type[Cluster]") -> None:
    cluster = make_cluster()
    cluster.reach(1)
    cluster.crash("v3", "v4")
    assert cluster["v2"].protocol is not None
    assert cluster["v2"].protocol.progress().waiting_for == ()
    cluster.submit()
    cluster.run(200)
    progress = cluster["v2"].protocol.progress()
    assert set(progress.waiting_for) >= {"v3", "v4"}
    assert (progress.view, progress.leader, progress.phase) == (0, "v1", "normal")


@pytest.mark.parametrize(
    "wrong",
    [
        {"view_timeout_ms": 0},
        {"view_timeout_ms": 100, "view_timeout_ms_max": 99},
        {"window": 0},
        {"pipeline": 0},
        {"pipeline": 65},
        {"checkpoint_interval": 0},
        {"checkpoint_interval": 64},
    ],
)
def test_options_that_cannot_work_are_refused_by_name(wrong: dict[str, int]) -> None:
    pbft.Options()
    with pytest.raises(ValueError, match="|".join(wrong)):
        pbft.Options(**wrong)


def test_another_committee_is_refused_loudly(make_cluster: "type[Cluster]") -> None:
    from consensus.interface import Committee, CommitteeChanged, Height  # noqa: PLC0415

    cluster = make_cluster()
    protocol = cluster["v1"].protocol
    assert protocol is not None
    changed = CommitteeChanged(Height(9), Committee(1, (NodeId("v1"),)))
    with pytest.raises(AssertionError, match="committee"):
        protocol.step(changed)
