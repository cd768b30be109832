"""Tendermint: the normal case, faults of proposers and of the network, and the rules of the lock.

The harness checks at every block that there is no fork, and `check` that no honest replica said
two things for one slot.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from consensus.interface import (
    Accuse,
    CheckPayload,
    Committee,
    CommitteeChanged,
    Decide,
    Height,
    Overdue,
    Received,
    RequestPayload,
    Send,
)
from consensus.protocols import tendermint
from consensus.protocols._heights import COMMITS_KEPT
from consensus.protocols._tendermint_messages import (
    NIL,
    NONE,
    Message,
    Precommit,
    Prevote,
    ProofOfLock,
    Proposal,
    RoundEnd,
    Status,
)
from crypto.interface import Digest, NodeId

if TYPE_CHECKING:
    from tests.consensus.conftest import Cluster, Node, Parcel

ONE = Digest(b"\x01" * 32)
TWO = Digest(b"\x02" * 32)
ROUND_MS = 1_500
"""A round 0 that fails: its propose and its precommit timeout."""

LEADERS = pytest.mark.parametrize("leader", ["sticky", "rotating"])


def started(make_cluster: "type[Cluster]", n: int = 4, seed: int = 0, **given: Any) -> "Cluster":
    cluster = make_cluster(n, seed, protocol="tendermint", **{"leader": "sticky", **given})
    cluster.reach(1)
    cluster.run(50)
    return cluster


def sent(cluster: "Cluster", name: str, kind: type[Message], height: int = 0) -> list[Any]:
    said = [output.message for output in cluster[name].said(Send)]
    return [m for m in said if isinstance(m, kind) and (not height or m.height == height)]  # type: ignore[union-attr]


def signed_by(cluster: "Cluster", message: Message, *authors: str) -> tuple[Any, ...]:
    return tuple(cluster.sign(NodeId(author), message) for author in authors)


def tell(cluster: "Cluster", name: str, author: str, message: Message, by: str = "") -> None:
    """Deliver a message that `author` signed, through `by`."""
    signed = cluster.sign(NodeId(author), message)
    cluster.step(cluster[name], Received(NodeId(by or author), signed))
    cluster.run(10)


def instead(
    cluster: "Cluster", kind: type[Message], change: Callable[[Message, int], list[Message]]
) -> "Callable[[Node, Message, NodeId | None], Iterator[Parcel]]":
    """A hook: for each receiver (by number), say `change(message, number)` for each `kind`."""

    def parcels(node: "Node", message: Message, to: NodeId | None) -> "Iterator[Parcel]":
        for index, name in enumerate(cluster.nodes):
            if to in {None, name}:
                lies = change(message, index) if isinstance(message, kind) else [message]
                for lie in lies:
                    yield cluster.sign(node.name, lie), NodeId(name)

    return parcels


def known(cluster: "Cluster", payload: Digest) -> Digest:
    """A payload that everybody has and would find valid."""
    cluster.payloads[payload] = (10_000 + payload[0],)
    for node in cluster.nodes.values():
        node.kept[payload] = None
    return payload


def alone(make_cluster: "type[Cluster]", **given: Any) -> "Cluster":
    """v2 alone at height 2: what it hears is what a test tells it. ONE and TWO can be fetched."""
    cluster = started(make_cluster, **given)
    cluster.partition()
    cluster.syncs = False
    known(cluster, ONE)
    known(cluster, TWO)
    return cluster


def last(cluster: "Cluster", kind: type[Message], name: str = "v2") -> Any:
    return sent(cluster, name, kind, height=2)[-1]


# --- The normal case. ----------------------------------------------------------------------------


@LEADERS
def test_a_decision_takes_three_steps_and_two_votes_of_each(
    make_cluster: "type[Cluster]", leader: str
) -> None:
    cluster = started(make_cluster, leader=leader)
    cluster.delay_ms = (10, 10)
    begun = cluster.now
    cluster.submit()
    cluster.reach(2)
    assert cluster.now - begun < (tendermint.CLAIMS.delays + 1) * 10
    cluster.submit()
    cluster.reach(3)
    proposals = [len(sent(cluster, name, Proposal)) for name in cluster.nodes]
    assert sorted(proposals) == ([0, 1, 1, 1] if leader == "rotating" else [0, 0, 0, 3])
    for name in cluster.nodes:
        assert len(sent(cluster, name, Prevote)) == len(sent(cluster, name, Precommit)) == 3
        decisions = cluster[name].said(Decide)
        assert [(decision.height, decision.view) for decision in decisions] == [
            (1, 0), (2, 0), (3, 0),
        ]  # fmt: skip
    cluster.check()


def test_the_first_height_is_empty_and_decided_though_nothing_is_pending(
    make_cluster: "type[Cluster]",
) -> None:
    cluster = make_cluster(4, protocol="tendermint")
    cluster.reach(1, within_ms=200)
    assert cluster.payloads[cluster.chain[1][0]] == ()


@LEADERS
def test_nothing_runs_and_nobody_speaks_while_nothing_is_pending(
    make_cluster: "type[Cluster]", leader: str
) -> None:
    cluster = started(make_cluster, leader=leader)
    cluster.submit(3)
    cluster.reach(2)
    cluster.run(5_000)
    said = {name: len(node.outputs) for name, node in cluster.nodes.items()}
    assert not any(node.timers for node in cluster.nodes.values())
    cluster.run(60_000)
    assert said == {name: len(node.outputs) for name, node in cluster.nodes.items()}
    cluster.submit()  # And it still works.
    cluster.reach(3, within_ms=500)
    assert [node.said(Decide)[-1].view for node in cluster.nodes.values()] == [0] * 4


@pytest.mark.parametrize("members", [1, 2, 3, 5, 6, 10])
def test_committees_of_any_size_decide(make_cluster: "type[Cluster]", members: int) -> None:
    cluster = started(make_cluster, members, leader="rotating")
    cluster.submit()
    cluster.reach(2)
    cluster.check()


def test_progress_names_whom_we_wait_for(make_cluster: "type[Cluster]") -> None:
    cluster = started(make_cluster)
    protocol = cluster["v2"].protocol
    assert protocol is not None
    assert protocol.progress().waiting_for == ()
    cluster.crash("v3", "v4")
    cluster.submit()
    cluster.run(200)
    progress = protocol.progress()
    assert set(progress.waiting_for) == {"v3", "v4"}
    assert (progress.view, progress.leader, progress.phase) == (0, "v1", "prevote")


def test_options_that_cannot_work_are_refused_by_name() -> None:
    tendermint.Options()
    for name in ("propose_timeout_ms", "vote_timeout_ms", "timeout_step_ms", "resend_ms"):
        for value in (0, 60_001):
            with pytest.raises(ValueError, match=name):
                tendermint.Options(**{name: value})


def test_another_committee_is_refused_loudly(make_cluster: "type[Cluster]") -> None:
    protocol = started(make_cluster)["v1"].protocol
    assert protocol is not None
    with pytest.raises(AssertionError, match="committee"):
        protocol.step(CommitteeChanged(Height(9), Committee(1, (NodeId("v1"),))))


# --- Proposers. ----------------------------------------------------------------------------------


@LEADERS
def test_a_silent_proposer_costs_one_round(make_cluster: "type[Cluster]", leader: str) -> None:
    cluster = started(make_cluster, leader=leader)
    silent = "v1" if leader == "sticky" else "v3"
    others = [name for name in cluster.nodes if name != silent]
    cluster.crash(silent)
    cluster.submit()
    cluster.reach(2, *others, within_ms=ROUND_MS + 500)
    assert cluster[others[0]].said(Decide)[-1].view == 1
    cluster.start(silent)
    cluster.submit()
    cluster.reach(3, within_ms=5 * ROUND_MS)
    assert cluster["v2"].view == 0, "each height begins with round 0"
    cluster.check()


@LEADERS
@pytest.mark.parametrize("split", [1, 2, 3])
def test_an_equivocating_proposer_splits_no_decision_and_is_accused(
    make_cluster: "type[Cluster]", split: int, leader: str
) -> None:
    cluster = started(make_cluster, leader=leader)
    liar = "v1" if leader == "sticky" else "v3"
    honest = [name for name in cluster.nodes if name != liar]
    other = known(cluster, ONE)
    cluster.hooks[NodeId(liar)] = instead(
        cluster, Proposal, lambda m, i: [msgspec.structs.replace(m, payload=other), m][
            :: 1 if i >= split else -1
        ]
    )  # fmt: skip
    cluster.submit(2)
    cluster.reach(2, *honest, within_ms=10 * ROUND_MS)
    cluster.run(2_000)
    accused = {a.culprit for name in honest for a in cluster[name].said(Accuse)}
    assert accused == {liar}
    cluster.check([liar])


def test_a_proposal_by_another_than_the_proposer_is_refused(make_cluster: "type[Cluster]") -> None:
    cluster = alone(make_cluster)
    tell(cluster, "v2", "v3", Proposal(2, 0, ONE, NONE, ()))
    assert "proposal not by the proposer" in cluster["v2"].reasons()
    assert not sent(cluster, "v2", Prevote, 2)
    tell(cluster, "v2", "v1", Proposal(2, 0, ONE, NONE, ()))
    assert last(cluster, Prevote) == Prevote(2, 0, ONE)


def test_an_invalid_payload_gets_a_vote_for_nothing(make_cluster: "type[Cluster]") -> None:
    cluster = alone(make_cluster)
    cluster.invalid.update(cluster.payloads[ONE])
    tell(cluster, "v2", "v1", Proposal(2, 0, ONE, NONE, ()))
    assert last(cluster, Prevote) == Prevote(2, 0, NIL)
    assert "invalid payload" in cluster["v2"].reasons()


def test_a_censor_that_leads_each_height_is_passed_over(make_cluster: "type[Cluster]") -> None:
    cluster = started(make_cluster)
    cluster["v1"].done_with.add(1)  # v1 acts as if it did not know.
    cluster.submit(1, "v2", "v3", "v4")

    def busy() -> bool:
        cluster.submit()
        cluster.run(100)
        return 1 not in cluster["v3"].mempool

    assert any(busy() for _ in range(100))
    cluster.check()


def test_complaints_pass_over_f_members_and_no_more(make_cluster: "type[Cluster]") -> None:
    cluster = started(make_cluster)
    for height in range(2, 9):
        for node in cluster.nodes.values():
            for _ in range(5):
                cluster.step(node, Overdue(1))
        cluster.submit()
        cluster.reach(height, within_ms=3 * ROUND_MS)
    views = [decision.view for decision in cluster["v2"].said(Decide)]
    assert 1 <= max(views) <= 2
    rotating = started(make_cluster, leader="rotating")
    for node in rotating.nodes.values():
        rotating.step(node, Overdue(1))
    rotating.submit()
    rotating.reach(2, within_ms=500)  # The next height has another leader anyway.


# --- The lock (T3 to T6). ------------------------------------------------------------------------


def locked(make_cluster: "type[Cluster]", **given: Any) -> "Cluster":
    """v2 is locked on ONE in round 0 of height 2, and now in round 2."""
    cluster = alone(make_cluster, **given)
    tell(cluster, "v2", "v1", Proposal(2, 0, ONE, NONE, ()))
    for author in ("v3", "v4"):
        tell(cluster, "v2", author, Prevote(2, 0, ONE))
    assert last(cluster, Precommit) == Precommit(2, 0, ONE)
    for author in ("v3", "v4"):
        tell(cluster, "v2", author, Precommit(2, 2, NIL))
    assert cluster["v2"].view == 2
    return cluster


@pytest.mark.parametrize("restarted", [False, True])
def test_a_locked_replica_refuses_another_value(
    make_cluster: "type[Cluster]", restarted: bool
) -> None:
    cluster = locked(make_cluster)
    if restarted:
        cluster.restart("v2")
        cluster.run(20)
    tell(cluster, "v2", "v3", Proposal(2, 2, TWO, NONE, ()))
    assert last(cluster, Prevote) == Prevote(2, 2, NIL)


def test_a_locked_replica_accepts_its_own_value(make_cluster: "type[Cluster]") -> None:
    cluster = locked(make_cluster)
    tell(cluster, "v2", "v3", Proposal(2, 2, ONE, NONE, ()))
    assert last(cluster, Prevote) == Prevote(2, 2, ONE)


def test_a_lock_yields_to_a_proof_of_a_later_round(make_cluster: "type[Cluster]") -> None:
    cluster = locked(make_cluster)
    proof = signed_by(cluster, Prevote(2, 1, TWO), "v1", "v3", "v4")
    tell(cluster, "v2", "v3", Proposal(2, 2, TWO, 1, proof))
    assert last(cluster, Prevote) == Prevote(2, 2, TWO)


def test_a_lock_does_not_yield_to_a_proof_of_an_earlier_round(
    make_cluster: "type[Cluster]",
) -> None:
    cluster = locked(make_cluster)
    for author in ("v1", "v3"):
        tell(cluster, "v2", author, Precommit(2, 3, NIL))
    tell(cluster, "v2", "v4", Proposal(2, 3, ONE, NONE, ()))
    for author in ("v1", "v3", "v4"):
        tell(cluster, "v2", author, Prevote(2, 3, ONE))
    assert last(cluster, Precommit) == Precommit(2, 3, ONE)
    for author in ("v1", "v3"):
        tell(cluster, "v2", author, Precommit(2, 4, NIL))
    proof = signed_by(cluster, Prevote(2, 1, TWO), "v1", "v3", "v4")
    tell(cluster, "v2", "v1", Proposal(2, 4, TWO, 1, proof))
    assert last(cluster, Prevote) == Prevote(2, 4, NIL)


LIES: dict[str, Callable[["Cluster"], tuple[int, Any]]] = {
    "no quorum": lambda c: (1, signed_by(c, Prevote(2, 1, TWO), "v1", "v3")),
    "author counted twice": lambda c: (1, signed_by(c, Prevote(2, 1, TWO), "v1", "v3", "v3")),
    "prevotes differ": lambda c: (
        1, (*signed_by(c, Prevote(2, 1, TWO), "v1", "v3"), *signed_by(c, Prevote(2, 1, ONE), "v4")),
    ),
    "votes of several rounds": lambda c: (
        1, (*signed_by(c, Prevote(2, 1, TWO), "v1", "v3"), *signed_by(c, Prevote(2, 0, TWO), "v4")),
    ),
    "proof of something else": lambda c: (1, signed_by(c, Prevote(2, 0, TWO), "v1", "v3", "v4")),
    "proof of a later round": lambda c: (2, signed_by(c, Prevote(2, 2, TWO), "v1", "v3", "v4")),
    "proof of no round": lambda c: (NONE, signed_by(c, Prevote(2, 1, TWO), "v1", "v3", "v4")),
    "author is not a member": lambda c: (1, signed_by(c, Prevote(2, 1, TWO), "v1", "v3", "v9")),
}  # fmt: skip


@pytest.mark.parametrize("reason", LIES)
def test_a_proof_that_proves_nothing_opens_no_lock(
    make_cluster: "type[Cluster]", reason: str
) -> None:
    cluster = locked(make_cluster)
    valid_view, proof = LIES[reason](cluster)
    tell(cluster, "v2", "v3", Proposal(2, 2, TWO, valid_view, proof))
    assert reason in cluster["v2"].reasons()
    assert last(cluster, Prevote) == Prevote(2, 0, ONE), "nothing was said in round 2"


def test_a_new_proposer_proposes_what_a_quorum_prevoted_with_the_proof(
    make_cluster: "type[Cluster]",
) -> None:
    cluster = alone(make_cluster)
    for author in ("v1", "v3", "v4"):
        tell(cluster, "v2", author, Prevote(2, 0, ONE))
    for author in ("v3", "v4"):
        tell(cluster, "v2", author, Prevote(2, 1, NIL))  # Round 1 is v2's.
    proposal = last(cluster, Proposal)
    assert (proposal.view, proposal.payload, proposal.valid_view) == (1, ONE, 0)
    assert {signed.author for signed in proposal.proof} == {"v1", "v3", "v4"}


def test_what_one_decided_alone_is_what_the_others_decide(make_cluster: "type[Cluster]") -> None:
    """v2 decides with v1 and v3, and dies. v4 saw no quorum, so the round fails for the others."""
    cluster = started(make_cluster)
    cluster.drop = lambda sender, to, message: (
        (isinstance(message, Precommit) and to != "v2")
        or (to == "v4" and (isinstance(message, Proposal | ProofOfLock) or sender == "v2"))
    )
    cluster.submit()
    cluster.reach(2, "v2", within_ms=500)
    agreed = cluster.chain[2]
    cluster.crash("v2")
    cluster.run(2 * ROUND_MS)
    assert [m.payload for m in sent(cluster, "v4", Precommit, 2)] == [NIL]
    cluster.restart("v1", "v3", "v4")
    cluster.drop = lambda *_: False
    cluster.reach(2, "v1", "v3", "v4", within_ms=10 * ROUND_MS)
    assert cluster["v4"].said(Decide)[-1].view == 2, "v2 led round 1"
    assert cluster.chain[2] == agreed
    cluster.start("v2")
    cluster.submit()
    cluster.reach(3, within_ms=10 * ROUND_MS)
    cluster.check()


def test_the_bytes_are_here_before_anything_is_voted_for(make_cluster: "type[Cluster]") -> None:
    cluster = alone(make_cluster)
    missing = Digest(b"\x03" * 32)
    tell(cluster, "v2", "v1", Proposal(2, 0, missing, NONE, ()))
    for author in ("v1", "v3", "v4"):
        tell(cluster, "v2", author, Prevote(2, 0, missing))
        tell(cluster, "v2", author, Precommit(2, 0, missing))
    cluster.run(500)
    assert [check.payload for check in cluster["v2"].said(CheckPayload)][-1] == missing
    assert not sent(cluster, "v2", Prevote, 2)
    assert cluster["v2"].height == 1
    known(cluster, missing)
    cluster.run(200)
    assert cluster["v2"].height == 2


# --- Votes. --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Prevote, Precommit])
def test_equivocating_votes_count_once_and_are_evidence(
    make_cluster: "type[Cluster]", kind: type[Message]
) -> None:
    cluster = started(make_cluster)
    known(cluster, ONE)
    cluster.hooks[NodeId("v4")] = instead(
        cluster, kind, lambda m, _: [m, msgspec.structs.replace(m, payload=ONE)]
    )
    for height in range(2, 6):
        cluster.submit()
        cluster.reach(height, within_ms=ROUND_MS)
    cluster.run(100)
    assert {a.culprit for name in ("v1", "v2", "v3") for a in cluster[name].said(Accuse)} == {"v4"}
    cluster.check(["v4"])


def test_precommits_of_two_rounds_are_no_quorum(make_cluster: "type[Cluster]") -> None:
    cluster = alone(make_cluster)
    tell(cluster, "v2", "v1", Precommit(2, 0, ONE))
    tell(cluster, "v2", "v3", Precommit(2, 0, ONE))
    tell(cluster, "v2", "v4", Precommit(2, 1, ONE))
    cluster.run(100)
    assert cluster["v2"].height == 1
    tell(cluster, "v2", "v4", Precommit(2, 0, ONE))
    cluster.run(100)
    assert cluster["v2"].height == 2


def test_a_decision_of_any_round_can_be_shown(make_cluster: "type[Cluster]") -> None:
    cluster = alone(make_cluster)
    votes = signed_by(cluster, Precommit(2, 40, ONE), "v1", "v3", "v4")
    tell(cluster, "v2", "v4", RoundEnd(votes[1:]))
    assert cluster["v2"].height == 1
    assert cluster["v2"].reasons()[-1] == "no quorum"
    tell(cluster, "v2", "v4", RoundEnd(votes))
    cluster.run(100)
    assert cluster["v2"].height == 2


def test_f_plus_one_members_in_a_later_round_are_followed_and_one_is_not(
    make_cluster: "type[Cluster]",
) -> None:
    cluster = alone(make_cluster)
    for view in (1, 2, 2**62):
        tell(cluster, "v2", "v4", Precommit(2, view, NIL))
    assert cluster["v2"].view == 0
    tell(cluster, "v2", "v3", Prevote(2, 5, NIL))
    assert cluster["v2"].view == 5


def test_a_flood_of_future_heights_and_rounds_is_bounded(make_cluster: "type[Cluster]") -> None:
    cluster = started(make_cluster)
    for far in range(10, 1_000):
        tell(cluster, "v2", "v3", Prevote(2, far, ONE))
        tell(cluster, "v2", "v3", Precommit(far, 0, ONE))
        tell(cluster, "v2", "v3", Status(far, far, far, True))
    reasons = set(cluster["v2"].reasons())
    assert {"view too far ahead", "height too far ahead", "status too often"} <= reasons
    protocol: Any = cluster["v2"].protocol
    assert len(protocol._ballots._votes.slots()) < 30
    cluster.submit()
    cluster.reach(2, within_ms=ROUND_MS)


def test_votes_of_rounds_long_past_are_not_kept(make_cluster: "type[Cluster]") -> None:
    cluster = alone(make_cluster)
    for author in ("v3", "v4"):
        tell(cluster, "v2", author, Precommit(2, 40, NIL))
    assert cluster["v2"].view == 40
    protocol: Any = cluster["v2"].protocol
    held = len(protocol._ballots._votes.slots())
    for view in range(39):
        tell(cluster, "v2", "v3", Precommit(2, view, ONE))
    assert len(protocol._ballots._votes.slots()) == held
    assert cluster["v2"].reasons()[-1] == "old view"
    tell(cluster, "v2", "v3", Precommit(2, 39, ONE))
    assert len(protocol._ballots._votes.slots()) == held + 1, "stragglers of the last one are"


def test_an_own_vote_counts_once_and_only_when_it_is_durable(
    make_cluster: "type[Cluster]",
) -> None:
    cluster = alone(make_cluster)
    tell(cluster, "v2", "v1", Proposal(2, 0, ONE, NONE, ()))
    for by in ("v2", "v1", "v3", "v4"):
        tell(cluster, "v2", "v2", Prevote(2, 0, ONE), by=by)
    tell(cluster, "v2", "v3", Prevote(2, 0, ONE))
    assert not sent(cluster, "v2", Precommit, 2)
    tell(cluster, "v2", "v4", Prevote(2, 0, ONE))
    assert last(cluster, Precommit) == Precommit(2, 0, ONE)


# --- Liveness. -----------------------------------------------------------------------------------


@LEADERS
def test_f_silent_members_do_not_stop_the_others_and_f_plus_one_do(
    make_cluster: "type[Cluster]", leader: str
) -> None:
    cluster = started(make_cluster, 7, leader=leader)
    cluster.crash("v6", "v7")
    honest = ("v1", "v2", "v3", "v4", "v5")
    for height in range(2, 6):
        cluster.submit()
        cluster.reach(height, *honest, within_ms=4 * ROUND_MS)
    cluster.crash("v5")
    cluster.submit()
    cluster.run(120_000)
    assert max(node.height for node in cluster.nodes.values()) == 5
    cluster.start("v5")
    cluster.reach(6, *honest, within_ms=200_000)
    cluster.start("v6")
    cluster.start("v7")
    cluster.submit()
    cluster.reach(7, within_ms=200_000)
    cluster.check()


def test_rounds_do_not_run_away_without_a_quorum(make_cluster: "type[Cluster]") -> None:
    cluster = started(make_cluster)
    cluster.submit(2)
    cluster.partition(["v1", "v2"], ["v3", "v4"])
    cluster.run(300_000)
    assert max(node.view for node in cluster.nodes.values()) <= 1
    cluster.heal()
    cluster.reach(2, within_ms=5 * ROUND_MS)
    cluster.check()


def test_timeouts_grow_with_rounds_up_to_their_limit_and_shrink_with_the_next_height(
    make_cluster: "type[Cluster]",
) -> None:
    cluster = started(make_cluster, propose_timeout_ms=100, timeout_step_ms=300, timeout_ms_max=500)
    cluster.drop = lambda sender, to, message: isinstance(message, Proposal)
    cluster.submit()
    seen: list[int] = []

    def look() -> bool:
        protocol = cluster["v4"].protocol
        assert protocol is not None
        timeout_ms = protocol.progress().next_timeout_ms
        if timeout_ms not in seen[-1:]:
            seen.append(timeout_ms)
        return False

    cluster.run(8_000, look)
    assert seen == [100, 400, 500]
    cluster.drop = lambda *_: False
    cluster.reach(2)
    cluster.run(10, look)
    assert seen[-1] == 100


@LEADERS
def test_messages_that_are_lost_are_repeated(make_cluster: "type[Cluster]", leader: str) -> None:
    cluster = started(make_cluster, seed=3, leader=leader)
    cluster.loss = 0.5
    for _ in range(10):
        cluster.submit()
        cluster.run(2_000)
    cluster.loss = 0.0
    assert max(cluster.chain) >= 4
    cluster.submit()
    cluster.reach(max(cluster.chain) + 1, within_ms=20 * ROUND_MS)
    cluster.check()


def test_a_replica_that_missed_heights_is_shown_their_decisions_though_it_cannot_sync(
    make_cluster: "type[Cluster]",
) -> None:
    """T12: two hold the blocks, too few to certify them. Even after a restart of both."""
    cluster = started(make_cluster)
    cluster._sync = lambda node: None  # type: ignore[method-assign]  # nothing is certified
    cluster.partition(["v1", "v2", "v3"])
    for height in range(2, COMMITS_KEPT):
        cluster.submit()
        cluster.reach(height, "v1", "v2", "v3")
    assert cluster["v4"].height == 1
    cluster.crash("v3")
    cluster.restart("v1", "v2")
    cluster.heal()
    cluster.submit()
    cluster.reach(COMMITS_KEPT, "v1", "v2", "v4", within_ms=20_000)
    assert len(cluster["v4"].said(Decide)) == COMMITS_KEPT
    cluster.check()


def test_a_quorum_that_lost_one_precommit_each_hears_of_the_decision_of_one(
    make_cluster: "type[Cluster]",
) -> None:
    """v1 decides with v4, which then falls silent for ever. The other two need what v1 knows."""
    cluster = started(make_cluster)
    cluster.syncs = False
    cluster.drop = lambda sender, to, message: isinstance(message, Precommit) and to != "v1"
    cluster.submit()
    cluster.reach(2, "v1", within_ms=500)
    cluster.crash("v4")
    cluster.restart("v1")
    cluster.drop = lambda *_: False
    cluster.reach(2, "v1", "v2", "v3", within_ms=5_000)
    cluster.check()


@pytest.mark.parametrize("fails", [True, False])
def test_a_replica_that_locked_in_a_round_that_fails_shows_the_proof_to_all(
    make_cluster: "type[Cluster]", fails: bool
) -> None:
    """T14: the next proposer has to know it before it proposes."""
    cluster = alone(make_cluster)
    tell(cluster, "v2", "v1", Proposal(2, 0, ONE, NONE, ()))
    for author in ("v3", "v4"):
        tell(cluster, "v2", author, Prevote(2, 0, ONE))
        tell(cluster, "v2", author, Precommit(2, 0, NIL if fails else ONE))
    shown = [o for o in cluster["v2"].said(Send) if isinstance(o.message, ProofOfLock)]
    assert [(o.to, {signed.message for signed in o.message.votes}) for o in shown] == (
        [(None, {Prevote(2, 0, ONE)})] if fails else []
    )
    assert cluster["v2"].view == 0, "before the round ends"


def test_a_proof_of_lock_makes_another_replica_propose_that_value(
    make_cluster: "type[Cluster]",
) -> None:
    """T6: v2 leads round 1. It saw no vote of round 0 but through the proof."""
    cluster = alone(make_cluster)
    cluster.submit(1, "v2")
    votes = signed_by(cluster, Prevote(2, 0, ONE), "v1", "v3", "v4")
    tell(cluster, "v2", "v4", ProofOfLock(votes))
    for author in ("v3", "v4"):
        tell(cluster, "v2", author, Precommit(2, 1, NIL))
    assert last(cluster, Proposal) == Proposal(2, 1, ONE, 0, votes)


def test_the_end_of_a_round_is_proved_to_those_who_did_not_see_it(
    make_cluster: "type[Cluster]",
) -> None:
    cluster = alone(make_cluster)
    cluster.submit(1, "v2")
    for author in ("v1", "v3"):
        tell(cluster, "v2", author, Precommit(2, 0, NIL))
    votes = (
        *signed_by(cluster, Precommit(2, 0, NIL), "v1", "v3"),
        *signed_by(cluster, Precommit(2, 0, ONE), "v4"),
    )
    tell(cluster, "v2", "v4", RoundEnd(votes))
    cluster.run(400)
    assert cluster["v2"].view == 0, "late votes may still come, and with them a lock"
    cluster.run(200)
    assert cluster["v2"].view == 1
    asked = len(cluster["v2"].said(RequestPayload))
    assert asked == 1, "v2 leads round 1"
    tell(cluster, "v2", "v4", Status(1, 0, NONE, False))
    shown = [o for o in cluster["v2"].said(Send) if isinstance(o.message, RoundEnd)][-1]
    assert shown.to == "v4"
    assert set(votes) <= set(shown.message.votes)


# --- Crashes. ------------------------------------------------------------------------------------

SETTINGS: dict[str, Any] = {
    "protocol": "tendermint", "propose_timeout_ms": 300, "vote_timeout_ms": 100,
    "timeout_step_ms": 100,
}  # fmt: skip


def busy_life(cluster: "Cluster") -> None:
    """Decisions, a round that fails though all locked, and one in which nobody proposes."""
    for height in range(2, 6):
        if height == 3:
            cluster.drop = lambda sender, to, message: (
                isinstance(message, Precommit) and message.view == 0
            )
        if height == 4:
            cluster.drop = lambda sender, to, message: (
                isinstance(message, Proposal) and message.view == 0
            )
        cluster.submit(2)
        cluster.run(60 if height in {2, 5} else 700)
        cluster.drop = lambda *_: False


def comes_back(cluster: "Cluster", name: str) -> None:
    cluster[name].die_after = None
    if cluster[name].protocol is None:
        cluster.start(name)
    cluster.run(1_000)
    top = max(cluster.chain)
    cluster.submit()
    cluster.reach(top + 1, within_ms=30_000)
    assert cluster.run(30_000, lambda: not any(n.mempool for n in cluster.nodes.values()))
    cluster.check()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "leader"),
    [
        ("v1", "sticky"),
        ("v2", "rotating"),
        pytest.param("v2", "sticky", marks=pytest.mark.slow),
        pytest.param("v1", "rotating", marks=pytest.mark.slow),
    ],
)
def test_a_crash_after_any_prefix_of_outputs_contradicts_nothing(
    make_cluster: "type[Cluster]", name: str, leader: str
) -> None:
    whole = make_cluster(seed=1, leader=leader, **SETTINGS)
    busy_life(whole)
    views = {decision.view for decision in whole[name].said(Decide)}
    assert max(views) >= 1
    outputs = whole[name].done
    assert outputs > 50
    for prefix in range(outputs):
        cluster = make_cluster(seed=1, leader=leader, **SETTINGS)
        cluster[name].die_after = prefix
        busy_life(cluster)
        comes_back(cluster, name)


@pytest.mark.parametrize(
    "names", [["v1"], ["v2", "v3"], ["v2", "v3", "v4"], ["v1", "v2", "v3", "v4"]]
)
@pytest.mark.parametrize("after_ms", [0, 2, 4, 6, 9, 15])
def test_restarts_at_once_continue_the_chain(
    make_cluster: "type[Cluster]", names: list[str], after_ms: int
) -> None:
    cluster = started(make_cluster, seed=after_ms, leader="rotating")
    cluster.submit(12)
    cluster.run(after_ms)
    cluster.restart(*names)
    cluster.reach(2, within_ms=10_000)
    assert cluster.run(10_000, lambda: not any(n.mempool for n in cluster.nodes.values()))
    cluster.check()


def test_what_all_prevoted_is_not_forgotten_when_all_restart_at_once(
    make_cluster: "type[Cluster]",
) -> None:
    """Nobody heard anybody, and the proposer stays away: the prevotes have to be repeated."""
    cluster = started(make_cluster)
    cluster.drop = lambda sender, to, message: isinstance(message, Prevote)
    cluster.submit()
    cluster.run(100)
    assert all(last(cluster, Prevote, name).view == 0 for name in cluster.nodes)
    cluster.drop = lambda *_: False
    cluster.crash("v1")
    cluster.restart("v2", "v3", "v4")
    cluster.reach(2, "v2", "v3", "v4", within_ms=900)
    assert {cluster[name].said(Decide)[-1].view for name in ("v2", "v3", "v4")} == {0}
    cluster.check()


def test_a_proposer_proposes_the_same_again_after_a_restart(make_cluster: "type[Cluster]") -> None:
    cluster = started(make_cluster)
    cluster.partition()
    cluster.submit()
    cluster.run(20)
    proposed = last(cluster, Proposal, "v1")
    cluster.restart("v1")
    cluster.heal()
    cluster.reach(2, within_ms=900)
    assert cluster.chain[2] == (proposed.payload,)


def test_what_is_remembered_and_cannot_be_read_stops_the_start(
    make_cluster: "type[Cluster]",
) -> None:
    from consensus.protocols._tendermint_log import CorruptMemory  # noqa: PLC0415

    cluster = make_cluster(seed=1, **SETTINGS)
    busy_life(cluster)
    remembered = dict(cluster["v2"].remembered)
    assert {b"current", b"valid", b"proposed"} <= remembered.keys()
    for key, value in remembered.items():
        for broken in (value[:-1], value + b"\x00", b"\xff" + value[1:], b""):
            cluster.crash("v2")
            cluster["v2"].remembered = {**remembered, key: broken}
            with pytest.raises(CorruptMemory):
                cluster.start("v2")
    cluster.crash("v2")
    cluster["v2"].remembered = remembered
    cluster.start("v2")


def test_a_replica_that_lost_its_blocks_but_not_its_journal_is_silent_until_it_is_back(
    make_cluster: "type[Cluster]",
) -> None:
    """T15: its lock belongs to the height that it was in, and is not overwritten on the way."""
    cluster = locked(make_cluster)
    v2 = cluster["v2"]
    cluster.crash("v2")
    before, lost = dict(v2.remembered), list(v2.ledger)
    v2.ledger.clear()
    before = {key: value for key, value in before.items() if not key.startswith(b"commit/")}
    v2.remembered = dict(before)
    cluster.start("v2")
    tell(cluster, "v2", "v1", Proposal(1, 0, TWO, NONE, ()))
    for author in ("v3", "v4"):
        tell(cluster, "v2", author, Prevote(1, 3, NIL))
    cluster.run(5_000)
    assert v2.remembered == before
    cluster.crash("v2")
    v2.ledger = lost
    cluster.start("v2")
    tell(cluster, "v2", "v3", Proposal(2, 2, TWO, NONE, ()))
    assert last(cluster, Prevote) == Prevote(2, 2, NIL)
