"""Raft, rule by rule (docs/specs/raft.md): what it bears, and what it does not."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from consensus.interface import (
    NUMBER_MAX,
    Accountability,
    CancelTimer,
    CaughtUp,
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
    Send,
    SetTimer,
    Setup,
    Signed,
    Started,
    Ticket,
    TimerFired,
    View,
)
from consensus.leaders import sticky
from consensus.protocols._raft_log import ENTRIES_KEPT
from consensus.protocols._raft_messages import (
    ENTRIES_MAX,
    NOTHING,
    Ack,
    Append,
    Entry,
    Message,
    Position,
    RequestVote,
    Status,
    Vote,
)
from consensus.protocols.raft import AHEAD_MAX, CLAIMS, Options, create
from crypto.hashes import sha256
from crypto.interface import Digest, NodeId, Signature
from crypto.quorum import FaultModel
from simulation.cluster import Diverged

if TYPE_CHECKING:
    from simulation.cluster import Cluster, Node, Parcel

V1, V2, V3 = NodeId("v1"), NodeId("v2"), NodeId("v3")
ONE, TWO = Digest(b"1" * 32), Digest(b"2" * 32)
HEADER = Digest(bytes(32))


class Member:
    """One member by itself; what it remembers is kept as a journal would."""

    def __init__(self, me: NodeId = V2, remembered: Mapping[bytes, bytes] | None = None) -> None:
        self.me = me
        self.remembered = dict(remembered or {})
        self.start()

    def start(self, executed: int = 0) -> None:
        """Also after a crash."""
        committee = Committee(0, (V1, V2, V3), FaultModel.CRASH)
        leader = sticky.create(sticky.Options())
        hash_ = sha256.create(sha256.Options())
        self.machine = create(Setup(self.me, committee, leader, hash_), Options())
        self.said: list[Output[Message]] = []
        self.step(Started(dict(self.remembered), Height(executed), HEADER))

    def step(self, event: Input[Message]) -> list[Output[Message]]:
        outputs = list(self.machine.step(event))
        for output in outputs:
            if isinstance(output, Persist):
                for key, value in output.changes.items():
                    self.remembered.pop(key, None)
                    if value is not None:
                        self.remembered[key] = value
        self.said = outputs
        return outputs

    def hear(self, sender: NodeId, message: Message) -> list[Message]:
        """What it answers."""
        self.step(Received(sender, Signed(sender, message, Signature(b""))))
        return self.messages()

    def messages(self) -> list[Message]:
        return [output.message for output in self.said if isinstance(output, Send)]

    def checked(self, *payloads: Digest) -> list[Message]:
        answers = []
        for payload in payloads:
            self.step(PayloadChecked(Ticket(Height(1), View(0)), payload, True))
            answers += self.messages()
        return answers

    def hold(self, term: int, *payloads: Digest, first: int = 1) -> None:
        """Entries of this term, of the leader v1 or v3."""
        leader = V1 if term == 0 or self.me == V3 else V3
        previous = Position(0, first - 1)
        entries = tuple(Entry(term, payload) for payload in payloads)
        self.hear(leader, Append(term, previous, entries, 0, 0))
        self.checked(*payloads)

    def decisions(self) -> list[Decide]:
        return [output for output in self.said if isinstance(output, Decide)]

    def kinds(self) -> list[type]:
        return [type(output) for output in self.said]


def append(
    term: int,
    previous: tuple[int, int],
    *entries: tuple[int, Digest],
    decided: int = 0,
    base: int = 0,
) -> Append:
    listed = tuple(Entry(each, payload) for each, payload in entries)
    return Append(term, Position(*previous), listed, decided, base)


# --- In whole clusters. ---


def test_it_claims_to_bear_crashes_only() -> None:
    assert CLAIMS.fault_model is FaultModel.CRASH
    assert CLAIMS.accountable is Accountability.NONE
    assert Committee(0, (V1, V2, V3), CLAIMS.fault_model).quorum == 2


@pytest.mark.parametrize("members", [1, 2, 3, 4, 5, 7])
def test_in_the_normal_case_it_takes_as_many_messages_and_delays_as_it_claims(
    make_cluster: "type[Cluster]", members: int
) -> None:
    cluster = make_cluster(members, protocol="raft")
    cluster.delay_ms = (10, 10)
    cluster.reach(1)
    cluster.run(100)
    before = {name: len(node.said(Send)) for name, node in cluster.nodes.items()}
    began = cluster.now
    cluster.submit(1)
    cluster.reach(2)
    took = cluster.now - began
    sent = sum(
        output.to != node.name
        for name, node in cluster.nodes.items()
        for output in node.said(Send)[before[name] :]
    )
    others = members - 1
    assert sent == 3 * others, "O(n): append, acknowledgement, and the word that it is decided"
    assert 10 * (CLAIMS.delays if others else 0) <= took < 10 * (CLAIMS.delays + 1)
    cluster.check()


@pytest.mark.parametrize("members", [3, 4, 5])
def test_without_the_leader_the_others_elect_one_and_go_on(
    make_cluster: "type[Cluster]", members: int
) -> None:
    cluster = make_cluster(members, protocol="raft")
    cluster.reach(1)
    cluster.crash("v1")
    cluster.submit(3, "v2", "v3")
    cluster.reach(2, *list(cluster.nodes)[1:])
    assert cluster["v2"].view >= 1
    cluster.start("v1")
    cluster.submit(1, "v1")
    cluster.reach(cluster["v2"].height + 1)
    cluster.check()


@pytest.mark.parametrize("members", [3, 4, 5, 7])
def test_with_f_silent_it_goes_on_and_with_one_more_it_stops_and_does_not_fork(
    make_cluster: "type[Cluster]", members: int
) -> None:
    cluster = make_cluster(members, protocol="raft")
    cluster.reach(1)
    faults = cluster.committee.faults_max
    names = list(cluster.nodes)
    cluster.crash(*names[:faults])
    cluster.submit(2, *names[faults:])
    cluster.reach(2, *names[faults:])
    top = cluster[names[-1]].height
    cluster.run(5_000)
    cluster.crash(names[faults])
    cluster.submit(2, *names[faults + 1 :])
    assert not cluster.run(30_000, lambda: any(n.height > top + 2 for n in cluster.nodes.values()))
    cluster.start(names[0])
    cluster.start(names[faults])
    cluster.reach(top + 1, *names[faults:])
    cluster.check()


def test_all_may_stop_at_once_and_go_on(make_cluster: "type[Cluster]") -> None:
    cluster = make_cluster(5, protocol="raft")
    cluster.submit(3)
    cluster.reach(2)
    cluster.restart(*cluster.nodes)
    cluster.submit(2)
    cluster.reach(3)
    cluster.check()


@pytest.mark.parametrize("after", range(0, 30, 2))
@pytest.mark.parametrize("name", ["v1", "v2"])
def test_a_crash_after_any_prefix_of_outputs_contradicts_nothing(
    make_cluster: "type[Cluster]", name: str, after: int
) -> None:
    cluster = make_cluster(3, seed=after, protocol="raft")
    cluster.reach(1)
    cluster[name].die_after = cluster[name].done + after
    cluster.submit(3)
    cluster.run(2_000)
    cluster[name].die_after = None
    if cluster[name].protocol is None:
        cluster.start(name)
    cluster.submit(1)
    cluster.reach(3)
    cluster.check()


def test_who_is_a_little_behind_is_told_and_who_is_far_behind_fetches_blocks(
    make_cluster: "type[Cluster]",
) -> None:
    cluster = make_cluster(3, protocol="raft")
    cluster.reach(1)
    for missed, fetched in [(3, False), (ENTRIES_KEPT + 5, True)]:
        cluster.crash("v3")
        for _ in range(missed):
            top = cluster["v1"].height
            cluster.submit(1, "v1", "v2")
            cluster.reach(top + 1, "v1", "v2")
        cluster.start("v3")
        cluster.submit(1)
        cluster.reach(cluster["v1"].height + 1)
        assert any(isinstance(each, NeedSync) for each in cluster["v3"].said(NeedSync)) is fetched
    cluster.check()


def two_words(cluster: "Cluster", other: Digest) -> Any:
    """The leader shows v2 its log, and all others one with another payload."""

    def parcels(node: "Node", message: Message, to: NodeId | None) -> "Iterator[Parcel]":
        for name in cluster.committee.members if to is None else [to]:
            said = message
            if isinstance(message, Append) and name not in (V2, node.name):
                lied = tuple(
                    msgspec.structs.replace(entry, payload=other) for entry in message.entries
                )
                said = msgspec.structs.replace(message, entries=lied)
            yield cluster.sign(node.name, said), name

    return parcels


@pytest.mark.parametrize("seed", range(3))
def test_one_leader_that_says_two_things_forks_it_and_leaves_no_evidence(
    make_cluster: "type[Cluster]", seed: int
) -> None:
    """The other side of its claim: it bears crashes, not lies."""
    cluster = make_cluster(5, seed, protocol="raft")
    cluster.reach(1)
    other = Digest(b"\x07" * 32)
    cluster.payloads[other] = ()
    cluster["v1"].kept[other] = None
    cluster.faulty.add(V1)
    cluster.hooks[V1] = two_words(cluster, other)
    cluster.submit(1)
    with pytest.raises(Diverged, match="at height 2"):
        cluster.run(60_000)
    assert not any(node.reasons() for node in cluster.nodes.values() if node.name != V1)


# --- Rule by rule. ---


def test_r1_the_first_member_leads_term_0_in_its_first_run_only() -> None:
    member = Member(V1)
    assert isinstance(member.said[0], Persist), "remembered before anything is said"
    assert member.machine.progress().leader == V1
    member.start()
    assert member.machine.progress().leader is None
    member.step(PayloadReady(Ticket(Height(1), View(0)), ONE))
    assert member.messages() == []


def test_r2_there_is_one_vote_in_each_term_also_after_a_restart() -> None:
    member = Member()
    end = Position(5, 5)
    assert member.hear(V1, RequestVote(1, end)) == [Vote(1, True, 0)]
    assert member.kinds().index(Persist) < member.kinds().index(Send)
    assert member.hear(V3, RequestVote(1, end)) == [Vote(1, False, 0)]
    member.start()
    assert member.hear(V3, RequestVote(1, end)) == [Vote(1, False, 0)]
    assert member.hear(V1, RequestVote(1, end)) == [Vote(1, True, 0)], "the same one again"
    assert member.hear(V3, RequestVote(2, end)) == [Vote(2, True, 0)], "another term"


def test_r2_a_higher_term_ends_the_leadership() -> None:
    member = Member(V1)
    assert member.machine.progress().leader == V1
    member.hear(V3, Status(4, 0))
    assert member.machine.progress().leader is None
    assert member.machine.progress().view == 4


def test_r3_a_quorum_of_votes_makes_a_leader_and_its_own_counts_when_it_is_durable() -> None:
    member = Member()
    member.step(Pending(True))
    member.step(TimerFired("election"))
    assert member.messages() == [Status(0, 0)], "R14: the leader is asked first"
    member.step(TimerFired("election"))
    said = member.said
    assert [type(each) for each in said][:1] == [Persist]
    assert [each.message for each in said if isinstance(each, Send)] == [
        RequestVote(1, Position(0, 0)), RequestVote(1, Position(0, 0)), Vote(1, True, 0),
    ]  # fmt: skip
    member.hear(V3, Vote(1, False, 0))
    member.hear(V2, Vote(1, True, 0))
    assert member.machine.progress().leader is None
    member.hear(V1, Vote(1, True, 0))
    assert member.machine.progress().leader == V2
    [first, _, own] = member.messages()
    assert first == append(1, (0, 0), (1, NOTHING)), "R6"
    assert own == Ack(1, 1)


def test_r4_an_old_leader_is_told_of_the_term() -> None:
    member = Member()
    member.hear(V3, RequestVote(3, Position(0, 0)))
    assert member.hear(V1, append(0, (0, 0), (0, ONE))) == [Status(3, 0)]
    assert not any(isinstance(each, CheckPayload) for each in member.said)


@pytest.mark.parametrize(
    ("last", "granted"),
    [((0, 2), True), ((1, 2), True), ((0, 3), True), ((0, 1), False), ((1, 1), True)],
)
def test_r5_a_vote_goes_to_who_holds_as_much(last: tuple[int, int], granted: bool) -> None:
    member = Member()
    member.hold(0, ONE, TWO)
    assert member.hear(V3, RequestVote(1, Position(*last))) == [Vote(1, granted, 0)]


def test_r5_nobody_is_elected_who_lacks_what_was_executed_here() -> None:
    member = Member()
    member.step(CaughtUp(Height(7), HEADER))
    assert member.hear(V3, RequestVote(1, Position(9, 6))) == [Vote(1, False, 7)]
    assert member.hear(V3, RequestVote(2, Position(9, 7))) == [Vote(2, True, 7)]


def test_r5_who_is_refused_for_being_behind_fetches_blocks() -> None:
    member = Member()
    member.step(Pending(True))
    member.step(TimerFired("election"))
    member.step(TimerFired("election"))
    member.hear(V3, Vote(1, False, 7))
    assert NeedSync(Height(7)) in member.said


def test_r8_an_append_behind_a_gap_is_refused_with_what_is_here() -> None:
    member = Member()
    assert member.hear(V1, append(0, (0, 1), (0, TWO))) == [Status(0, 0)]
    member.hold(0, ONE)
    member.hear(V1, append(0, (0, 1), (0, TWO)))
    assert member.checked(TWO) == [Ack(0, 2)]


def test_r8_an_entry_of_another_term_below_is_not_the_same() -> None:
    member = Member()
    member.hold(0, ONE)
    assert member.hear(V3, append(2, (1, 1), (2, TWO))) == [Status(2, 0)]


def test_r8_what_contradicts_the_leader_goes_with_all_behind_it() -> None:
    member = Member()
    member.hold(0, ONE, ONE, ONE)
    member.hold(2, TWO, first=2)
    assert member.machine.progress().view == 2
    member.start()
    # Its log ends with the entry of term 2.
    assert member.hear(V1, RequestVote(3, Position(2, 2))) == [Vote(3, True, 0)]
    assert member.hear(V1, RequestVote(4, Position(2, 1))) == [Vote(4, False, 0)]


def test_r8_an_append_that_says_less_takes_nothing_away() -> None:
    member = Member()
    member.hold(0, ONE, TWO)
    assert member.hear(V1, append(0, (0, 0), (0, ONE))) == [Ack(0, 2)]
    assert member.hear(V3, RequestVote(1, Position(0, 1))) == [Vote(1, False, 0)]


def test_r8_only_so_many_entries_ahead_are_taken() -> None:
    member = Member()
    member.step(CaughtUp(Height(5), HEADER))
    member.hear(V1, append(0, (0, 5), *[(0, ONE)] * ENTRIES_MAX))
    assert not any(isinstance(each, NeedSync) for each in member.said)
    far = Member()
    far.step(CaughtUp(Height(1), HEADER))
    for first in range(1, AHEAD_MAX + 1, ENTRIES_MAX):
        far.hear(V1, append(0, (0, first), *[(0, ONE)] * ENTRIES_MAX))
        far.checked(ONE)
    far.hear(V1, append(0, (0, AHEAD_MAX + 1), (0, ONE)))
    assert Ignore(V1, "entries too far ahead") in far.said


def leader_of_term_4() -> Member:
    """Figure 8: it holds an entry of term 0 that two hold, and none of its own yet."""
    member = Member()
    member.hold(0, ONE)
    member.hear(V3, Status(3, 0))
    member.step(Pending(True))
    member.step(TimerFired("election"))
    member.hear(V2, Vote(4, True, 0))
    member.hear(V3, Vote(4, True, 0))
    assert member.machine.progress().leader == V2
    return member


def test_r9_figure_8_entries_of_older_terms_are_not_decided_by_counting() -> None:
    member = leader_of_term_4()
    member.hear(V2, Ack(4, 1))
    member.hear(V1, Ack(4, 1))
    assert member.decisions() == []
    member.hear(V2, Ack(4, 2))
    member.hear(V1, Ack(4, 2))
    assert [(each.height, each.view, each.payloads) for each in member.decisions()] == [
        (1, 0, (ONE,)),
        (2, 4, ()),
    ]
    kinds = member.kinds()
    assert kinds.index(Persist) < kinds.index(Decide), "R12"


def test_r10_who_connects_is_told_what_it_may_lack() -> None:
    member = leader_of_term_4()
    assert member.hear(V1, Status(4, 0)) == [append(4, (0, 0), (0, ONE), (4, NOTHING))]


def test_r11_nothing_is_acknowledged_before_its_payload_is_here() -> None:
    member = Member()
    assert member.hear(V1, append(0, (0, 0), (0, ONE), (0, TWO), decided=2)) == []
    assert member.decisions() == []
    assert member.checked(TWO) == []
    assert member.checked(ONE) == [Ack(0, 2)]
    member.hear(V1, append(0, (0, 2), decided=2))
    assert [each.height for each in member.decisions()] == [1, 2]


def test_r12_what_was_decided_is_decided_again_after_a_restart() -> None:
    member = Member()
    member.hold(0, ONE)
    member.hear(V1, append(0, (0, 1), decided=1))
    assert len(member.decisions()) == 1
    member.start()
    assert any(isinstance(each, CheckPayload) for each in member.said)
    member.checked(ONE)
    assert [each.payloads for each in member.decisions()] == [(ONE,)]


@pytest.mark.parametrize("restart", [False, True])
def test_r12_what_blocks_from_peers_overtook_is_never_shown_to_others(restart: bool) -> None:
    """Another block may have been decided at the height of an entry that was never decided."""
    member = Member()
    member.hold(1, ONE)
    if restart:
        member.start(executed=1)
    else:
        member.step(CaughtUp(Height(1), HEADER))
    assert not any(b"log/" in key for key in member.remembered)
    member.step(Pending(True))
    while member.machine.progress().leader != V2:
        member.step(TimerFired("election"))
        term = member.machine.progress().view
        member.hear(V2, Vote(term, True, 1))
        member.hear(V3, Vote(term, True, 1))
    member.hear(V1, Status(member.machine.progress().view, 0))
    shown = [each for each in member.messages() if isinstance(each, Append)]
    assert shown
    assert all(each.base == 1 and ONE not in [e.payload for e in each.entries] for each in shown)
    # And for votes, the term of what went still counts.
    term = member.machine.progress().view
    assert member.hear(V3, RequestVote(term + 1, Position(0, 1))) == [Vote(term + 1, False, 1)]


def test_r12_what_was_executed_by_way_of_the_log_stays_for_laggards() -> None:
    member = Member()
    member.hold(0, ONE)
    member.hear(V1, append(0, (0, 1), decided=1))
    member.step(Executed(Height(1), HEADER))
    member.start(executed=1)
    assert any(b"log/" in key for key in member.remembered)


def test_r13_timeouts_differ_by_rank_and_double_up_to_their_maximum() -> None:
    delays: dict[NodeId, list[int]] = {}
    for name in (V2, V3):
        member = Member(name)
        member.step(Pending(True))
        for _ in range(24):
            member.step(TimerFired("election"))
            waits = [each.delay_ms for each in member.said if isinstance(each, SetTimer)]
            delays.setdefault(name, []).extend(waits)
    assert all(one != other for one, other in zip(delays[V2], delays[V3], strict=True))
    options = Options()
    top = options.election_max_ms + 2 * options.stagger_ms
    assert options.election_max_ms <= max(delays[V2]) <= top
    assert delays[V2] == sorted(delays[V2]) or min(delays[V2]) < options.election_ms * 2


def test_r14_no_timer_runs_while_nothing_waits() -> None:
    member = Member()
    member.hold(0, ONE)
    member.hear(V1, append(0, (0, 1), decided=1))
    member.step(Executed(Height(1), HEADER))
    assert any(isinstance(each, CancelTimer) for each in member.said)
    member.step(Pending(True))
    assert any(isinstance(each, SetTimer) for each in member.said)
    member.step(Pending(False))
    assert any(isinstance(each, CancelTimer) for each in member.said)


@pytest.mark.parametrize(
    "message",
    [
        append(NUMBER_MAX, (NUMBER_MAX, NUMBER_MAX), (NUMBER_MAX, ONE), decided=NUMBER_MAX),
        append(NUMBER_MAX, (0, 0), base=NUMBER_MAX),
        Ack(NUMBER_MAX, NUMBER_MAX),
        Status(NUMBER_MAX, NUMBER_MAX),
        RequestVote(NUMBER_MAX, Position(NUMBER_MAX, NUMBER_MAX)),
        Vote(NUMBER_MAX, True, NUMBER_MAX),
    ],
)
@pytest.mark.parametrize("name", [V1, V2])
def test_the_greatest_numbers_raise_nothing(name: NodeId, message: Message) -> None:
    member = Member(name)
    member.step(Pending(True))
    for _ in range(3):
        member.hear(V3, message)
        member.step(TimerFired("election"))
    member.hear(NodeId("stranger"), message)
    assert Ignore(NodeId("stranger"), "not a member") in member.said


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"election_ms": 0}, "at least 1"),
        ({"heartbeat_ms": 500}, "below election_ms"),
        ({"election_max_ms": 400}, "at least election_ms"),
        ({"pipeline": 0}, "pipeline"),
        ({"pipeline": ENTRIES_MAX + 1}, "pipeline"),
    ],
)
def test_options_that_cannot_be_are_refused(wrong: Mapping[str, int], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        Options(**wrong)
