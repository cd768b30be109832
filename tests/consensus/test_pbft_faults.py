"""Faults of the network and of members, one test each. Numbers are those of the list of faults.

The harness checks at every block that there is no fork, and `check` that no honest replica said
two things for one slot.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from consensus.interface import Accuse, CheckPayload, Decide, Overdue, Received
from consensus.protocols._pbft_messages import (
    Checkpoint,
    Commit,
    Message,
    NewView,
    Prepare,
    PrePrepare,
    ViewChange,
)
from crypto.interface import Digest, NodeId

if TYPE_CHECKING:
    from tests.consensus.conftest import Cluster, Node, Parcel

TIMEOUT_MS = 1_000
"""The default view timeout."""

OTHER = Digest(b"\x01" * 32)


def started(make_cluster: "type[Cluster]", n: int = 4, seed: int = 0, **options: Any) -> "Cluster":
    cluster = make_cluster(n, seed, **options)
    cluster.reach(1)
    return cluster


def replaced(message: Message, **fields: object) -> Message:
    return msgspec.structs.replace(message, **fields)


def tell(cluster: "Cluster", name: str, author: str, message: Message, by: str = "") -> None:
    """Deliver a message that `author` signed, through `by`."""
    signed = cluster.sign(NodeId(author), message)
    cluster.step(cluster[name], Received(NodeId(by or author), signed))


def instead(
    cluster: "Cluster", kind: type[Message], change: Callable[[Message, int], list[Message]]
) -> "Callable[[Node, Message, NodeId | None], Iterator[Parcel]]":
    """A hook: for each receiver (by number), say `change(message, number)` for each `kind`."""

    def parcels(node: "Node", message: Message, to: NodeId | None) -> "Iterator[Parcel]":
        for index, name in enumerate(cluster.nodes):
            if to in {None, name}:
                lies = change(message, index) if isinstance(message, kind) else [message]
                for lie in lies:
                    yield cluster.sign(node.name, lie), name

    return parcels


def other_payload(cluster: "Cluster") -> Digest:
    """A payload that everybody has and would find valid."""
    cluster.payloads[OTHER] = (10_000,)
    for node in cluster.nodes.values():
        node.kept[OTHER] = None
    return OTHER


# --- Faulty primaries. ---------------------------------------------------------------------------


@pytest.mark.parametrize("split", [1, 2, 3])
def test_an_equivocating_primary_never_splits_a_decision(
    make_cluster: "type[Cluster]", split: int
) -> None:
    """Faults 37 and 40: other pre-prepares for some; at worst another view goes on."""
    cluster = started(make_cluster)
    other = other_payload(cluster)
    cluster.hooks[NodeId("v1")] = instead(
        cluster, PrePrepare, lambda m, i: [replaced(m, payload=other) if i >= split else m]
    )
    cluster.submit(2)
    cluster.reach(2, "v2", "v3", "v4", within_ms=10 * TIMEOUT_MS)
    cluster.run(5_000)
    assert not cluster["v2"].mempool
    cluster.check(["v1"])


def test_two_pre_prepares_for_one_height_are_evidence_and_the_first_stays(
    make_cluster: "type[Cluster]",
) -> None:
    """Fault 37."""
    cluster = started(make_cluster)
    other = other_payload(cluster)
    cluster.hooks[NodeId("v1")] = instead(
        cluster, PrePrepare, lambda m, _: [m, replaced(m, payload=other)]
    )
    cluster.delay_ms = (1, 1)
    cluster.submit()
    cluster.reach(2, within_ms=TIMEOUT_MS)
    cluster.run(100)
    for name in ("v2", "v3", "v4"):
        evidence = cluster[name].said(Accuse)
        slots = [accusation.first.message.slot() for accusation in evidence]
        assert {accusation.culprit for accusation in evidence} == {"v1"}
        assert len(slots) == len(set(slots)), "accused once for a slot"
        assert all(a.first.message.slot() == a.second.message.slot() for a in evidence)
    assert other not in cluster.chain[2]


@pytest.mark.parametrize("kind", [Prepare, Commit])
def test_equivocating_votes_count_once_and_are_evidence(
    make_cluster: "type[Cluster]", kind: type[Message]
) -> None:
    """Fault 38."""
    cluster = started(make_cluster)
    other = other_payload(cluster)
    cluster.hooks[NodeId("v4")] = instead(
        cluster, kind, lambda m, _: [m, replaced(m, payload=other)]
    )
    for height in range(2, 8):
        cluster.submit()
        cluster.reach(height, within_ms=TIMEOUT_MS)
    cluster.run(100)
    assert {a.culprit for name in ("v1", "v2", "v3") for a in cluster[name].said(Accuse)} == {"v4"}
    cluster.check(["v4"])


def test_a_pre_prepare_by_another_than_the_primary_is_refused(
    make_cluster: "type[Cluster]",
) -> None:
    """Fault 39."""
    cluster = started(make_cluster)
    other = other_payload(cluster)
    asked = len(cluster["v2"].said(CheckPayload))
    tell(cluster, "v2", "v3", PrePrepare(0, 2, other))
    cluster.run(50)
    assert len(cluster["v2"].said(CheckPayload)) == asked
    assert any("primary" in reason for reason in cluster["v2"].reasons())
    tell(cluster, "v2", "v1", PrePrepare(0, 2, other))
    cluster.run(50)
    assert len(cluster["v2"].said(CheckPayload)) == asked + 1


def test_a_silent_primary_is_replaced(make_cluster: "type[Cluster]") -> None:
    """Progress within two view timeouts."""
    cluster = started(make_cluster)
    cluster.crash("v1")
    cluster.submit()
    cluster.reach(2, "v2", "v3", "v4", within_ms=2 * TIMEOUT_MS)
    assert {cluster[name].view for name in ("v2", "v3", "v4")} == {1}
    cluster.start("v1")
    cluster.submit()
    cluster.reach(3, within_ms=5 * TIMEOUT_MS)
    cluster.check()


def test_a_primary_that_lives_but_does_not_propose_is_replaced(
    make_cluster: "type[Cluster]",
) -> None:
    """Fault 42."""
    cluster = started(make_cluster)
    cluster.hooks[NodeId("v1")] = instead(cluster, PrePrepare, lambda *_: [])
    cluster.submit()
    cluster.reach(2, within_ms=3 * TIMEOUT_MS)
    assert cluster["v2"].view == 1
    cluster.check()


def test_a_primary_that_proposes_what_is_invalid_is_replaced(
    make_cluster: "type[Cluster]",
) -> None:
    cluster = started(make_cluster)
    cluster.submit(1, "v1")
    cluster.invalid.add(1)
    cluster.submit(1, "v2", "v3", "v4")
    cluster["v1"].done_with.add(2)
    for name in ("v2", "v3", "v4"):
        cluster[name].done_with.add(1)
    cluster.run(3 * TIMEOUT_MS)
    decided = [cluster.payloads[key] for payloads in cluster.chain.values() for key in payloads]
    assert (2,) in decided
    assert not any(1 in transactions for transactions in decided)


def test_a_censoring_primary_is_replaced_though_it_orders_everything_else(
    make_cluster: "type[Cluster]",
) -> None:
    """Fault 41: others' `Overdue` needs no silence."""
    cluster = started(make_cluster)
    cluster["v1"].done_with.add(1)  # v1 acts as if it did not know.
    cluster.submit(1, "v2", "v3", "v4")

    def busy() -> bool:
        cluster.submit()
        cluster.run(100)
        return 1 not in cluster["v3"].mempool

    assert any(busy() for _ in range(80))
    assert cluster["v3"].view >= 1
    cluster.check()


def test_complaints_do_not_storm_through_views(make_cluster: "type[Cluster]") -> None:
    """`Overdue` ten times a second, for ever: at most one view for each timeout."""
    cluster = started(make_cluster)
    for _ in range(50):
        for node in cluster.nodes.values():
            cluster.step(node, Overdue(1))
        cluster.run(100)
    assert 1 <= cluster["v2"].view <= 5_000 // TIMEOUT_MS + 1


@pytest.mark.parametrize("lie", ["no quorum", "one author twice", "of another view"])
def test_a_bad_new_view_is_refused_and_leads_to_the_next_view(
    make_cluster: "type[Cluster]", lie: str
) -> None:
    """Fault 50: v1 is silent, and v2 lies when its turn comes."""
    cluster = started(make_cluster, 7)

    def changed(message: Message, _: int) -> list[Message]:
        assert isinstance(message, NewView)
        shown = message.view_changes
        if lie == "no quorum":
            shown = shown[1:]
        elif lie == "one author twice":
            shown = (shown[0], *shown[:-1])
        else:
            moved = replaced(shown[0].message, view=message.view + 7)
            shown = (cluster.sign(NodeId("v2"), moved), *shown[1:])
        return [replaced(message, view_changes=shown)]

    cluster.hooks[NodeId("v2")] = instead(cluster, NewView, changed)
    cluster.crash("v1")
    cluster.submit()
    cluster.reach(2, "v3", "v4", "v5", "v6", "v7", within_ms=10 * TIMEOUT_MS)
    assert cluster["v3"].view >= 2
    assert any(reason.startswith("new-view") for reason in cluster["v3"].reasons())
    cluster.check(["v2"])


def test_a_new_primary_that_proposes_something_else_than_prepared_is_not_followed(
    make_cluster: "type[Cluster]",
) -> None:
    """What one may have committed, v2 tries to replace. Everybody computes what it must be."""
    cluster = started(make_cluster)
    other = other_payload(cluster)
    cluster.syncs = False
    cluster.drop = lambda sender, to, message: isinstance(message, Commit) and message.view == 0
    cluster.submit()
    cluster.run(200)  # Prepared everywhere, committed nowhere.
    cluster.hooks[NodeId("v2")] = instead(
        cluster, PrePrepare, lambda m, _: [replaced(m, payload=other)]
    )
    prepared = {
        message.payload
        for (_, slot), bodies in cluster.heard.items()
        for message in bodies
        if isinstance(message, Prepare) and slot.height == 2
    }
    cluster.reach(2, "v3", "v4", within_ms=10 * TIMEOUT_MS)
    assert set(cluster.chain[2]) == prepared
    cluster.check(["v2"])


def test_a_member_that_forgets_its_certificates_cannot_undo_a_decision(
    make_cluster: "type[Cluster]",
) -> None:
    """Fault 60, as an attack: v4 leaves what it prepared out of its view change.

    Only v2 commits height 2, and is cut off. The quorum that goes on is v1, v3 and the liar.
    """
    cluster = started(make_cluster)
    cluster.syncs = False
    cluster.hooks[NodeId("v4")] = instead(
        cluster, ViewChange, lambda m, _: [replaced(m, prepared=())]
    )
    cluster.drop = lambda sender, to, message: isinstance(message, Commit) and to != "v2"
    cluster.submit()
    cluster.reach(2, "v2", within_ms=TIMEOUT_MS)
    cluster.partition(["v1", "v3", "v4"], ["v2"])
    cluster.drop = lambda *_: False
    cluster.submit(2)
    cluster.reach(3, "v1", "v3", within_ms=20 * TIMEOUT_MS)
    cluster.heal()
    cluster.reach(3, "v1", "v2", "v3", within_ms=20 * TIMEOUT_MS)
    cluster.check(["v4"])


# --- Stale, future, early and wrong messages. ----------------------------------------------------


def test_stale_votes_are_counted_and_change_nothing(make_cluster: "type[Cluster]") -> None:
    """Fault 43."""
    cluster = started(make_cluster, window=8, checkpoint_interval=4)
    for height in range(2, 7):
        cluster.submit()
        cluster.reach(height)
    cluster.run(100)
    said = len(cluster["v2"].outputs)
    tell(cluster, "v2", "v3", Prepare(0, 1, OTHER))
    tell(cluster, "v2", "v3", Checkpoint(4, OTHER))
    assert len(cluster["v2"].outputs) == said + len(cluster["v2"].reasons()[-2:])
    assert cluster["v2"].height == 6


def _stored(cluster: "Cluster", name: str) -> int:
    """How much a replica holds: everything that can be reached from it, by count."""
    seen: dict[int, object] = {}
    stack: list[object] = [cluster[name].protocol]
    while stack:
        item = stack.pop()
        if id(item) in seen or isinstance(item, str | bytes | int | type):
            continue
        seen[id(item)] = item
        if isinstance(item, dict):
            stack += [*item.keys(), *item.values()]
        elif isinstance(item, list | tuple | set | frozenset):
            stack += item
        elif isinstance(item, msgspec.Struct):
            stack += msgspec.structs.astuple(item)
        else:
            slots = [getattr(item, key, None) for key in getattr(item, "__slots__", ())]
            stack += [*getattr(item, "__dict__", {}).values(), *slots]
    return len(seen)


def test_a_flood_of_future_heights_and_views_is_bounded(make_cluster: "type[Cluster]") -> None:
    """Faults 44 and 45."""
    cluster = started(make_cluster)
    held = []
    for step in range(3):
        for number in range(step * 1_000, (step + 1) * 1_000):
            far = 100 + number
            tell(cluster, "v2", "v3", Prepare(far, far, OTHER))
            tell(cluster, "v2", "v3", Commit(0, far, OTHER))
            tell(cluster, "v2", "v3", Commit(far, 5, OTHER))
            tell(cluster, "v2", "v3", Checkpoint(16 * far, OTHER))
            tell(cluster, "v2", "v3", ViewChange(far, 0, (), ()))
        cluster.run(2_000)
        cluster["v2"].outputs.clear()
        held.append(_stored(cluster, "v2"))
    assert held[2] <= held[0] + 20
    assert cluster["v2"].view == 0
    cluster.submit()
    cluster.reach(2, within_ms=TIMEOUT_MS)


@pytest.mark.parametrize("late", ["v1", "v3"])
def test_votes_that_come_before_the_proposal_are_held(
    make_cluster: "type[Cluster]", late: str
) -> None:
    """Fault 46: what v2 gets from one member comes after everything else."""
    cluster = started(make_cluster)
    cluster.hooks[NodeId(late)] = lambda node, message, to: [
        (cluster.sign(node.name, message), name)
        for name in (cluster.nodes if to is None else [to])
        if name != "v2"
    ]
    cluster.crash("v4")
    cluster.submit()
    cluster.run(300)
    del cluster.hooks[NodeId(late)]
    assert cluster["v2"].height == 1
    cluster.restart("v4")
    cluster.reach(2, within_ms=5 * TIMEOUT_MS)
    cluster.check()


def test_votes_for_another_payload_do_not_count(make_cluster: "type[Cluster]") -> None:
    """Fault 47."""
    cluster = started(make_cluster)
    cluster.partition()
    v2 = cluster["v2"]
    right = other_payload(cluster)
    wrong = Digest(b"\x02" * 32)
    tell(cluster, "v2", "v1", PrePrepare(0, 2, right))
    cluster.run(20)
    for author in ("v3", "v4"):
        tell(cluster, "v2", author, Prepare(0, 2, wrong))
        tell(cluster, "v2", author, Commit(0, 2, wrong))
    cluster.run(20)
    committed = [m for m in v2.journal.values() if isinstance(m, Commit) and m.height == 2]
    assert not committed
    assert [d.height for d in v2.said(Decide)] == [1]


def test_a_quorum_in_two_views_is_none(make_cluster: "type[Cluster]") -> None:
    """Commits of an old view do not count in a new one, however equal they look."""
    cluster = started(make_cluster)
    cluster.syncs = False
    # In view 0 v2 gets the commit of v1 alone; in view 1 that of v3 alone, and its own in both.
    cluster.drop = lambda sender, to, message: (
        isinstance(message, Commit)
        and (to != "v2" or (message.view, sender) not in {(0, "v1"), (1, "v3")})
    )
    cluster.submit()
    cluster.run(1_600)
    assert cluster["v2"].view == 1
    assert cluster["v2"].height == 1
    cluster.drop = lambda *_: False
    cluster.reach(2, within_ms=10 * TIMEOUT_MS)
    cluster.check()


def test_an_own_vote_counts_once_and_only_when_it_is_durable(
    make_cluster: "type[Cluster]",
) -> None:
    """Own prepare, relayed by others or delivered by the host: one voice."""
    cluster = started(make_cluster)
    cluster.partition()
    right = other_payload(cluster)
    tell(cluster, "v2", "v1", PrePrepare(0, 2, right))
    cluster.run(20)
    own = Prepare(0, 2, right)
    assert own in cluster["v2"].journal.values()
    for by in ("v2", "v1", "v3", "v4"):
        tell(cluster, "v2", "v2", own, by=by)
    cluster.run(20)
    assert not any(isinstance(m, Commit) and m.height == 2 for m in cluster["v2"].journal.values())
    tell(cluster, "v2", "v3", own)
    cluster.run(20)
    assert any(isinstance(m, Commit) and m.height == 2 for m in cluster["v2"].journal.values())


# --- View changes. -------------------------------------------------------------------------------


def test_one_member_alone_moves_nobody(make_cluster: "type[Cluster]") -> None:
    """Fault 51, and the rule of f + 1: however often one member says it, and for which view."""
    cluster = started(make_cluster)
    for view in (1, 1, 1, 2, 3, 2**62):
        for name in ("v1", "v2", "v3"):
            tell(cluster, name, "v4", ViewChange(view, 0, (), ()))
    cluster.run(5_000)
    assert [cluster[name].view for name in ("v1", "v2", "v3")] == [0, 0, 0]
    tell(cluster, "v2", "v3", ViewChange(5, 0, (), ()))
    cluster.run(50)
    assert cluster["v2"].view == 5, "f + 1 do; the smaller of their views, not 2**62"


@pytest.mark.parametrize("groups", [[["v1", "v2"], ["v3", "v4"]], [], [["v1", "v2", "v3"]]])
def test_views_do_not_run_away_in_a_partition(
    make_cluster: "type[Cluster]", groups: list[list[str]]
) -> None:
    """Fault 52."""
    cluster = started(make_cluster)
    cluster.submit(2)
    cluster.partition(*groups)
    cluster.run(300_000)
    cluster.submit()
    assert max(node.view for node in cluster.nodes.values()) <= 2
    cluster.heal()
    cluster.reach(max(cluster.chain) + 1, within_ms=10 * TIMEOUT_MS)
    cluster.check()


def test_the_timeout_doubles_up_to_its_cap_and_falls_back_with_progress(
    make_cluster: "type[Cluster]",
) -> None:
    """Fault 53."""
    cluster = started(make_cluster, view_timeout_ms=100, view_timeout_ms_max=800)
    cluster.syncs = False
    cluster.drop = lambda sender, to, message: isinstance(message, NewView)
    cluster.crash("v1")
    cluster.submit()
    seen: list[int] = []

    def look() -> bool:
        protocol = cluster["v4"].protocol
        assert protocol is not None
        timeout_ms = protocol.progress().next_timeout_ms
        if not seen or seen[-1] != timeout_ms:
            seen.append(timeout_ms)
        return False

    cluster.run(8_000, look)
    assert seen == [100, 200, 400, 800]
    cluster.drop = lambda *_: False
    cluster.reach(2, "v2", "v3", "v4", within_ms=10_000)
    cluster.submit()
    cluster.reach(3, "v2", "v3", "v4", within_ms=10_000)
    cluster.run(1_000, look)
    assert seen[-1] == 100


def test_what_one_prepared_in_a_partition_survives(make_cluster: "type[Cluster]") -> None:
    """Fault 54: v2 alone prepared; v1 dies; the others heal without it."""
    cluster = started(make_cluster)
    cluster.syncs = False
    cluster.drop = lambda sender, to, message: (
        isinstance(message, Commit) or (isinstance(message, Prepare) and to != "v2")
    )
    cluster.submit()
    cluster.run(100)
    prepared = [
        m for m in cluster["v2"].journal.values() if isinstance(m, Commit) and m.height == 2
    ]
    assert len(prepared) == 1
    cluster.crash("v1")
    cluster.restart("v2")  # Fault 60: it remembers.
    cluster.drop = lambda *_: False
    cluster.reach(2, "v2", "v3", "v4", within_ms=10 * TIMEOUT_MS)
    assert cluster.chain[2] == (prepared[0].payload,)
    cluster.check()


@pytest.mark.parametrize("restarted", [[], ["v1"], ["v1", "v3"], ["v1", "v3", "v4"]])
def test_what_one_committed_before_it_died_is_what_the_others_decide(
    make_cluster: "type[Cluster]", restarted: list[str]
) -> None:
    """Fault 55: with or without restarts of those whose certificates have to say so."""
    cluster = started(make_cluster)
    cluster.drop = lambda sender, to, message: isinstance(message, Commit) and to != "v2"
    cluster.submit()
    cluster.reach(2, "v2", within_ms=TIMEOUT_MS)
    committed = cluster.chain[2]
    cluster.crash("v2")
    cluster.restart(*restarted)
    cluster.drop = lambda sender, to, message: (
        getattr(message, "view", 1) == 0 and not isinstance(message, ViewChange)
    )
    cluster.reach(2, "v1", "v3", "v4", within_ms=20 * TIMEOUT_MS)
    assert cluster.chain[2] == committed
    assert len(cluster["v3"].said(Decide)) >= 1
    cluster.drop = lambda *_: False
    cluster.start("v2")
    cluster.submit()
    cluster.reach(3, within_ms=10 * TIMEOUT_MS)
    cluster.check()


@pytest.mark.parametrize("after_ms", range(0, 24, 2))
def test_a_commit_concurrent_with_a_view_change_is_delivered_once(
    make_cluster: "type[Cluster]", after_ms: int
) -> None:
    """Fault 56: the harness refuses a second decision of a height."""
    cluster = started(make_cluster, seed=after_ms)
    cluster.submit(20)
    cluster.run(after_ms)
    for name in ("v2", "v3", "v4"):
        cluster.step(cluster[name], Overdue(1))
    cluster.submit()
    done = cluster.run(10 * TIMEOUT_MS, lambda: not any(n.mempool for n in cluster.nodes.values()))
    assert done
    cluster.check()


def test_f_silent_members_do_not_stop_the_others(make_cluster: "type[Cluster]") -> None:
    """Fault 59, one half."""
    cluster = started(make_cluster, 7)
    cluster.crash("v6", "v7")
    for height in range(2, 6):
        cluster.submit()
        cluster.reach(height, "v1", "v2", "v3", "v4", "v5", within_ms=TIMEOUT_MS)
    assert cluster["v2"].view == 0


def test_more_than_f_silent_members_stop_all_without_a_fork_until_one_returns(
    make_cluster: "type[Cluster]",
) -> None:
    """Fault 59, the other half."""
    cluster = started(make_cluster)
    cluster.crash("v3", "v4")
    cluster.submit()
    cluster.run(120_000)
    assert [node.height for node in cluster.nodes.values()] == [1, 1, 1, 1]
    cluster.start("v3")
    cluster.reach(2, "v1", "v2", "v3", within_ms=10 * TIMEOUT_MS)
    cluster.start("v4")
    cluster.reach(2, within_ms=10 * TIMEOUT_MS)
    cluster.check()


def test_a_paused_primary_is_replaced_and_follows_when_resumed(
    make_cluster: "type[Cluster]",
) -> None:
    cluster = started(make_cluster)
    cluster.submit()
    cluster.pause("v1")
    cluster.reach(2, "v2", "v3", "v4", within_ms=3 * TIMEOUT_MS)
    for height in range(3, 6):
        cluster.submit()
        cluster.reach(height, "v2", "v3", "v4", within_ms=3 * TIMEOUT_MS)
    cluster.resume("v1")
    cluster.submit()
    cluster.reach(6, within_ms=10 * TIMEOUT_MS)
    cluster.check()


def test_messages_that_are_lost_are_repeated(make_cluster: "type[Cluster]") -> None:
    """Half of everything is lost, and nobody is replaced for long."""
    cluster = started(make_cluster, seed=3)
    cluster.loss = 0.5
    for _ in range(10):
        cluster.submit()
        cluster.run(1_000)
    cluster.loss = 0.0
    top = max(cluster.chain)
    assert top >= 4
    cluster.submit()
    cluster.reach(top + 1, within_ms=20 * TIMEOUT_MS)
    cluster.check()
