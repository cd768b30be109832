"""HotStuff and Jolteon on a whole cluster: the normal case, and faults of members and network.

The harness checks at every block that there is no fork, and `check` that no honest replica said
two things for one slot. What only one of the two does is in `test_jolteon.py` and in
`test_hotstuff_rules.py`.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from consensus.interface import (
    Accuse,
    Committee,
    CommitteeChanged,
    Decide,
    Height,
    Overdue,
    RequestPayload,
)
from consensus.protocols import hotstuff, jolteon
from consensus.protocols._chain_messages import (
    GENESIS,
    ROOT,
    ChainMessage,
    Node,
    Proposal,
    Status,
    Timeout,
    Vote,
)
from crypto.interface import Digest, NodeId

if TYPE_CHECKING:
    from tests.consensus.conftest import Cluster, Parcel
    from tests.consensus.conftest import Node as Member

TIMEOUT_MS = 1_000
"""The default view timeout."""

OTHER = Digest(b"\x01" * 32)

CLAIMS = {"hotstuff": hotstuff.CLAIMS, "jolteon": jolteon.CLAIMS}

pytestmark = pytest.mark.parametrize("protocol", list(CLAIMS))


def started(
    make_cluster: "type[Cluster]", protocol: str, n: int = 4, seed: int = 0, **options: Any
) -> "Cluster":
    """The first height is executed; nothing is pending."""
    cluster = make_cluster(n, seed, protocol=protocol, **options)
    cluster.reach(1)
    cluster.run(100)
    return cluster


def counted(cluster: "Cluster") -> Counter[str]:
    """Messages between members from now on, by kind."""
    kinds: Counter[str] = Counter()

    def count(sender: NodeId, to: NodeId, message: ChainMessage) -> bool:
        kinds[type(message).__name__] += 1
        return False

    cluster.drop = count
    return kinds


def instead(
    cluster: "Cluster",
    kind: type[ChainMessage],
    change: Callable[[ChainMessage, int], list[ChainMessage]],
) -> "Callable[[Member, ChainMessage, NodeId | None], Iterator[Parcel]]":
    """A hook: for each receiver (by number), say `change(message, number)` for each `kind`."""

    def parcels(node: "Member", message: ChainMessage, to: NodeId | None) -> "Iterator[Parcel]":
        for index, name in enumerate(cluster.nodes):
            if to in {None, name}:
                lies = change(message, index) if isinstance(message, kind) else [message]
                for lie in lies:
                    yield cluster.sign(node.name, lie), NodeId(name)

    return parcels


def with_payload(proposal: ChainMessage, payload: Digest) -> Proposal:
    """The same proposal of another payload."""
    assert isinstance(proposal, Proposal)
    height = proposal.node.height + (proposal.node.payload is None)
    node = msgspec.structs.replace(proposal.node, payload=payload, height=height)
    return msgspec.structs.replace(proposal, node=node)


def other_payload(cluster: "Cluster") -> Digest:
    """A payload that everybody has and would find valid."""
    cluster.payloads[OTHER] = (10_000,)
    for node in cluster.nodes.values():
        node.kept[OTHER] = None
    return OTHER


def all_done(cluster: "Cluster", *names: str) -> Callable[[], bool]:
    nodes = [cluster[name] for name in names or cluster.nodes]
    return lambda: not any(node.mempool for node in nodes)


# --- The normal case. ----------------------------------------------------------------------------


def test_the_first_height_is_decided_though_nothing_is_pending(
    make_cluster: "type[Cluster]", protocol: str
) -> None:
    cluster = make_cluster(protocol=protocol)
    cluster.reach(1, within_ms=200)
    assert cluster.payloads[cluster.chain[1][0]] == ()


@pytest.mark.parametrize("n", [4, 7])
def test_a_decision_takes_as_many_delays_as_claimed(
    make_cluster: "type[Cluster]", protocol: str, n: int
) -> None:
    cluster = started(make_cluster, protocol, n)
    cluster.delay_ms = (100, 100)
    before = cluster.now
    cluster.submit()
    cluster.reach(2)
    delays = CLAIMS[protocol].delays
    assert delays * 100 <= cluster.now - before < (delays + 1) * 100


@pytest.mark.parametrize("n", [4, 7, 13])
def test_a_view_takes_one_proposal_to_each_and_one_vote_of_each_and_nothing_else(
    make_cluster: "type[Cluster]", protocol: str, n: int
) -> None:
    """The claim O(n)."""
    cluster = started(make_cluster, protocol, n)
    view = max(node.view for node in cluster.nodes.values())
    kinds = counted(cluster)
    for _ in range(20):
        cluster.submit(2)
        cluster.run(20)
    cluster.run(1_000)
    views = max(node.view for node in cluster.nodes.values()) - view
    assert views > 20
    assert set(kinds) == {"Proposal", "Vote"}
    assert kinds["Proposal"] == views * (n - 1)
    assert kinds["Vote"] <= views * (n - 1)
    cluster.check()


def test_only_height_one_is_empty_and_nothing_is_ordered_twice(
    make_cluster: "type[Cluster]", protocol: str
) -> None:
    """Filler decides nothing; what is in flight is named and not proposed again."""
    cluster = started(make_cluster, protocol)
    cluster.delay_ms = (50, 50)
    for _ in range(5):
        cluster.submit(20)
        cluster.run(130)
    assert cluster.run(30_000, all_done(cluster))
    ordered = [cluster.payloads[cluster.chain[height][0]] for height in sorted(cluster.chain)]
    assert all(ordered[1:])
    assert sorted(tx for payload in ordered for tx in payload) == list(range(1, 101))
    decisions = cluster["v3"].said(Decide)
    assert [item.height for item in decisions] == sorted(cluster.chain)


def test_nothing_runs_and_nobody_speaks_while_nothing_is_pending(
    make_cluster: "type[Cluster]", protocol: str
) -> None:
    cluster = started(make_cluster, protocol)
    cluster.submit(3)
    cluster.reach(2)
    cluster.run(5_000)
    said = {name: len(node.outputs) for name, node in cluster.nodes.items()}
    assert not any(node.timers for node in cluster.nodes.values())
    cluster.run(60_000)
    assert said == {name: len(node.outputs) for name, node in cluster.nodes.items()}
    cluster.submit()  # And it still works.
    cluster.reach(3, within_ms=500)


def test_a_leader_leaves_no_more_payloads_open_than_the_window(
    make_cluster: "type[Cluster]", protocol: str
) -> None:
    cluster = started(make_cluster, protocol, window=1)
    cluster.submit(40)
    assert cluster.run(30_000, all_done(cluster))
    asked = [item.ticket for node in cluster.nodes.values() for item in node.said(RequestPayload)]
    assert {len(ticket.parents) for ticket in asked} == {0}
    wide = started(make_cluster, protocol, window=16)
    wide.submit(40)
    assert wide.run(30_000, all_done(wide))
    asked = [item.ticket for node in wide.nodes.values() for item in node.said(RequestPayload)]
    assert max(len(ticket.parents) for ticket in asked) > 1


@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_arrival_has_no_say(
    make_cluster: "type[Cluster]", protocol: str, seed: int
) -> None:
    cluster = make_cluster(seed=seed, protocol=protocol)
    cluster.delay_ms, cluster.repeats = (1, 120), 0.3
    for _ in range(20):
        cluster.submit(3)
        cluster.run(40)
    cluster.reach(5)
    assert cluster.run(30_000, all_done(cluster))
    cluster.check()


@pytest.mark.parametrize("members", [1, 2, 3, 5, 6, 10])
def test_committees_of_any_size_decide(
    make_cluster: "type[Cluster]", protocol: str, members: int
) -> None:
    cluster = make_cluster(members, protocol=protocol)
    cluster.submit()
    cluster.reach(2)
    cluster.check()


def test_what_is_remembered_does_not_grow(make_cluster: "type[Cluster]", protocol: str) -> None:
    cluster = started(make_cluster, protocol)
    remembered = []
    for height in range(2, 90):
        cluster.submit()
        cluster.reach(height)
        remembered.append(max(len(node.remembered) for node in cluster.nodes.values()))
    assert max(remembered[60:]) <= max(remembered[:60]) <= 90


# --- Faulty leaders. -----------------------------------------------------------------------------


@pytest.mark.parametrize("silent", ["v1", "v2", "v3", "v4"])
def test_one_silent_member_of_four_stops_nothing(
    make_cluster: "type[Cluster]", protocol: str, silent: str
) -> None:
    """Three leaders in a row are followed by a silent one, which collects the third's votes."""
    cluster = started(make_cluster, protocol)
    cluster.crash(silent)
    others = [name for name in cluster.nodes if name != silent]
    for height in range(2, 6):
        cluster.submit()
        cluster.reach(height, *others, within_ms=10 * TIMEOUT_MS)
    cluster.start(silent)
    cluster.submit()
    cluster.reach(6, within_ms=10 * TIMEOUT_MS)
    cluster.check()


@pytest.mark.parametrize("silent", [("v1", "v2"), ("v1", "v3"), ("v2", "v5"), ("v3", "v6")])
def test_f_silent_members_of_seven_stop_nothing(
    make_cluster: "type[Cluster]", protocol: str, silent: tuple[str, str]
) -> None:
    cluster = started(make_cluster, protocol, 7)
    cluster.crash(*silent)
    others = [name for name in cluster.nodes if name not in silent]
    for height in range(2, 5):
        cluster.submit()
        cluster.reach(height, *others, within_ms=30 * TIMEOUT_MS)
    cluster.check()


def test_f_plus_one_silent_members_stop_everything_and_fork_nothing(
    make_cluster: "type[Cluster]", protocol: str
) -> None:
    cluster = started(make_cluster, protocol)
    cluster.crash("v1", "v4")
    cluster.submit()
    cluster.run(60 * TIMEOUT_MS)
    assert {cluster[name].height for name in ("v2", "v3")} == {1}
    cluster.start("v4")
    cluster.reach(2, "v2", "v3", "v4")
    cluster.start("v1")
    cluster.reach(2)
    cluster.check()


def test_a_leader_that_lives_but_does_not_propose_is_passed_over(
    make_cluster: "type[Cluster]", protocol: str
) -> None:
    cluster = started(make_cluster, protocol)
    cluster.hooks[NodeId("v2")] = instead(cluster, Proposal, lambda *_: [])
    cluster.submit(5)
    cluster.reach(2, within_ms=6 * TIMEOUT_MS)
    assert cluster.run(20_000, all_done(cluster))
    cluster.check()


@pytest.mark.parametrize("split", [1, 2, 3])
def test_an_equivocating_leader_never_splits_a_decision(
    make_cluster: "type[Cluster]", protocol: str, split: int
) -> None:
    cluster = started(make_cluster, protocol)
    other = other_payload(cluster)
    cluster.hooks[NodeId("v2")] = instead(
        cluster, Proposal, lambda m, i: [with_payload(m, other) if i >= split else m]
    )
    cluster.submit(20)
    assert cluster.run(60_000, all_done(cluster, "v1", "v3", "v4"))
    cluster.check(["v2"])


def test_two_proposals_for_one_view_are_evidence(
    make_cluster: "type[Cluster]", protocol: str
) -> None:
    cluster = started(make_cluster, protocol)
    other = other_payload(cluster)
    cluster.hooks[NodeId("v2")] = instead(
        cluster, Proposal, lambda m, _: [m, with_payload(m, other)]
    )
    cluster.delay_ms = (1, 1)
    for height in range(2, 6):
        cluster.submit()
        cluster.reach(height, within_ms=6 * TIMEOUT_MS)
    for name in ("v1", "v3", "v4"):
        evidence = cluster[name].said(Accuse)
        assert {item.culprit for item in evidence} == {"v2"}
        slots = [item.first.message.slot() for item in evidence]
        assert len(slots) == len(set(slots))
        assert all(item.first.message.slot() == item.second.message.slot() for item in evidence)
    cluster.check(["v2"])


def test_equivocating_votes_count_once_and_are_evidence(
    make_cluster: "type[Cluster]", protocol: str
) -> None:
    cluster = started(make_cluster, protocol)
    cluster.hooks[NodeId("v4")] = instead(
        cluster, Vote, lambda m, _: [m, msgspec.structs.replace(m, node=OTHER)]
    )
    for height in range(2, 6):
        cluster.submit()
        cluster.reach(height, within_ms=TIMEOUT_MS)
    assert {a.culprit for name in ("v1", "v2", "v3") for a in cluster[name].said(Accuse)} == {"v4"}
    cluster.check(["v4"])


def test_an_invalid_payload_ends_the_view_and_the_others_go_on(
    make_cluster: "type[Cluster]", protocol: str
) -> None:
    cluster = started(make_cluster, protocol)
    cluster.invalid.add(1)
    leader = max(cluster.nodes.values(), key=lambda node: node.view)
    cluster.submit(1, leader.name)
    for node in cluster.nodes.values():
        if node is not leader:
            node.done_with.add(1)
    cluster.run(10)
    others = [name for name in cluster.nodes if name != leader.name]
    cluster.submit(1, *others)
    assert cluster.run(5 * TIMEOUT_MS, all_done(cluster, *others))
    decided = [cluster.payloads[key] for payloads in cluster.chain.values() for key in payloads]
    assert not any(1 in transactions for transactions in decided)
    assert any("invalid payload" in cluster[name].reasons() for name in others)


def test_what_one_member_censors_another_orders(
    make_cluster: "type[Cluster]", protocol: str
) -> None:
    """`Overdue` is not needed: the next view has another leader."""
    cluster = started(make_cluster, protocol)
    cluster["v1"].done_with.add(1)  # v1 acts as if it did not know.
    cluster.submit(1, "v2", "v3", "v4")
    for _ in range(20):
        cluster.submit(1)
        cluster.run(20)
        cluster.step(cluster["v3"], Overdue(1))
    assert not cluster["v3"].mempool.get(1)
    cluster.check()


def test_a_leader_that_leaves_a_decided_branch_is_not_followed(
    make_cluster: "type[Cluster]", protocol: str
) -> None:
    """One replica decides and falls silent; then a liar extends genesis, with another payload.

    The others do not know that anything was decided, and their late votes are lost.
    """
    cluster = make_cluster(protocol=protocol)
    other = other_payload(cluster)
    last = hotstuff.CHAIN + 1 if protocol == "hotstuff" else jolteon.CHAIN + 1
    decider = f"v{last % 4 + 1}"
    liar = f"v{(last + 1) % 4 + 1}"

    def hidden(sender: NodeId, to: NodeId, message: ChainMessage) -> bool:
        late = not isinstance(message, Proposal) or message.node.view >= last
        return to != sender and sender == decider and late

    cluster.drop = hidden
    assert cluster.run(5_000, lambda: cluster[decider].height == 1)
    cluster.crash(decider)
    cluster.drop = lambda _, __, message: isinstance(message, Vote)
    honest = [name for name in cluster.nodes if name not in {decider, liar}]
    assert [cluster[name].height for name in honest] == [0, 0]
    forks = []

    def fork(message: ChainMessage, _: int) -> list[ChainMessage]:
        assert isinstance(message, Proposal)
        if message.gave_up is None:
            return [message]
        forks.append(message.node.view)
        node = Node(message.node.view, 1, GENESIS, 0, other)
        return [Proposal(node, ROOT, message.gave_up)]

    cluster.hooks[NodeId(liar)] = instead(cluster, Proposal, fork)
    assert cluster.run(10 * TIMEOUT_MS, lambda: bool(forks))
    cluster.run(100)
    assert [cluster[name].height for name in honest] == [0, 0]
    assert all("not safe" in cluster[name].reasons() for name in honest)
    del cluster.hooks[NodeId(liar)]
    cluster.drop = lambda *_: False
    cluster.reach(1, *honest, within_ms=60_000)
    cluster.start(decider)
    cluster.submit()
    cluster.reach(2)
    cluster.check([liar])


# --- Faults of the network. ----------------------------------------------------------------------


@pytest.mark.parametrize("loss", [0.02, 0.2])
@pytest.mark.parametrize("seed", range(4))
def test_lost_messages_cost_time_and_nothing_else(
    make_cluster: "type[Cluster]", protocol: str, loss: float, seed: int
) -> None:
    cluster = make_cluster(seed=seed, protocol=protocol)
    cluster.loss = loss
    cluster.submit(10)
    cluster.reach(2, within_ms=120_000)
    assert cluster.run(240_000, all_done(cluster))
    cluster.check()


def test_a_partition_without_a_quorum_decides_nothing_and_heals(
    make_cluster: "type[Cluster]", protocol: str
) -> None:
    cluster = started(make_cluster, protocol)
    cluster.partition(["v1", "v2"], ["v3", "v4"])
    cluster.submit()
    cluster.run(30 * TIMEOUT_MS)
    assert {node.height for node in cluster.nodes.values()} == {1}
    cluster.heal()
    cluster.reach(2, within_ms=70 * TIMEOUT_MS)
    cluster.check()


def test_who_was_cut_off_follows_again(make_cluster: "type[Cluster]", protocol: str) -> None:
    cluster = started(make_cluster, protocol)
    cluster.partition(["v1", "v2", "v3"])
    for height in range(2, 8):
        cluster.submit()
        cluster.reach(height, "v1", "v2", "v3", within_ms=10 * TIMEOUT_MS)
    cluster.heal()
    cluster.reach(7, within_ms=5 * TIMEOUT_MS)
    cluster.submit()
    cluster.reach(8, within_ms=5 * TIMEOUT_MS)
    assert len({node.view for node in cluster.nodes.values()}) <= 2
    cluster.check()


def test_who_missed_everything_gets_the_nodes_from_others_without_a_sync(
    make_cluster: "type[Cluster]", protocol: str
) -> None:
    """C17: blocks cannot be fetched here, but nodes can."""
    cluster = started(make_cluster, protocol)
    cluster.syncs = False
    cluster.drop = lambda _, to, message: to == "v4" and not isinstance(message, Status)
    for _ in range(5):
        cluster.submit()
        cluster.run(3 * TIMEOUT_MS)
    assert cluster["v1"].height > cluster["v4"].height
    cluster.drop = lambda *_: False
    cluster.submit()
    assert cluster.run(20 * TIMEOUT_MS, all_done(cluster))
    cluster.check()


@pytest.mark.parametrize("name", ["v1", "v3"])
def test_a_paused_process_wakes_up_and_follows(
    make_cluster: "type[Cluster]", protocol: str, name: str
) -> None:
    cluster = started(make_cluster, protocol)
    cluster.pause(name)
    cluster.submit(3)
    cluster.run(10 * TIMEOUT_MS)
    cluster.resume(name)
    cluster.submit()
    assert cluster.run(20 * TIMEOUT_MS, all_done(cluster))
    cluster.check()


# --- What is shown, and what is refused. ---------------------------------------------------------


def test_progress_names_whom_we_wait_for(make_cluster: "type[Cluster]", protocol: str) -> None:
    cluster = started(make_cluster, protocol)
    assert cluster["v2"].protocol is not None
    assert cluster["v2"].protocol.progress().waiting_for == ()
    cluster.crash("v3", "v4")
    cluster.submit()
    cluster.run(2 * TIMEOUT_MS)
    progress = cluster["v2"].protocol.progress()
    assert set(progress.waiting_for) == {"v3", "v4"}
    assert progress.phase == "view-change"
    assert progress.leader == f"v{progress.view % 4 + 1}"


@pytest.mark.parametrize(
    "wrong",
    [
        {"view_timeout_ms": 0},
        {"view_timeout_ms": 100, "view_timeout_ms_max": 99},
        {"window": 0},
        {"window": 129},
        {"resend_ms": 0},
    ],
)
def test_options_that_cannot_work_are_refused_by_name(protocol: str, wrong: dict[str, int]) -> None:
    module = {"hotstuff": hotstuff, "jolteon": jolteon}[protocol]
    module.Options()
    with pytest.raises(ValueError, match="|".join(wrong)):
        module.Options(**wrong)


def test_another_committee_is_refused_loudly(make_cluster: "type[Cluster]", protocol: str) -> None:
    cluster = make_cluster(protocol=protocol)
    running = cluster["v1"].protocol
    assert running is not None
    changed = CommitteeChanged(Height(9), Committee(1, (NodeId("v1"),)))
    with pytest.raises(AssertionError, match="committee"):
        running.step(changed)


def test_a_timeout_that_claims_too_much_delays_nobody(
    make_cluster: "type[Cluster]", protocol: str
) -> None:
    """C8: v4 claims certificates of views that nobody has seen."""
    cluster = started(make_cluster, protocol)
    cluster.hooks[NodeId("v4")] = instead(
        cluster, Timeout, lambda m, _: [msgspec.structs.replace(m, certified=1 << 40)]
    )
    cluster.hooks[NodeId("v1")] = instead(cluster, Proposal, lambda *_: [])
    for height in range(2, 5):
        cluster.submit()
        cluster.reach(height, within_ms=12 * TIMEOUT_MS)
    cluster.check()
