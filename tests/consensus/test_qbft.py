"""QBFT: the normal case, faults of proposers and of the network, and what was prepared.

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
    Relay,
    Send,
)
from consensus.protocols import qbft
from consensus.protocols._heights import COMMITS_KEPT
from consensus.protocols._qbft_messages import (
    NONE,
    NOTHING,
    Commit,
    Decision,
    Message,
    Prepare,
    PreparedCertificate,
    Proposal,
    RoundChange,
    Status,
)
from crypto.interface import Digest, NodeId

if TYPE_CHECKING:
    from tests.consensus.conftest import Cluster, Node, Parcel

ONE = Digest(b"\x01" * 32)
TWO = Digest(b"\x02" * 32)
ROUND_MS = 1_000
"""A round 0 that fails."""

LEADERS = pytest.mark.parametrize("leader", ["sticky", "rotating"])


def started(make_cluster: "type[Cluster]", n: int = 4, seed: int = 0, **given: Any) -> "Cluster":
    cluster = make_cluster(n, seed, protocol="qbft", **{"leader": "sticky", **given})
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
    assert cluster.now - begun < (qbft.CLAIMS.delays + 1) * 10
    cluster.submit()
    cluster.reach(3)
    proposals = [len(sent(cluster, name, Proposal)) for name in cluster.nodes]
    assert sorted(proposals) == ([0, 1, 1, 1] if leader == "rotating" else [0, 0, 0, 3])
    for name in cluster.nodes:
        assert len(sent(cluster, name, Prepare)) == len(sent(cluster, name, Commit)) == 3
        decisions = cluster[name].said(Decide)
        assert [(decision.height, decision.view) for decision in decisions] == [
            (1, 0), (2, 0), (3, 0),
        ]  # fmt: skip
    cluster.check()


def test_the_first_height_is_empty_and_decided_though_nothing_is_pending(
    make_cluster: "type[Cluster]",
) -> None:
    cluster = make_cluster(4, protocol="qbft")
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
    assert (progress.view, progress.leader, progress.phase) == (0, "v1", "prepare")


def test_options_that_cannot_work_are_refused_by_name() -> None:
    qbft.Options()
    for wrong in (
        {"round_timeout_ms": 0},
        {"round_timeout_ms": 100, "round_timeout_ms_max": 99},
        {"resend_ms": 0},
    ):
        with pytest.raises(ValueError, match="|".join(wrong)):
            qbft.Options(**wrong)


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
    tell(cluster, "v2", "v3", Proposal(2, 0, ONE, (), ()))
    assert "proposal not by the proposer" in cluster["v2"].reasons()
    assert not sent(cluster, "v2", Prepare, 2)
    tell(cluster, "v2", "v1", Proposal(2, 0, ONE, (), ()))
    assert last(cluster, Prepare) == Prepare(2, 0, ONE)


def test_a_round_that_proposes_what_is_invalid_is_left_at_once(
    make_cluster: "type[Cluster]",
) -> None:
    cluster = alone(make_cluster)
    cluster.invalid.update(cluster.payloads[ONE])
    tell(cluster, "v2", "v1", Proposal(2, 0, ONE, (), ()))
    assert "invalid payload" in cluster["v2"].reasons()
    assert last(cluster, RoundChange) == RoundChange(2, 1, NONE, NOTHING)
    assert not sent(cluster, "v2", Prepare, 2)


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


# --- What was prepared (Q3, Q5, Q9). -------------------------------------------------------------


def prepared(make_cluster: "type[Cluster]", **given: Any) -> "Cluster":
    """v2 has prepared ONE in round 0 of height 2, and is now in round 2, which v3 leads."""
    cluster = alone(make_cluster, **given)
    tell(cluster, "v2", "v1", Proposal(2, 0, ONE, (), ()))
    for author in ("v3", "v4"):
        tell(cluster, "v2", author, Prepare(2, 0, ONE))
    assert last(cluster, Commit) == Commit(2, 0, ONE)
    for author in ("v3", "v4"):
        tell(cluster, "v2", author, RoundChange(2, 2, NONE, NOTHING))
    assert cluster["v2"].view == 2
    return cluster


def nothing(cluster: "Cluster", *authors: str) -> tuple[Any, ...]:
    """Round changes to round 2 of replicas that have prepared nothing."""
    return signed_by(cluster, RoundChange(2, 2, NONE, NOTHING), *authors)


@pytest.mark.parametrize("restarted", [False, True])
def test_a_round_change_says_what_was_prepared_and_the_certificate_goes_with_it(
    make_cluster: "type[Cluster]", restarted: bool
) -> None:
    cluster = prepared(make_cluster)
    if restarted:
        said = len(sent(cluster, "v2", RoundChange, 2))
        cluster.restart("v2")
        cluster.run(20)
        assert len(sent(cluster, "v2", RoundChange, 2)) == said + 1
    assert last(cluster, RoundChange) == RoundChange(2, 2, 0, ONE)
    votes = sent(cluster, "v2", PreparedCertificate)[-1].votes
    assert {signed.author for signed in votes} == {"v2", "v3", "v4"}
    assert {signed.message for signed in votes} == {Prepare(2, 0, ONE)}


@pytest.mark.parametrize("proposed", [False, True])
def test_a_peer_that_lacks_the_proposal_gets_round_change_and_certificate_again(
    make_cluster: "type[Cluster]", proposed: bool
) -> None:
    cluster = prepared(make_cluster)
    before = len(cluster["v2"].outputs)
    tell(cluster, "v2", "v3", Status(1, 2, proposed))
    given = [
        output.message if isinstance(output, Send) else output.signed.message
        for output in cluster["v2"].outputs[before:]
        if isinstance(output, Send | Relay) and output.to == "v3"
    ]
    kinds = {type(message) for message in given}
    assert kinds == ({Status} if proposed else {PreparedCertificate, RoundChange})


def test_a_proposal_that_a_quorum_prepared_is_followed(make_cluster: "type[Cluster]") -> None:
    cluster = prepared(make_cluster)
    changes = (*nothing(cluster, "v1", "v3"), *signed_by(cluster, last(cluster, RoundChange), "v2"))
    proof = signed_by(cluster, Prepare(2, 0, ONE), "v2", "v3", "v4")
    tell(cluster, "v2", "v3", Proposal(2, 2, ONE, changes, proof))
    assert last(cluster, Prepare) == Prepare(2, 2, ONE)


def test_a_quorum_that_prepared_nothing_justifies_something_new(
    make_cluster: "type[Cluster]",
) -> None:
    """v2 prepared, but no quorum can have committed: three of four say so."""
    cluster = prepared(make_cluster)
    tell(cluster, "v2", "v3", Proposal(2, 2, TWO, nothing(cluster, "v1", "v3", "v4"), ()))
    assert last(cluster, Prepare) == Prepare(2, 2, TWO)


def test_a_justified_proposal_brings_a_replica_into_its_round(
    make_cluster: "type[Cluster]",
) -> None:
    """Q8: it missed the round changes, which come with the proposal."""
    cluster = alone(make_cluster)
    tell(cluster, "v2", "v3", Proposal(2, 2, TWO, nothing(cluster, "v1", "v3", "v4"), ()))
    assert cluster["v2"].view == 2
    assert last(cluster, Prepare) == Prepare(2, 2, TWO)


def own(cluster: "Cluster") -> tuple[Any, ...]:
    """The round change of v2, which prepared ONE in round 0, beside two that prepared nothing."""
    mine = signed_by(cluster, RoundChange(2, 2, 0, ONE), "v2")
    return (*nothing(cluster, "v1", "v3"), *mine)


def proof_of(cluster: "Cluster", view: int, payload: Digest, *authors: str) -> tuple[Any, ...]:
    return signed_by(cluster, Prepare(2, view, payload), *(authors or ("v2", "v3", "v4")))


LIES: dict[str, Callable[["Cluster"], tuple[Digest, Any, Any]]] = {
    "proposal is not what was prepared": lambda c: (TWO, own(c), proof_of(c, 0, ONE)),
    "prepares of something else": lambda c: (TWO, own(c), proof_of(c, 0, TWO)),
    "prepares differ": lambda c: (
        ONE, own(c), (*proof_of(c, 0, ONE, "v2", "v3"), *proof_of(c, 0, TWO, "v4")),
    ),
    "prepares of no round": lambda c: (ONE, nothing(c, "v1", "v3", "v4"), proof_of(c, 0, ONE)),
    "no quorum": lambda c: (TWO, own(c), ()),
    "author counted twice": lambda c: (TWO, nothing(c, "v1", "v3", "v3"), ()),
    "author is not a member": lambda c: (TWO, nothing(c, "v1", "v3", "v9"), ()),
    "round-change to another round": lambda c: (
        TWO, (*nothing(c, "v1", "v3"), *signed_by(c, RoundChange(2, 1, NONE, NOTHING), "v4")), (),
    ),
    "prepared in a later round": lambda c: (
        ONE, (*nothing(c, "v1", "v3"), *signed_by(c, RoundChange(2, 2, 2, ONE), "v4")), (),
    ),
    "prepared in no round": lambda c: (
        ONE, (*nothing(c, "v1", "v3"), *signed_by(c, RoundChange(2, 2, NONE, ONE), "v4")), (),
    ),
}  # fmt: skip


@pytest.mark.parametrize("reason", LIES)
def test_a_proposal_that_is_not_justified_is_refused(
    make_cluster: "type[Cluster]", reason: str
) -> None:
    cluster = prepared(make_cluster)
    payload, changes, proof = LIES[reason](cluster)
    tell(cluster, "v2", "v3", Proposal(2, 2, payload, changes, proof))
    assert reason in cluster["v2"].reasons()
    assert last(cluster, Prepare) == Prepare(2, 0, ONE), "nothing was said in round 2"


def test_round_0_needs_no_justification_and_takes_none(make_cluster: "type[Cluster]") -> None:
    cluster = alone(make_cluster)
    changes = signed_by(cluster, RoundChange(2, 0, NONE, NOTHING), "v1", "v3", "v4")
    tell(cluster, "v2", "v1", Proposal(2, 0, ONE, changes, ()))
    assert "round 0 needs no justification" in cluster["v2"].reasons()
    tell(cluster, "v2", "v1", Proposal(2, 0, ONE, (), ()))
    assert last(cluster, Prepare) == Prepare(2, 0, ONE)


def test_a_proposer_proposes_what_was_prepared_once_it_is_proved(
    make_cluster: "type[Cluster]",
) -> None:
    """Round 1 is v2's. v3 prepared nothing, v4 says that it did; then it shows it."""
    cluster = alone(make_cluster)
    tell(cluster, "v2", "v3", RoundChange(2, 1, NONE, NOTHING))
    tell(cluster, "v2", "v4", RoundChange(2, 1, 0, ONE))
    assert not sent(cluster, "v2", Proposal, 2)
    proof = proof_of(cluster, 0, ONE, "v1", "v3", "v4")
    tell(cluster, "v2", "v4", PreparedCertificate(proof[1:]))
    assert not sent(cluster, "v2", Proposal, 2)
    tell(cluster, "v2", "v4", PreparedCertificate(proof))
    proposal = last(cluster, Proposal)
    assert (proposal.view, proposal.payload, proposal.prepares) == (1, ONE, proof)
    assert {signed.author for signed in proposal.round_changes} == {"v2", "v3", "v4"}


def test_a_claim_that_nobody_proves_is_left_out(make_cluster: "type[Cluster]") -> None:
    cluster = alone(make_cluster)
    cluster.submit(1, "v2")
    tell(cluster, "v2", "v3", RoundChange(2, 1, NONE, NOTHING))
    tell(cluster, "v2", "v4", RoundChange(2, 1, 0, ONE))
    tell(cluster, "v2", "v1", RoundChange(2, 1, NONE, NOTHING))
    proposal = last(cluster, Proposal)
    assert proposal.payload != ONE
    assert {signed.author for signed in proposal.round_changes} == {"v1", "v2", "v3"}


@pytest.mark.parametrize("restarted", [False, True])
def test_no_vote_is_given_in_a_round_that_was_left(
    make_cluster: "type[Cluster]", restarted: bool
) -> None:
    """Its round change says that it has prepared nothing: it must stay so."""
    cluster = alone(make_cluster)
    tell(cluster, "v2", "v1", Proposal(2, 0, ONE, (), ()))
    cluster.run(ROUND_MS + 50)
    assert last(cluster, RoundChange) == RoundChange(2, 1, NONE, NOTHING)
    if restarted:
        cluster.restart("v2")
        cluster.run(20)
    for author in ("v1", "v3", "v4"):
        tell(cluster, "v2", author, Prepare(2, 0, ONE))
    assert not sent(cluster, "v2", Commit, 2)


def test_what_one_decided_alone_is_what_the_others_decide(make_cluster: "type[Cluster]") -> None:
    """v2 decides and dies; the others have left the round."""
    cluster = started(make_cluster)
    cluster.drop = lambda sender, to, message: (
        (isinstance(message, Commit) and to != "v2") or (isinstance(message, Decision))
    )
    cluster.submit()
    cluster.reach(2, "v2", within_ms=500)
    agreed = cluster.chain[2]
    cluster.crash("v2")
    cluster.run(2 * ROUND_MS)
    cluster.restart("v1", "v3", "v4")
    assert min(cluster[name].view for name in ("v1", "v3", "v4")) >= 1
    cluster.drop = lambda *_: False
    cluster.reach(2, "v1", "v3", "v4", within_ms=10 * ROUND_MS)
    assert cluster["v4"].said(Decide)[-1].view >= 2, "v2 led round 1"
    assert cluster.chain[2] == agreed
    cluster.start("v2")
    cluster.submit()
    cluster.reach(3, within_ms=10 * ROUND_MS)
    cluster.check()


def test_the_bytes_are_here_before_anything_is_voted_for(make_cluster: "type[Cluster]") -> None:
    cluster = alone(make_cluster)
    missing = Digest(b"\x03" * 32)
    tell(cluster, "v2", "v1", Proposal(2, 0, missing, (), ()))
    for author in ("v1", "v3", "v4"):
        tell(cluster, "v2", author, Prepare(2, 0, missing))
        tell(cluster, "v2", author, Commit(2, 0, missing))
    cluster.run(500)
    assert [check.payload for check in cluster["v2"].said(CheckPayload)][-1] == missing
    assert not sent(cluster, "v2", Prepare, 2)
    assert cluster["v2"].height == 1
    known(cluster, missing)
    cluster.run(200)
    assert cluster["v2"].height == 2


# --- Votes. --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Prepare, Commit])
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


def test_commits_of_two_rounds_are_no_quorum(make_cluster: "type[Cluster]") -> None:
    cluster = alone(make_cluster)
    tell(cluster, "v2", "v1", Commit(2, 0, ONE))
    tell(cluster, "v2", "v3", Commit(2, 0, ONE))
    tell(cluster, "v2", "v4", Commit(2, 1, ONE))
    cluster.run(100)
    assert cluster["v2"].height == 1
    tell(cluster, "v2", "v4", Commit(2, 0, ONE))
    cluster.run(100)
    assert cluster["v2"].height == 2


def test_a_decision_of_any_round_can_be_shown(make_cluster: "type[Cluster]") -> None:
    cluster = alone(make_cluster)
    votes = signed_by(cluster, Commit(2, 40, ONE), "v1", "v3", "v4")
    differing = (*votes[1:], *signed_by(cluster, Commit(2, 40, TWO), "v1"))
    for wrong, reason in ((votes[1:], "no quorum"), (differing, "commits differ")):
        tell(cluster, "v2", "v4", Decision(wrong))
        assert cluster["v2"].height == 1
        assert reason in cluster["v2"].reasons()
    tell(cluster, "v2", "v4", Decision(votes))
    cluster.run(100)
    assert cluster["v2"].height == 2


def test_f_plus_one_members_in_a_later_round_are_followed_and_one_is_not(
    make_cluster: "type[Cluster]",
) -> None:
    cluster = alone(make_cluster)
    for view in (1, 2, 2**62):
        tell(cluster, "v2", "v4", RoundChange(2, view, NONE, NOTHING))
    assert cluster["v2"].view == 0
    tell(cluster, "v2", "v3", RoundChange(2, 5, NONE, NOTHING))
    assert cluster["v2"].view == 5
    assert last(cluster, RoundChange) == RoundChange(2, 5, NONE, NOTHING)


def test_a_flood_of_future_heights_and_rounds_is_bounded(make_cluster: "type[Cluster]") -> None:
    cluster = started(make_cluster)
    for far in range(10, 1_000):
        tell(cluster, "v2", "v3", Prepare(2, far, ONE))
        tell(cluster, "v2", "v3", Commit(far, 0, ONE))
        tell(cluster, "v2", "v3", Status(far, far, True))
    reasons = set(cluster["v2"].reasons())
    assert {"view too far ahead", "height too far ahead", "status too often"} <= reasons
    protocol: Any = cluster["v2"].protocol
    assert len(protocol._ballots._votes.slots()) < 30
    cluster.submit()
    cluster.reach(2, within_ms=ROUND_MS)


def test_an_own_vote_counts_once_and_only_when_it_is_durable(
    make_cluster: "type[Cluster]",
) -> None:
    cluster = alone(make_cluster)
    tell(cluster, "v2", "v1", Proposal(2, 0, ONE, (), ()))
    for by in ("v2", "v1", "v3", "v4"):
        tell(cluster, "v2", "v2", Prepare(2, 0, ONE), by=by)
    tell(cluster, "v2", "v3", Prepare(2, 0, ONE))
    assert not sent(cluster, "v2", Commit, 2)
    tell(cluster, "v2", "v4", Prepare(2, 0, ONE))
    assert last(cluster, Commit) == Commit(2, 0, ONE)


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


def test_timeouts_double_with_rounds_up_to_their_limit_and_shrink_with_the_next_height(
    make_cluster: "type[Cluster]",
) -> None:
    cluster = started(make_cluster, round_timeout_ms=100, round_timeout_ms_max=500)
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

    cluster.run(3_000, look)
    assert seen == [100, 200, 400, 500]
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
    """Q11: two hold the blocks, too few to certify them. Even after a restart of both."""
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


def test_a_quorum_that_lost_one_commit_each_hears_of_the_decision_of_one(
    make_cluster: "type[Cluster]",
) -> None:
    """v1 decides with v4, which then falls silent for ever. The other two need what v1 knows."""
    cluster = started(make_cluster)
    cluster.syncs = False
    cluster.drop = lambda sender, to, message: isinstance(message, Commit) and to != "v1"
    cluster.submit()
    cluster.reach(2, "v1", within_ms=500)
    cluster.crash("v4")
    cluster.restart("v1")
    cluster.drop = lambda *_: False
    cluster.reach(2, "v1", "v2", "v3", within_ms=5_000)
    cluster.check()


# --- Crashes. ------------------------------------------------------------------------------------

SETTINGS: dict[str, Any] = {"protocol": "qbft", "round_timeout_ms": 300}


def busy_life(cluster: "Cluster") -> None:
    """Decisions, a round that fails though all prepared, and one in which nobody proposes."""
    for height in range(2, 6):
        if height == 3:
            cluster.drop = lambda sender, to, message: (
                isinstance(message, Commit) and message.view == 0
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


def test_what_all_prepared_is_not_forgotten_when_all_restart_at_once(
    make_cluster: "type[Cluster]",
) -> None:
    """Nobody heard anybody, and the proposer stays away: the prepares have to be repeated."""
    cluster = started(make_cluster)
    cluster.drop = lambda sender, to, message: isinstance(message, Prepare)
    cluster.submit()
    cluster.run(100)
    assert all(last(cluster, Prepare, name).view == 0 for name in cluster.nodes)
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
    from consensus.protocols._qbft_log import CorruptMemory  # noqa: PLC0415

    cluster = make_cluster(seed=1, **SETTINGS)
    busy_life(cluster)
    remembered = dict(cluster["v2"].remembered)
    assert {b"current", b"prepared", b"proposed"} <= remembered.keys()
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
    """Q13: what it prepared belongs to the height that it was in, and is not overwritten."""
    cluster = prepared(make_cluster)
    v2 = cluster["v2"]
    cluster.crash("v2")
    before, lost = dict(v2.remembered), list(v2.ledger)
    v2.ledger.clear()
    before = {key: value for key, value in before.items() if not key.startswith(b"decision/")}
    v2.remembered = dict(before)
    cluster.start("v2")
    tell(cluster, "v2", "v1", Proposal(1, 0, TWO, (), ()))
    for author in ("v3", "v4"):
        tell(cluster, "v2", author, RoundChange(1, 3, NONE, NOTHING))
    cluster.run(5_000)
    assert v2.remembered == before
    cluster.crash("v2")
    v2.ledger = lost
    cluster.start("v2")
    cluster.run(20)
    assert last(cluster, RoundChange) == RoundChange(2, 2, 0, ONE)
