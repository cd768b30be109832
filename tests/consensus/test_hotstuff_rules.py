"""The rules of HotStuff and Jolteon, one replica at a time, with messages made by hand."""

from collections.abc import Iterator, Sequence

import msgspec
import pytest

from consensus.interface import (
    Accuse,
    CheckPayload,
    Committee,
    Decide,
    Executed,
    Height,
    Ignore,
    Input,
    NeedSync,
    Output,
    PayloadChecked,
    PayloadReady,
    Pending,
    Persist,
    Received,
    RequestPayload,
    Send,
    SetTimer,
    Setup,
    Signed,
    Started,
    TimerFired,
    View,
)
from consensus.leaders import sticky
from consensus.protocols import _chain_tree, hotstuff, jolteon
from consensus.protocols._chain import Replica
from consensus.protocols._chain_log import CorruptMemory
from consensus.protocols._chain_messages import (
    GENESIS,
    ROOT,
    ChainMessage,
    Fetch,
    Node,
    Nodes,
    Proposal,
    QuorumCertificate,
    Status,
    Timeout,
    TimeoutCertificate,
    Vote,
)
from consensus.protocols._chain_pacemaker import ANSWERS_MAX, HEIGHTS_AHEAD_MAX
from crypto.encoding import encode
from crypto.hashes import sha256
from crypto.header import ZERO
from crypto.interface import Digest, NodeId, Signature
from crypto.quorum import FaultModel

HASH = sha256.create(sha256.Options())
MEMBERS = tuple(NodeId(f"v{number}") for number in range(1, 5))
COMMITTEE = Committee(0, MEMBERS, FaultModel.BYZANTINE)
PAYLOAD = Digest(b"\x01" * 32)
OTHER = Digest(b"\x02" * 32)


def leader(view: int) -> NodeId:
    return MEMBERS[view % 4]


def signed(author: str, message: ChainMessage) -> Signed[ChainMessage]:
    return Signed(NodeId(author), message, Signature(b"signed" if message.slot() else b""))


def name(node: Node) -> Digest:
    return HASH.digest(encode(node))


def certificate(node: Node, authors: Sequence[str] = MEMBERS[:3]) -> QuorumCertificate:
    vote = Vote(node.view, name(node))
    votes = tuple(Signed(NodeId(author), vote, Signature(b"signed")) for author in authors)
    return QuorumCertificate(node.view, name(node), votes)


def gave_up(view: int, *claims: int) -> TimeoutCertificate:
    """A quorum gave up `view`; its members claim these certified views."""
    return TimeoutCertificate(
        view,
        tuple(
            Signed(author, Timeout(view, claim), Signature(b"signed"))
            for author, claim in zip(MEMBERS, claims, strict=False)
        ),
    )


def child(parent: Node | None, view: int, payload: Digest | None = None) -> Node:
    height = (parent.height if parent else 0) + (payload is not None)
    named = name(parent) if parent else GENESIS
    return Node(view, height, named, parent.view if parent else 0, payload)


def proposal(
    node: Node, parent: Node | None, timeouts: TimeoutCertificate | None = None
) -> Proposal:
    return Proposal(node, certificate(parent) if parent else ROOT, timeouts)


class Bench:
    """One replica, and what it answered to the last input."""

    def __init__(self, protocol: str = "hotstuff", me: str = "v1") -> None:
        self.me = NodeId(me)
        self.create = {"hotstuff": hotstuff, "jolteon": jolteon}[protocol]
        self.remembered: dict[bytes, bytes] = {}
        self.executed = 0
        self.start()

    def start(self) -> None:
        setup = Setup(self.me, COMMITTEE, sticky.create(sticky.Options()), HASH)
        replica = self.create.create(setup, self.create.Options())
        assert isinstance(replica, Replica)
        self.replica = replica
        self.out: list[Output[ChainMessage]] = []
        self.step(Started(dict(self.remembered), Height(self.executed), ZERO))

    def step(self, event: Input[ChainMessage]) -> list[Output[ChainMessage]]:
        self.out = list(self.replica.step(event))
        for output in self.out:
            if isinstance(output, Persist):
                for key, value in output.changes.items():
                    self.remembered.pop(key, None)
                    if value is not None:
                        self.remembered[key] = value
        return self.out

    def hear(self, author: str, message: ChainMessage, by: str = "") -> list[Output[ChainMessage]]:
        return self.step(Received(NodeId(by or author), signed(author, message)))

    def propose(
        self, node: Node, parent: Node | None, timeouts: TimeoutCertificate | None = None
    ) -> bool:
        """Tell it a proposal by the leader, and that its payload is valid; whether it votes."""
        out = self.hear(leader(node.view), proposal(node, parent, timeouts))
        for question in [item for item in out if isinstance(item, CheckPayload)]:
            out += self.step(PayloadChecked(question.ticket, question.payload, True))
        return Vote(node.view, name(node)) in self.sent(out)

    def sent(self, out: Sequence[Output[ChainMessage]] | None = None) -> list[ChainMessage]:
        outputs = self.out if out is None else out
        return [item.message for item in outputs if isinstance(item, Send)]

    def decided(self) -> list[Decide]:
        return [item for item in self.out if isinstance(item, Decide)]

    def reasons(self) -> list[str]:
        return [item.reason for item in self.out if isinstance(item, Ignore)]

    @property
    def view(self) -> int:
        return self.replica.progress().view


def row(*views: int) -> Iterator[tuple[Node, Node | None]]:
    """Nodes in these views, each the parent of the next; the first has the payload."""
    parent = None
    for view in views:
        node = child(parent, view, PAYLOAD if parent is None else None)
        yield node, parent
        parent = node


BOTH = pytest.mark.parametrize("protocol", ["hotstuff", "jolteon"])


# --- Deciding (H1, J1, C12). ----------------------------------------------------------------------


@pytest.mark.parametrize(("protocol", "chain"), [("hotstuff", 3), ("jolteon", 2)])
def test_so_many_certified_nodes_in_consecutive_views_decide_the_first_and_no_fewer(
    protocol: str, chain: int
) -> None:
    """H1, J1: the proposal that follows them brings the last certificate."""
    bench = Bench(protocol)
    for node, parent in row(*range(1, chain + 1)):
        assert bench.propose(node, parent)
        assert not bench.decided()
        last = node
    bench.propose(child(last, chain + 1), last)
    assert bench.decided() == [Decide(Height(1), View(1), (PAYLOAD,))]


@pytest.mark.parametrize(
    ("protocol", "views"), [("hotstuff", (1, 2, 4, 5)), ("jolteon", (1, 3, 5))]
)
def test_certified_nodes_with_a_view_between_them_decide_nothing(
    protocol: str, views: tuple[int, ...]
) -> None:
    """H1, J1. The views that follow without a gap decide it all."""
    bench = Bench(protocol)
    for node, parent in row(*views):
        timeouts = None
        if parent is not None and parent.view < node.view - 1:
            timeouts = gave_up(node.view - 1, *[parent.view] * 3)
        assert bench.propose(node, parent, timeouts)
        assert not bench.decided()
        last = node
    for view in range(views[-1] + 1, views[-1] + 4):
        node = child(last, view)
        bench.propose(node, last)
        last = node
        if bench.decided():
            break
    assert [(item.height, item.payloads) for item in bench.decided()] == [(1, (PAYLOAD,))]


@BOTH
def test_a_decision_takes_its_undecided_ancestors_along_in_order(protocol: str) -> None:
    """C12: certified in views without a row, decided by the first row above."""
    bench = Bench(protocol)
    low = child(None, 1, PAYLOAD)
    high = child(low, 3, OTHER)
    bench.propose(low, None)
    bench.propose(high, low, gave_up(2, 1, 1, 1))
    last = high
    decided = []
    for view in range(4, 8):
        node = child(last, view)
        bench.propose(node, last)
        decided += bench.decided()
        last = node
    assert [(item.height, item.payloads) for item in decided] == [(1, (PAYLOAD,)), (2, (OTHER,))]


@BOTH
def test_what_is_committed_is_not_decided_before_the_host_has_the_bytes(protocol: str) -> None:
    """C12, duty f; what does not come is a reason for a sync."""
    bench = Bench(protocol)
    nodes = list(row(1, 2, 3, 4))
    for node, parent in nodes:
        bench.hear(leader(node.view), proposal(node, parent))
    assert not bench.decided()
    bench.step(TimerFired("resend"))
    assert NeedSync(Height(1)) in bench.out
    question = next(
        item
        for item in bench.hear("v2", Status(certificate(nodes[-1][0]), None, False))
        if isinstance(item, CheckPayload)
    )
    bench.step(PayloadChecked(question.ticket, PAYLOAD, True))
    assert [item.height for item in bench.decided()] == [1]


# --- Safe proposals (H2, J2, C10). ----------------------------------------------------------------


def locked(protocol: str) -> tuple[Bench, list[Node]]:
    """A replica that saw nodes 1, 2 and 3 in a row: HotStuff is locked on the first."""
    bench = Bench(protocol)
    nodes = []
    for node, parent in row(1, 2, 3):
        assert bench.propose(node, parent)
        nodes.append(node)
    return bench, nodes


def test_hotstuff_votes_for_no_node_that_leaves_the_locked_branch() -> None:
    """H2: the timeouts claim nothing, so only the lock speaks."""
    bench, _ = locked("hotstuff")
    assert not bench.propose(child(None, 5, OTHER), None, gave_up(4, 0, 0, 0))
    assert "not safe" in bench.reasons()


@pytest.mark.parametrize("index", [0, 1, 2])
def test_hotstuff_votes_for_what_extends_its_lock_or_a_later_certificate(index: int) -> None:
    """H2: on the locked node itself (0), or on one certified later (1, 2)."""
    bench, nodes = locked("hotstuff")
    parent = nodes[index]
    assert bench.propose(child(parent, 5), parent, gave_up(4, 0, 0, 0))


def test_hotstuff_leaves_its_lock_for_a_later_certificate_of_another_branch() -> None:
    """H2, the liveness half of safeNode: a quorum voted elsewhere after the lock."""
    bench, _ = locked("hotstuff")
    fork = child(None, 4)
    bench.hear("v2", Status(certificate(fork), None, False))
    bench.hear("v2", Nodes((fork,)))
    assert bench.propose(child(fork, 5), fork)


@pytest.mark.parametrize(("certified", "votes"), [(1, False), (2, True), (3, True)])
def test_jolteon_votes_for_no_certificate_below_what_the_timeouts_show(
    certified: int, votes: bool
) -> None:
    """J2: one member of the quorum of timeouts knew the certificate of view 2."""
    bench, nodes = locked("jolteon")
    parent = nodes[certified - 1]
    assert bench.propose(child(parent, 5), parent, gave_up(4, 0, 2, 1)) is votes
    assert votes or "not safe" in bench.reasons()


def test_jolteon_needs_no_lock_where_the_timeouts_know_nothing() -> None:
    """J2: a quorum that gave up and knew no certificate proves that nothing was decided."""
    bench, _ = locked("jolteon")
    assert bench.propose(child(None, 5), None, gave_up(4, 0, 0, 0))


@BOTH
def test_a_payload_counts_one_height_and_filler_none(protocol: str) -> None:
    """C3."""
    first = child(None, 1, PAYLOAD)
    right = child(first, 2, OTHER)
    for height, payload in [(1, OTHER), (3, OTHER), (2, None), (0, None)]:
        bench = Bench(protocol)
        bench.propose(first, None)
        wrong = msgspec.structs.replace(right, height=height, payload=payload)
        assert not bench.propose(wrong, first)
        assert "wrong height" in bench.reasons()
    bench = Bench(protocol)
    bench.propose(first, None)
    assert bench.propose(right, first)


@BOTH
def test_a_payload_is_not_voted_for_twice_on_one_branch(protocol: str) -> None:
    """C10."""
    first = child(None, 1, PAYLOAD)
    bench = Bench(protocol)
    bench.propose(first, None)
    assert not bench.propose(child(first, 2, PAYLOAD), first)
    assert "payload is on this branch" in bench.reasons()


@BOTH
def test_an_executed_height_is_not_voted_for_again(protocol: str) -> None:
    """C10; what goes on above it is."""
    bench = Bench(protocol)
    nodes = list(row(1, 2, 3, 4))
    for node, parent in nodes:
        bench.propose(node, parent)
    bench.step(Executed(Height(1), ZERO))
    fork = child(None, 6)
    bench.hear("v2", Status(certificate(fork), None, False))
    bench.hear("v2", Nodes((fork,)))
    assert not bench.propose(child(fork, 7, OTHER), fork)
    assert "height is executed" in bench.reasons()
    last = nodes[-1][0]
    bench.hear("v2", Status(certificate(fork), gave_up(7, 4, 4, 4), False))
    bench.hear("v2", Status(certificate(last), gave_up(8, 4, 4, 4), False))
    assert bench.propose(child(last, 9, OTHER), last, gave_up(8, 4, 4, 4))


@BOTH
@pytest.mark.parametrize(
    ("height", "votes"), [(HEIGHTS_AHEAD_MAX, True), (HEIGHTS_AHEAD_MAX + 1, False)]
)
def test_no_payload_is_checked_far_above_what_is_executed(
    protocol: str, height: int, votes: bool
) -> None:
    """C10: whatever others certified."""
    bench = Bench(protocol)
    parent = Node(5, height - 1, GENESIS, 0, None)
    bench.hear("v2", Status(certificate(parent), None, False))
    bench.hear("v2", Nodes((parent,)))
    assert bench.propose(child(parent, 6, PAYLOAD), parent) is votes
    assert votes or "height too far ahead" in bench.reasons()


@BOTH
def test_views_that_fail_for_ever_do_not_fill_the_memory(
    monkeypatch: pytest.MonkeyPatch, protocol: str
) -> None:
    """C18: proposals that were not certified go first; what the certificate rests on stays."""
    monkeypatch.setattr(_chain_tree, "NODES_MAX", 20)
    bench = Bench(protocol, me="v4")
    first, second = (node for node, _ in row(1, 2))
    bench.propose(first, None)
    bench.propose(second, first)
    bench.hear("v2", Status(certificate(second), None, False))
    for view in range(4, 60):
        assert bench.propose(child(second, view), second, gave_up(view - 1, 2, 2, 2))
    assert len(bench.remembered) < 30
    bench.hear("v2", Fetch(name(second)))
    assert bench.sent() == [Nodes((second, first))]


# --- Votes and views (C7 to C9). ------------------------------------------------------------------


@BOTH
def test_a_replica_votes_once_in_a_view_and_never_in_one_that_it_gave_up(protocol: str) -> None:
    """C9."""
    bench = Bench(protocol)
    assert bench.propose(child(None, 1, PAYLOAD), None)
    assert not bench.propose(child(None, 1, OTHER), None)
    bench = Bench(protocol)
    bench.step(TimerFired("view"))
    assert Timeout(1, 0) in bench.sent()
    assert not bench.propose(child(None, 1, PAYLOAD), None)


@BOTH
def test_what_binds_later_views_is_durable_before_the_vote_and_survives(protocol: str) -> None:
    """C15: certificate, lock, vote; after a restart no second vote for the view."""
    bench, nodes = locked(protocol)
    kinds = [type(item) for item in bench.out]
    assert kinds.index(Persist) < kinds.index(Send)
    bench.start()
    assert bench.view == 3
    assert Vote(3, name(nodes[2])) in bench.sent(), "C16: the same words again"
    bench.hear("v2", Status(certificate(nodes[2]), None, False))
    assert not [item for item in bench.sent() if isinstance(item, Fetch)], "nodes are remembered"
    bench.start()
    assert not bench.propose(child(nodes[1], 3, OTHER), nodes[1])
    bench.step(TimerFired("view"))
    assert Timeout(3, 2) in bench.sent(), "the certificate of view 2 was remembered"
    if protocol == "hotstuff":
        assert not bench.propose(child(None, 5, OTHER), None, gave_up(4, 0, 0, 0))
        assert "not safe" in bench.reasons()


@BOTH
def test_a_view_that_was_given_up_stays_so_after_a_restart(protocol: str) -> None:
    """C15, C16: the same timeout again, though a higher certificate is known by then."""
    bench = Bench(protocol)
    bench.step(TimerFired("view"))
    bench.start()
    assert Timeout(1, 0) in bench.sent()
    assert not bench.propose(child(None, 1, PAYLOAD), None)


@BOTH
def test_a_view_that_began_with_timeouts_is_where_a_replica_starts_again(protocol: str) -> None:
    """C15: once it relied on them."""
    bench = Bench(protocol)
    bench.hear("v2", Status(ROOT, gave_up(1, 0, 0, 0), False))
    bench.step(TimerFired("view"))
    assert Timeout(2, 0) in bench.sent()
    bench.start()
    assert bench.view == 2
    assert Timeout(2, 0) in bench.sent()


def test_a_lock_that_rests_on_a_node_that_was_only_fetched_survives() -> None:
    """C15: what is remembered of the tree is what was voted for, and the lock is more."""
    nodes = list(row(1, 2, 3, 4))
    bench = Bench(me="v4")
    bench.propose(*nodes[3])
    bench.hear("v2", Nodes(tuple(node for node, _ in nodes[2::-1])))
    assert Vote(4, name(nodes[3][0])) in bench.sent()
    bench.start()
    assert not bench.propose(child(None, 6, OTHER), None, gave_up(5, 0, 0, 0))
    assert "not safe" in bench.reasons()
    second = nodes[1][0]
    assert not bench.propose(child(second, 8), second, gave_up(7, 0, 0, 0))
    bench.hear("v2", Nodes(tuple(node for node, _ in nodes[2::-1])))
    assert Vote(8, name(child(second, 8))) in bench.sent()


def test_damaged_memory_is_refused() -> None:
    bench, _ = locked("hotstuff")
    bench.start()
    for key in bench.remembered:
        kept = bench.remembered[key]
        bench.remembered[key] = kept[:-1]
        with pytest.raises(CorruptMemory):
            bench.start()
        bench.remembered[key] = kept


@BOTH
def test_f_plus_one_timeouts_are_joined_and_fewer_move_nobody(protocol: str) -> None:
    """C8."""
    bench = Bench(protocol)
    bench.hear("v2", Timeout(1, 0))
    assert not bench.sent()
    bench.hear("v2", Timeout(2, 0))
    assert not bench.sent(), "one member is one member, in whatever views"
    bench.hear("v3", Timeout(1, 0))
    assert Timeout(1, 0) in bench.sent()
    assert bench.view == 1
    bench.hear("v1", Timeout(1, 0))
    assert bench.view == 2


@BOTH
def test_a_timeout_counts_only_if_the_certificate_that_it_claims_is_here(protocol: str) -> None:
    """C8: or a liar's claim of a far view would keep all leaders from proposing."""
    node = child(None, 1, PAYLOAD)
    bench = Bench(protocol)
    assert bench.propose(node, None)
    for author, claim in [("v1", 0), ("v2", 0), ("v3", 1 << 40)]:
        bench.hear(author, Timeout(1, claim))
    assert bench.view == 1
    bench.hear("v2", Status(ROOT, gave_up(1, 0, 0, 7), False))
    assert bench.view == 1
    bench.hear("v4", Timeout(1, 0))
    assert bench.view == 2


@BOTH
def test_the_timeout_doubles_with_each_view_that_fails_and_shrinks_with_progress(
    protocol: str,
) -> None:
    """C14."""
    bench = Bench(protocol)
    delays = []
    for view in range(1, 9):
        bench.hear("v2", Status(ROOT, gave_up(view, 0, 0, 0), False))
        timers = [item for item in bench.out if isinstance(item, SetTimer)]
        delays += [item.delay_ms for item in timers if item.name == "view"]
    assert delays == [2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000]
    bench.step(Executed(Height(1), ZERO))
    assert bench.replica.progress().next_timeout_ms == 1_000


@BOTH
def test_votes_of_a_quorum_are_a_certificate_and_the_next_leader_goes_on(protocol: str) -> None:
    """C1, C4, C7: v1 leads view 4. Liars' votes for another node do not count."""
    bench, nodes = locked(protocol)
    for author, node in [("v1", nodes[2]), ("v2", nodes[2]), ("v3", nodes[1]), ("v2", nodes[2])]:
        bench.hear(author, Vote(3, name(node)))
        assert bench.view == 3
    bench.hear("v4", Vote(3, name(nodes[2])))
    assert bench.view == 4
    (made,) = bench.sent()
    assert isinstance(made, Proposal)
    assert (made.node.parent, made.node.payload) == (name(nodes[2]), None)


@BOTH
def test_a_proposal_that_is_overtaken_by_its_votes_is_taken_all_the_same(protocol: str) -> None:
    """C17: v1 collects the votes of view 3, and goes on as soon as it has the node."""
    bench = Bench(protocol)
    nodes = list(row(1, 2, 3))
    for node, parent in nodes[:2]:
        bench.propose(node, parent)
    for author in MEMBERS[1:]:
        bench.hear(author, Vote(3, name(nodes[2][0])))
    assert (bench.view, bench.sent()) == (4, [])
    bench.hear("v4", proposal(*nodes[2]))
    (made,) = bench.sent()
    assert isinstance(made, Proposal)
    bench.hear("v3", proposal(*nodes[1]))
    assert bench.reasons() == ["old view"]


@BOTH
def test_a_leader_asks_once_and_names_what_is_in_flight(protocol: str) -> None:
    """C1, C3; nothing to propose makes filler."""
    bench, nodes = locked(protocol)
    bench.step(Pending(True))
    for author in ("v1", "v2", "v3"):
        bench.hear(author, Vote(3, name(nodes[2])))
    (question,) = [item for item in bench.out if isinstance(item, RequestPayload)]
    assert (question.ticket.height, question.ticket.parents) == (2, (PAYLOAD,))
    assert question.at_once
    bench.step(PayloadReady(question.ticket, None))
    (made,) = bench.sent()
    assert isinstance(made, Proposal)
    assert (made.node.height, made.node.payload) == (1, None)
    assert not bench.step(PayloadReady(question.ticket, OTHER)), "answered already"


@BOTH
def test_who_has_decided_all_leads_on_until_the_branch_shows_it(protocol: str) -> None:
    """C13: by late votes it decided what the branch that others follow does not show.

    They wait for a row, and it may be one of those who have to lead it.
    """
    nodes = [node for node, _ in row(1, 2, 3)]
    fork = child(nodes[0], 3 if protocol == "jolteon" else 7)
    for high, leads in [(nodes[-1], False), (fork, True)]:
        bench = Bench(protocol)
        bench.executed = 1
        bench.start()
        bench.hear("v2", Status(certificate(high), None, False))
        bench.hear("v2", Nodes(tuple(nodes[::-1]) if high is nodes[-1] else (fork, nodes[0])))
        assert any(isinstance(made, Proposal) for made in bench.sent()) is leads
        assert bool(bench.replica.progress().waiting_for) is leads


@BOTH
def test_an_invalid_payload_ends_the_view_at_once(protocol: str) -> None:
    """C13."""
    bench = Bench(protocol)
    out = bench.hear("v2", proposal(child(None, 1, PAYLOAD), None))
    (question,) = [item for item in out if isinstance(item, CheckPayload)]
    bench.step(PayloadChecked(question.ticket, PAYLOAD, False))
    assert Timeout(1, 0) in bench.sent()
    assert "invalid payload" in bench.reasons()


# --- Certificates (C2, C4 to C6). -----------------------------------------------------------------


def test_a_proposal_that_does_not_hold_is_refused_by_name_and_its_like_is_taken() -> None:
    first = child(None, 1, PAYLOAD)
    second = child(first, 2)
    late = child(first, 4)
    whole = certificate(first)
    votes = whole.votes
    foreign = msgspec.structs.replace(votes[0], author=NodeId("x"))
    replace = msgspec.structs.replace
    cases: list[tuple[str, str, Proposal]] = [
        ("v4", "proposal not by the leader", proposal(second, first)),
        ("v3", "parent is not what is certified", proposal(replace(second, parent=ZERO), first)),
        ("v3", "parent is not what is certified", proposal(replace(second, parent_view=0), first)),
        ("v2", "certificate of no lower view", proposal(replace(second, view=1), first)),
        ("v3", "no quorum", Proposal(second, replace(whole, votes=votes[:2]), None)),
        (
            "v3", "author counted twice",
            Proposal(second, replace(whole, votes=(*votes[:2], votes[0])), None),
        ),
        (
            "v3", "author is not a member",
            Proposal(second, replace(whole, votes=(*votes[:2], foreign)), None),
        ),
        (
            "v3", "vote for something else",
            Proposal(second, replace(whole, votes=certificate(late).votes), None),
        ),
        (
            "v2", "certificate of view 0",
            Proposal(child(None, 1, OTHER), replace(ROOT, votes=votes), None),
        ),
        ("v3", "needless timeouts", proposal(second, first, gave_up(1, 0, 0, 0))),
        ("v1", "nothing shows that the view before is over", proposal(late, first)),
        (
            "v1", "nothing shows that the view before is over",
            proposal(late, first, gave_up(2, 0, 0, 0)),
        ),
        ("v1", "no quorum", proposal(late, first, gave_up(3, 0, 0))),
        (
            "v1", "timeout of another view",
            proposal(late, first, replace(gave_up(2, 0, 0, 0), view=3)),
        ),
    ]  # fmt: skip
    for author, reason, wrong in cases:
        bench = Bench(me="v4")
        assert bench.propose(first, None)
        bench.hear(author, wrong)
        assert bench.reasons() == [reason]
        assert not bench.sent()
        assert bench.propose(second, first)
        assert bench.propose(late, first, gave_up(3, 1, 1, 1))


def test_a_status_that_does_not_hold_moves_nobody() -> None:
    first = child(None, 1, PAYLOAD)
    for high, timeouts, reason in [
        (certificate(first, MEMBERS[:2]), None, "no quorum"),
        (ROOT, gave_up(5, 0, 0), "no quorum"),
    ]:
        bench = Bench()
        bench.hear("v2", Status(high, timeouts, False))
        assert bench.reasons() == [reason]
        assert bench.view == 1
    bench.hear("v2", Status(certificate(first), gave_up(5, 1, 0, 0), False))
    assert bench.view == 6


def test_a_stranger_is_not_heard() -> None:
    bench = Bench()
    bench.hear("x", Timeout(1, 0))
    assert bench.reasons() == ["author is not a member"]


@pytest.mark.parametrize(
    ("author", "first", "second"),
    [
        ("v3", Vote(1, PAYLOAD), Vote(1, OTHER)),
        ("v3", Timeout(1, 0), Timeout(1, 1)),
        ("v2", proposal(child(None, 1, PAYLOAD), None), proposal(child(None, 1, OTHER), None)),
    ],
)
def test_two_bodies_for_one_slot_are_evidence_once(
    author: str, first: ChainMessage, second: ChainMessage
) -> None:
    """C18."""
    bench = Bench()
    for message in (first, first):
        bench.hear(author, message)
        assert not [item for item in bench.out if isinstance(item, Accuse)]
    bench.hear(author, second)
    evidence = Accuse(NodeId(author), signed(author, first), signed(author, second))
    assert evidence in bench.out
    bench.hear(author, second)
    assert evidence not in bench.out


@pytest.mark.parametrize("message", [Vote(4, PAYLOAD), Timeout(4, 0)])
def test_what_is_far_ahead_is_not_kept_but_its_sender_is_asked(message: ChainMessage) -> None:
    """C18: the answer brings the certificates."""
    bench = Bench()
    bench.hear("v3", message)
    assert bench.reasons() == ["view too far ahead"]
    assert bench.sent() == [Status(ROOT, None, True)]
    near = msgspec.structs.replace(message, view=3)
    bench.hear("v3", near)
    assert not bench.reasons()


# --- What was missed (C16, C17). ------------------------------------------------------------------


@BOTH
def test_a_node_that_is_missing_is_fetched_and_then_voted_on(protocol: str) -> None:
    """C17: nothing but what was asked for is taken."""
    nodes = list(row(1, 2, 3, 4))
    bench = Bench(protocol, me="v4")
    assert not bench.propose(*nodes[3])
    assert Fetch(name(nodes[2][0])) in bench.sent()
    bench.hear("v2", Nodes((child(None, 3),)))
    assert bench.reasons() == ["node not asked for"]
    bench.hear("v2", Nodes(tuple(node for node, _ in nodes[2::-1])))
    assert Vote(4, name(nodes[3][0])) in bench.sent()


def test_a_node_is_handed_to_who_asks_with_what_is_below_it() -> None:
    bench, nodes = locked("hotstuff")
    bench.hear("v2", Fetch(name(nodes[2])))
    assert bench.sent() == [Nodes(tuple(nodes[::-1]))]
    bench.hear("v2", Fetch(OTHER))
    assert not bench.sent()


def test_a_peer_is_answered_so_often_in_an_interval_and_again_in_the_next() -> None:
    """C18."""
    bench, nodes = locked("hotstuff")
    answers = [bool(bench.hear("v2", Fetch(name(nodes[2])))) and bool(bench.sent())
               for _ in range(ANSWERS_MAX + 3)]  # fmt: skip
    assert sum(answers) == ANSWERS_MAX
    assert bench.reasons() == ["asked too often"]
    bench.step(TimerFired("calm"))
    bench.hear("v2", Fetch(name(nodes[2])))
    assert bench.sent()
