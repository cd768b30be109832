"""PBFT with MACs: the normal case, faulty members, view changes, restarts."""

from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from consensus.interface import (
    Accountability,
    Accuse,
    CommitteeChanged,
    Height,
    Overdue,
    Received,
    Send,
    Signed,
)
from consensus.protocols import pbft_mac
from consensus.protocols._pbft_mac_log import CorruptMemory, Entry
from consensus.protocols._pbft_mac_messages import (
    CHOICES_MAX,
    NULL,
    SPAN_MAX,
    Ack,
    Checkpoint,
    Claim,
    Commit,
    Copy,
    Fetch,
    Message,
    Named,
    NewView,
    Prepare,
    PrePrepare,
    Result,
    Status,
    ViewChange,
    digest,
)
from crypto.encoding import Codec, encode
from crypto.hashes import sha256
from crypto.interface import Digest, NodeId, Signature
from tests.consensus.pbft_mac_liar import SETTINGS, Ear, replaced

if TYPE_CHECKING:
    from tests.consensus.conftest import Cluster, Node, Parcel

TIMEOUT_MS = 1_000
"""The default view timeout."""

OTHER = Digest(b"\x01" * 32)
HASH = sha256.create(sha256.Options())
Change = Callable[[Message, int], list[Message]]


def started(make_cluster: "type[Cluster]", n: int = 4, seed: int = 0, **options: Any) -> "Cluster":
    cluster = make_cluster(n, seed, protocol="pbft_mac", **options)
    cluster.reach(1)
    return cluster


def tell(cluster: "Cluster", name: str, author: str, message: Message, by: str = "") -> None:
    signed = Signed(NodeId(author), message, Signature(b""))
    cluster.step(cluster[name], Received(NodeId(by or author), signed))


def said(cluster: "Cluster", name: str, kind: type[Any]) -> list[Any]:
    return [x.message for x in cluster[name].said(Send) if isinstance(x.message, kind)]


def instead(cluster: "Cluster", kind: type[Any], change: Change) -> "Any":
    """A hook: for each receiver (by number), say `change(message, number)` for each `kind`."""

    def parcels(node: "Node", message: Message, to: NodeId | None) -> "Iterator[Parcel]":
        for index, name in enumerate(cluster.nodes):
            if to in {None, name}:
                for lie in change(message, index) if isinstance(message, kind) else [message]:
                    yield cluster.sign(node.name, lie), name

    return parcels


def other_payload(cluster: "Cluster") -> Digest:
    """A payload that everybody has and would find valid."""
    cluster.payloads[OTHER] = (10_000,)
    for node in cluster.nodes.values():
        node.kept[OTHER] = None
    return OTHER


# --- The normal case. ----------------------------------------------------------------------------


@pytest.mark.parametrize("n", [4, 7])
def test_a_decision_takes_three_delays_and_n_squared_messages(
    make_cluster: "type[Cluster]", n: int
) -> None:
    cluster = make_cluster(n, protocol="pbft_mac")
    cluster.run(1_000)
    cluster.delay_ms = (100, 100)
    before = {name: len(node.outputs) for name, node in cluster.nodes.items()}
    begun = cluster.now
    cluster.submit()
    cluster.reach(2)
    hops = pbft_mac.CLAIMS.delays * 100
    assert hops <= cluster.now - begun < hops + 50
    cluster.run(1_000)
    counts = Counter(
        type(output.message).__name__
        for name, node in cluster.nodes.items()
        for output in node.outputs[before[name] :]
        if isinstance(output, Send)
    )
    assert counts == {"PrePrepare": 1, "Prepare": n - 1, "Commit": n}
    assert pbft_mac.CLAIMS.messages == "O(n^2)"
    assert pbft_mac.CLAIMS.accountable is Accountability.NONE


def test_nothing_is_signed_and_nothing_encloses_what_another_said(
    make_cluster: "type[Cluster]",
) -> None:
    cluster = started(make_cluster)
    cluster.crash("v1")
    cluster.submit()
    cluster.reach(2, "v2", "v3", "v4")
    sent = [output.message for node in cluster.nodes.values() for output in node.said(Send)]
    assert {PrePrepare, Prepare, Commit, ViewChange, Ack, NewView} <= {type(x) for x in sent}
    assert all(message.slot() is None and not message.enclosed() for message in sent)


def test_nobody_speaks_while_nothing_is_pending(make_cluster: "type[Cluster]") -> None:
    cluster = started(make_cluster)
    cluster.submit(3)
    cluster.run(5_000)
    count = {name: len(node.outputs) for name, node in cluster.nodes.items()}
    assert not any(node.timers for node in cluster.nodes.values())
    cluster.run(60_000)
    assert count == {name: len(node.outputs) for name, node in cluster.nodes.items()}
    cluster.submit()
    cluster.reach(3, within_ms=500)


def test_a_stable_checkpoint_moves_the_watermarks_and_empties_memory(
    make_cluster: "type[Cluster]",
) -> None:
    cluster = started(make_cluster, window=8, checkpoint_interval=4)
    remembered = []
    for height in range(2, 60):
        cluster.submit()
        cluster.reach(height)
        remembered.append(max(len(node.remembered) for node in cluster.nodes.values()))
    assert max(remembered[30:]) <= max(remembered[:30]) <= 3 * 8 + 5
    cluster.check()


@pytest.mark.parametrize("members", [1, 2, 3, 5, 6, pytest.param(10, marks=pytest.mark.slow)])
def test_committees_of_any_size_decide_and_change_views(
    make_cluster: "type[Cluster]", members: int
) -> None:
    cluster = started(make_cluster, members)
    for node in cluster.nodes.values():
        cluster.step(node, Overdue(1))
    cluster.submit()
    cluster.reach(2)
    assert members == 1 or cluster["v1"].view >= 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"view_timeout_ms": 0},
        {"window": 0},
        {"pipeline": 65},
        {"checkpoint_interval": 64},
        {"resend_ms": 0},
    ],
)
def test_options_that_cannot_work_are_refused_by_name(wrong: dict[str, int]) -> None:
    pbft_mac.Options()
    with pytest.raises(ValueError, match="|".join(wrong)):
        pbft_mac.Options(**wrong)


def test_another_committee_is_refused_loudly(make_cluster: "type[Cluster]") -> None:
    cluster = started(make_cluster)
    with pytest.raises(AssertionError, match="committee"):
        cluster.step(cluster["v1"], CommitteeChanged(Height(9), cluster.committee))


# --- Faulty members. -----------------------------------------------------------------------------


@pytest.mark.parametrize("split", [1, 2, 3])
def test_an_equivocating_primary_forks_nothing_and_is_not_accused(
    make_cluster: "type[Cluster]", split: int
) -> None:
    """Nobody could check an accusation, so there is none."""
    cluster = started(make_cluster)
    other = other_payload(cluster)
    cluster.hooks[NodeId("v1")] = instead(
        cluster,
        PrePrepare,
        lambda m, i: [replaced(m, payload=other), m] if i >= split else [m],
    )
    cluster.submit(2)
    cluster.reach(2, "v2", "v3", "v4", within_ms=10 * TIMEOUT_MS)
    cluster.run(5_000)
    assert not cluster["v2"].mempool
    assert "a second thing said" in cluster["v4"].reasons()
    assert not any(node.said(Accuse) for node in cluster.nodes.values())


def test_a_silent_primary_is_replaced(make_cluster: "type[Cluster]") -> None:
    cluster = started(make_cluster)
    cluster.crash("v1")
    cluster.submit()
    cluster.reach(2, "v2", "v3", "v4", within_ms=2 * TIMEOUT_MS)
    assert {cluster[name].view for name in ("v2", "v3", "v4")} == {1}
    cluster.start("v1")
    cluster.submit()
    cluster.reach(3, within_ms=5 * TIMEOUT_MS)


def test_a_primary_that_proposes_what_is_invalid_is_replaced(
    make_cluster: "type[Cluster]",
) -> None:
    cluster = started(make_cluster)
    cluster["v1"].proposes_invalid = True
    cluster.faulty.add(NodeId("v1"))
    cluster.submit()
    cluster.reach(2, "v2", "v3", "v4", within_ms=3 * TIMEOUT_MS)
    assert cluster["v2"].view == 1


@pytest.mark.parametrize("n", [4, pytest.param(7, marks=pytest.mark.slow)])
def test_f_silent_members_stop_nothing_and_f_plus_one_stop_everything(
    make_cluster: "type[Cluster]", n: int
) -> None:
    cluster = started(make_cluster, n)
    faults = cluster.committee.faults_max
    names = list(cluster.nodes)
    cluster.crash(*names[:faults])
    cluster.submit()
    cluster.reach(2, *names[faults:], within_ms=20 * TIMEOUT_MS)
    cluster.crash(names[faults])
    cluster.submit()
    height = cluster[names[-1]].height
    cluster.run(60_000)
    assert cluster[names[-1]].height == height
    cluster.start(names[0])
    cluster.reach(height + 1, *names[faults + 1 :], within_ms=200_000)


@pytest.mark.parametrize("seed", range(4))
def test_lost_repeated_and_late_messages_cost_time_only(
    make_cluster: "type[Cluster]", seed: int
) -> None:
    cluster = make_cluster(4, seed, protocol="pbft_mac")
    cluster.loss, cluster.repeats, cluster.delay_ms = 0.3, 0.3, (1, 120)
    ear = Ear(cluster)
    for height in range(1, 6):
        cluster.submit()
        cluster.reach(height, within_ms=120_000)
    ear.check()


def test_a_message_counts_only_from_its_author(make_cluster: "type[Cluster]") -> None:
    """The link vouches for its other end. Nothing vouches for what is passed on."""
    cluster = started(make_cluster)
    cluster.drop = lambda *_: True
    for name in ("v1", "v3", "v4"):
        tell(cluster, "v2", name, ViewChange(1, 0, (Result(0, NULL),), (), ()), by="v4")
    assert cluster["v2"].reasons()[-2:] == ["not the author"] * 2
    assert cluster["v2"].view == 0, "one voice is no f + 1"
    tell(cluster, "v2", "v3", ViewChange(1, 0, (Result(0, NULL),), (), ()))
    assert cluster["v2"].view == 1


@pytest.mark.parametrize(
    ("reason", "author", "message"),
    [
        ("not by the primary", "v3", PrePrepare(0, 2, OTHER)),
        ("by the primary", "v1", Prepare(0, 2, OTHER)),
        ("above the high", "v3", Prepare(0, 2**62, OTHER)),
        ("too far ahead", "v3", Commit(2**62, 2, OTHER)),
        ("below the low", "v3", Commit(0, 0, OTHER)),
        ("far ahead", "v3", Checkpoint(2**62, OTHER)),
        ("no interval", "v3", Checkpoint(3, OTHER)),
        ("old checkpoint", "v3", Checkpoint(0, OTHER)),
        ("null request", "v1", PrePrepare(0, 3, NULL)),
        ("old view-change", "v3", ViewChange(0, 0, (Result(0, NULL),), (), ())),
        ("view-change: no stable", "v3", ViewChange(9, 0, (), (), ())),
        ("acknowledged", "v3", Ack(9, NodeId("stranger"), OTHER)),
        ("later view", "v2", NewView(1, (), Result(0, NULL), ())),
        ("old new-view", "v1", NewView(0, (), Result(0, NULL), ())),
        ("nothing to copy", "v3", Fetch(7, ())),
        (
            "of no use",
            "v3",
            Copy(NodeId("v1"), ViewChange(0, 0, (Result(0, NULL),), (), ())),
        ),
    ],
)
def test_what_makes_no_sense_is_refused(
    make_cluster: "type[Cluster]", reason: str, author: str, message: Message
) -> None:
    cluster = started(make_cluster, checkpoint_interval=4)
    before = len(cluster["v2"].reasons())
    tell(cluster, "v2", author, message)
    assert any(reason in text for text in cluster["v2"].reasons()[before:])
    cluster.submit()
    cluster.reach(2, within_ms=500)


def test_a_flood_of_statuses_and_fetches_is_answered_a_few_times(
    make_cluster: "type[Cluster]",
) -> None:
    cluster = started(make_cluster)
    before = len(cluster["v2"].said(Send))
    for _ in range(1_000):
        tell(cluster, "v2", "v4", Status(9, True, 0, 0))
        tell(cluster, "v2", "v4", Fetch(0, ()))
        tell(cluster, "v2", "v4", Commit(9, 2, OTHER))
    assert 0 < len(cluster["v2"].said(Send)) - before < 10


# --- View changes. -------------------------------------------------------------------------------


def committed_at_one(cluster: "Cluster", name: str = "v4") -> Digest:
    """Height 2 is decided at `name` alone, in view 0; whoever else prepared it lacks commits."""
    cluster.drop = lambda _, to, message: isinstance(message, Commit) and to != name
    cluster.syncs = False
    cluster.submit()
    cluster.reach(2, name, within_ms=500)
    return cluster.chain[2][0]


def test_a_view_change_carries_over_what_prepared(make_cluster: "type[Cluster]") -> None:
    cluster = started(make_cluster)
    decided = committed_at_one(cluster)
    cluster.run(TIMEOUT_MS - 200)
    cluster.drop = lambda sender, *_: sender in {"v1", "v4"}
    cluster.run(300)
    cluster.drop = lambda *_: False
    cluster.reach(2, within_ms=20 * TIMEOUT_MS)
    assert cluster["v2"].view >= 1
    assert cluster.chain[2] == (decided,)


def test_a_liar_that_denies_what_it_prepared_cannot_undo_it(
    make_cluster: "type[Cluster]",
) -> None:
    """V2, the next primary, and v3 prepared it; v1 says that X prepared later, and v4 is down."""
    cluster = started(make_cluster)
    decided = committed_at_one(cluster)
    lies = (Claim(2, 0, other_payload(cluster)),)
    cluster.hooks[NodeId("v1")] = instead(
        cluster, ViewChange, lambda m, _: [replaced(m, prepared=lies, pre_prepared=lies)]
    )
    cluster.run(2 * TIMEOUT_MS)
    cluster.drop = lambda *_: False
    cluster.reach(2, "v2", "v3", within_ms=60 * TIMEOUT_MS)
    assert cluster.chain[2] == (decided,)


def test_a_primary_that_chooses_something_else_is_not_followed(
    make_cluster: "type[Cluster]",
) -> None:
    cluster = started(make_cluster)
    decided = committed_at_one(cluster)
    other = other_payload(cluster)
    cluster.hooks[NodeId("v2")] = instead(
        cluster, NewView, lambda m, _: [replaced(m, payloads=(other,))]
    )
    cluster.run(2 * TIMEOUT_MS)
    cluster.drop = lambda *_: False
    cluster.reach(2, "v1", "v3", "v4", within_ms=20 * TIMEOUT_MS)
    assert cluster.chain[2] == (decided,)
    assert any("another choice" in reason for reason in cluster["v3"].reasons())


def test_a_backup_refuses_what_the_new_view_does_not_demand(
    make_cluster: "type[Cluster]",
) -> None:
    cluster = started(make_cluster)
    decided = committed_at_one(cluster)
    other = other_payload(cluster)
    cluster.hooks[NodeId("v2")] = instead(
        cluster,
        PrePrepare,
        lambda m, _: [replaced(m, payload=other) if m.view == 1 else m],  # type: ignore[union-attr]
    )
    cluster.run(2 * TIMEOUT_MS)
    cluster.drop = lambda *_: False
    cluster.reach(2, "v1", "v3", "v4", within_ms=20 * TIMEOUT_MS)
    assert cluster.chain[2] == (decided,)
    assert "not what the new view demands" in cluster["v3"].reasons()


def test_without_acks_no_view_begins(make_cluster: "type[Cluster]") -> None:
    cluster = started(make_cluster)
    cluster.drop = lambda sender, _, message: sender == "v1" or isinstance(message, Ack)
    cluster.submit()
    cluster.run(10 * TIMEOUT_MS)
    assert cluster["v3"].height == 1
    assert not said(cluster, "v2", NewView)
    cluster.drop = lambda sender, *_: sender == "v1"
    cluster.reach(2, "v2", "v3", "v4")


def test_who_missed_a_view_change_gets_it_from_f_plus_one(make_cluster: "type[Cluster]") -> None:
    """V3 never says it to v4. The primary alone may not say it for v3; v1 and it together may."""
    cluster = started(make_cluster)
    cluster.drop = lambda sender, to, message: (
        (sender == "v1" and isinstance(message, PrePrepare))
        or (sender == "v3" and to == "v4" and isinstance(message, ViewChange))
        or (sender == "v4" and isinstance(message, ViewChange) and to != "v4")
    )
    cluster.submit()
    cluster.run(int(1.8 * TIMEOUT_MS))
    assert said(cluster, "v4", Fetch)
    assert said(cluster, "v1", Copy)
    assert "v4" not in {item.author for item in said(cluster, "v2", NewView)[0].changes}
    assert cluster["v4"].protocol is not None
    progress = cluster["v4"].protocol.progress()
    assert (progress.view, progress.phase) == (1, "normal")


def named_by_the_primary(cluster: "Cluster") -> tuple[NewView, Copy]:
    """What v2 says at v4: a new-view with a view-change of v3 that v4 has not seen."""
    change = said(cluster, "v4", ViewChange)[0]
    for name in ("v2", "v4"):
        tell(cluster, "v4", name, change)
    changes = tuple(Named(NodeId(name), digest(HASH, change)) for name in ("v2", "v3", "v4"))
    payloads = tuple(claim.payload for claim in change.prepared)
    return NewView(1, changes, Result(0, NULL), payloads), Copy(NodeId("v3"), change)


def test_a_primary_alone_cannot_speak_for_another(make_cluster: "type[Cluster]") -> None:
    """Its word and its copy are one voice. A second voice makes f + 1."""
    cluster = started(make_cluster)
    cluster.drop = lambda *_: True
    cluster.step(cluster["v4"], Overdue(1))
    cluster.run(50)
    protocol = cluster["v4"].protocol
    assert protocol is not None
    new_view, copy = named_by_the_primary(cluster)
    tell(cluster, "v4", "v2", new_view)
    for _ in range(3):
        tell(cluster, "v4", "v2", copy)
    assert protocol.progress().phase == "view-change"
    tell(cluster, "v4", "v3", copy)
    assert protocol.progress().phase == "view-change", "its author has to say it in its own name"
    tell(cluster, "v4", "v1", replaced(copy, change=replaced(copy.change, view=2)))
    assert protocol.progress().phase == "view-change", "another digest"
    tell(cluster, "v4", "v1", copy)
    assert (protocol.progress().phase, protocol.progress().view) == ("normal", 1)


@pytest.mark.parametrize(
    ("reason", "change"),
    [
        ("no quorum", lambda m: replaced(m, changes=m.changes[1:])),
        ("no quorum", lambda m: replaced(m, changes=(m.changes[0], *m.changes[:-1]))),
        ("not a member", lambda m: replaced(m, changes=(*m.changes, Named(NodeId("w"), OTHER)))),
        ("another choice", lambda m: replaced(m, payloads=(*m.payloads, OTHER))),
        ("another choice", lambda m: replaced(m, base=Result(16, OTHER))),
    ],
)
def test_a_bad_new_view_is_refused_and_leads_to_the_next_view(
    make_cluster: "type[Cluster]", reason: str, change: Callable[[Any], Message]
) -> None:
    cluster = started(make_cluster, 7)
    cluster.hooks[NodeId("v2")] = instead(cluster, NewView, lambda m, _: [change(m)])
    cluster.crash("v1")
    cluster.submit()
    cluster.reach(2, "v3", "v4", "v5", "v6", "v7", within_ms=10 * TIMEOUT_MS)
    assert cluster["v3"].view >= 2
    assert any(reason in text for text in cluster["v3"].reasons())


def test_two_view_changes_of_one_author_delay_nobody(make_cluster: "type[Cluster]") -> None:
    """V4 says one thing to the next primary and another to the rest: no quorum vouches for it."""
    cluster = started(make_cluster)
    lies = (Claim(2, 0, other_payload(cluster)),)
    cluster.hooks[NodeId("v4")] = instead(
        cluster, ViewChange, lambda m, i: [replaced(m, prepared=lies) if i == 1 else m]
    )
    cluster.drop = lambda sender, _, m: sender == "v1" and isinstance(m, PrePrepare)
    cluster.submit()
    cluster.reach(2, "v1", "v2", "v3", within_ms=3 * TIMEOUT_MS)
    assert cluster["v2"].view == 1
    named = {item.author for item in said(cluster, "v2", NewView)[0].changes}
    assert named == {"v1", "v2", "v3"}


def test_heights_below_the_start_of_a_view_are_not_voted_on_in_it(
    make_cluster: "type[Cluster]",
) -> None:
    """Others have decided them and forgotten; who lags there syncs."""
    cluster = started(make_cluster, **SETTINGS)
    cluster.partition(["v1", "v2", "v3"])
    cluster.syncs = False
    for height in range(2, 7):
        cluster.submit()
        cluster.reach(height, "v1", "v2", "v3")
    cluster.run(300)
    cluster.crash("v1")
    cluster.heal()
    cluster.drop = lambda _, to, m: to == "v4" and isinstance(m, Commit | Checkpoint)
    cluster.submit()
    cluster.reach(4, "v4")
    assert cluster["v4"].view >= 1
    base = said(cluster, cluster.committee.members[cluster["v4"].view % 4], NewView)[-1].base
    assert base.height == 4
    tell(cluster, "v4", cluster.committee.members[cluster["v4"].view % 4],
         PrePrepare(cluster["v4"].view, 3, other_payload(cluster)))  # fmt: skip
    assert cluster["v4"].reasons()[-1] == "height below the start of the view"


# --- What is remembered. -------------------------------------------------------------------------


def busy_life(cluster: "Cluster") -> None:
    """Votes, checkpoints, two view changes, new views."""
    for height in range(2, 6):
        cluster.submit(2)
        cluster.run(60)
        if height in {3, 5}:
            for node in cluster.nodes.values():
                if node.protocol is not None:
                    cluster.step(node, Overdue(1))
            cluster.run(900)


def comes_back(cluster: "Cluster", *names: str) -> None:
    for name in names:
        cluster[name].die_after = None
        if cluster[name].protocol is None:
            cluster.start(name)
    cluster.run(1_000)
    top = max(cluster.chain)
    cluster.submit()
    cluster.reach(top + 1, within_ms=30_000)
    assert cluster.run(30_000, lambda: not any(n.mempool for n in cluster.nodes.values()))


@pytest.mark.parametrize("name", ["v1", "v2"])
@pytest.mark.parametrize(
    "part", [pytest.param(part, marks=pytest.mark.slow if part else ()) for part in range(16)]
)
def test_a_crash_after_any_prefix_of_outputs_contradicts_nothing(
    make_cluster: "type[Cluster]", name: str, part: int
) -> None:
    """V1 leads first, v2 after the first view change. No signer helps; the ear compares."""
    whole = make_cluster(4, 1, protocol="pbft_mac", **SETTINGS)
    busy_life(whole)
    assert whole[name].view >= 1
    assert whole[name].done > 60
    for prefix in range(part, whole[name].done, 16):
        cluster = make_cluster(4, 1, protocol="pbft_mac", **SETTINGS)
        ear = Ear(cluster)
        cluster[name].die_after = prefix
        busy_life(cluster)
        comes_back(cluster, name)
        ear.check()


@pytest.mark.parametrize(
    "at_ms",
    [pytest.param(at, marks=pytest.mark.slow if at % 32 else ()) for at in range(0, 128, 8)],
)
def test_all_may_restart_at_once(make_cluster: "type[Cluster]", at_ms: int) -> None:
    cluster = make_cluster(4, 2, protocol="pbft_mac", **SETTINGS)
    ear = Ear(cluster)
    cluster.submit(2)
    cluster.run(at_ms)
    cluster.restart(*cluster.nodes)
    comes_back(cluster)
    ear.check()


def test_a_restarted_backup_sticks_to_what_it_agreed_to(make_cluster: "type[Cluster]") -> None:
    """No signer would refuse the other prepare."""
    cluster = started(make_cluster)
    other = other_payload(cluster)
    cluster.drop = lambda *_: True
    cluster.submit(1, "v1")
    cluster.run(5)
    proposed = said(cluster, "v1", PrePrepare)[-1]
    tell(cluster, "v2", "v1", proposed)
    cluster.run(20)
    assert said(cluster, "v2", Prepare)[-1] == Prepare(0, 2, proposed.payload)
    cluster.restart("v2")
    tell(cluster, "v2", "v1", PrePrepare(0, 2, other))
    cluster.run(20)
    assert {m.payload for m in said(cluster, "v2", Prepare) if m.height == 2} == {proposed.payload}


def test_what_cannot_be_read_back_stops_the_start(make_cluster: "type[Cluster]") -> None:
    cluster = started(make_cluster)
    cluster.crash("v2")
    cluster["v2"].remembered[b"view"] = b"rubbish"
    with pytest.raises(CorruptMemory, match="cannot read"):
        cluster.start("v2")


def test_of_many_payloads_for_one_height_the_newest_are_kept() -> None:
    entry = Entry()
    for view in range(CHOICES_MAX + 3):
        entry.add(Claim(7, view, Digest(bytes([99 - view]) * 32)))
    assert sorted(claim.view for claim in entry.pre_prepared) == list(range(3, CHOICES_MAX + 3))
    entry.add(Claim(7, 50, Digest(bytes([94]) * 32)))
    assert len(entry.pre_prepared) == CHOICES_MAX
    assert entry.said(50) == bytes([94]) * 32
    assert entry.said(5) is None, "the same payload, in a later view"


def test_a_view_change_as_long_as_it_may_be_is_encoded_within_the_limit_of_a_frame() -> None:
    claims = tuple(Claim(height, 2**62, OTHER) for height in range(1, SPAN_MAX + 1))
    whole = ViewChange(2**63 - 1, 0, (Result(0, NULL),), claims, claims * CHOICES_MAX)
    codec: Codec[ViewChange] = Codec(ViewChange, bytes_max=1 << 20)
    assert codec.decode(encode(whole)) == whole
