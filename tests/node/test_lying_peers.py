"""Who is behind asks peers for blocks, and some of them lie: they are left alone for a while."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

from crypto.certificate import Certificate, Vote
from crypto.encoding import encode
from crypto.interface import Digest, NodeId, Signature
from node.sync import DISTRUST_S, REPLY_TIMEOUT_S, serve
from node.wire import BLOCKS_MAX, BlocksReply, BlocksRequest, CertifiedBlock, StatusReport
from simulation.whole_cluster import WholeCluster, heights

Make = Callable[..., WholeCluster]
Lie = Callable[[BlocksReply], BlocksReply | None]
"""From the honest answer to the one that is sent; None: none is."""

NUMBER_MAX = 2**63 - 1


def but(record: Any, **fields: object) -> Any:
    return msgspec.structs.replace(record, **fields)


def each(change: Callable[[CertifiedBlock], CertifiedBlock]) -> Lie:
    return lambda reply: but(reply, blocks=tuple(map(change, reply.blocks)))


def forged(block: CertifiedBlock) -> CertifiedBlock:
    votes = tuple(Vote(vote.validator, Signature(bytes(64))) for vote in block.certificate.votes)
    return but(block, certificate=but(block.certificate, votes=votes))  # type: ignore[no-any-return]


def too_few(block: CertifiedBlock) -> CertifiedBlock:
    votes = block.certificate.votes[:2]
    return but(block, certificate=but(block.certificate, votes=votes))  # type: ignore[no-any-return]


def doubled(block: CertifiedBlock) -> CertifiedBlock:
    first, *_ = block.certificate.votes
    votes = (first,) * 3
    return but(block, certificate=but(block.certificate, votes=votes))  # type: ignore[no-any-return]


def made_up(block: CertifiedBlock) -> CertifiedBlock:
    header = but(block.header, state_root=Digest(bytes(32)))
    return CertifiedBlock(header, block.body, block.certificate)


LIES: dict[str, tuple[Lie, str]] = {
    "nothing": (lambda reply: but(reply, blocks=()), "claimed_height_not_served"),
    "silence": (lambda _: None, "no_answer"),
    "something else than asked": (lambda reply: but(reply, first=reply.first + 1), "no_answer"),
    "signatures that are none": (each(forged), "invalid_certificate"),
    "too few signatures": (each(too_few), "invalid_certificate"),
    "one signature three times": (each(doubled), "invalid_certificate"),
    "another header": (each(made_up), "certificate_of_another_header"),
    "another body": (each(lambda b: but(b, body=b.body + b"\0")), "body_of_another_header"),
    "a later block first": (
        lambda reply: but(reply, blocks=reply.blocks[2:]),
        "does_not_continue_our_chain",
    ),
}


class Behind:
    """v1, v3 and v4 have some blocks; v2 has lost its own and comes back."""

    def __init__(self, cluster: WholeCluster) -> None:
        self.cluster = cluster
        cluster.start()
        assert cluster.run(60_000, lambda: min(heights(cluster.running())) >= 1)
        cluster.crash("v2")
        cluster["v2"].disk.wipe()
        for number in range(8):
            cluster.submit(1, "v3")
            assert cluster.run(60_000, lambda n=number: len(cluster.acknowledged) > n)  # type: ignore[misc]
        self.goal = max(heights(cluster.running()))

    def liar(self, name: str, lie: Lie, claim: int = NUMBER_MAX) -> None:
        """From now on this validator claims that height and answers so."""
        assembled = self.cluster[name].assembled
        assert assembled is not None
        node: Any = assembled.node

        def answer(peer: NodeId, request: BlocksRequest) -> None:
            reply = lie(serve(node.ledger, node.chain.certified, request))
            if reply is not None:
                node._network.send(peer, encode(reply))

        node._serve = answer
        node._status = lambda: StatusReport(claim, claim, 0)

    def counted(self, reason: str) -> int:
        assembled = self.cluster["v2"].assembled
        assert assembled is not None
        found = assembled.metrics.registry.get_sample_value(
            "assay_messages_ignored_total", {"reason": reason}
        )
        return int(found or 0)

    def comes_back(self, within_ms: float) -> bool:
        if self.cluster["v2"].assembled is None:
            self.cluster.start("v2")
        return self.cluster.run(within_ms, lambda: self.cluster["v2"].height >= self.goal)


@pytest.fixture
def behind(make_cluster: Make) -> Behind:
    return Behind(make_cluster())


@pytest.mark.parametrize("what", LIES)
def test_a_liar_is_counted_and_not_asked_again_and_the_others_have_the_blocks(
    behind: Behind, what: str
) -> None:
    lie, reason = LIES[what]
    behind.liar("v4", lie)
    assert behind.comes_back((REPLY_TIMEOUT_S + 5) * 1000)
    assert behind.counted(reason) == 1
    behind.cluster.run((DISTRUST_S - REPLY_TIMEOUT_S - 10) * 1000)
    assert behind.counted(reason) == 1, "it claims more than anybody, and is not asked"
    behind.cluster.check()


def test_without_a_lie_nobody_is_distrusted(behind: Behind) -> None:
    assert behind.comes_back(5_000)
    assert [behind.counted(reason) for _, reason in LIES.values()] == [0] * len(LIES)
    behind.cluster.check()


def test_one_honest_peer_is_enough(behind: Behind) -> None:
    behind.liar("v3", LIES["nothing"][0])
    behind.liar("v4", LIES["signatures that are none"][0], claim=1_000)
    assert behind.comes_back(10_000)
    assert behind.counted("claimed_height_not_served") == 1
    assert behind.counted("invalid_certificate") == 1
    behind.cluster.check()


def test_with_liars_only_it_waits_says_so_and_takes_the_first_honest_answer(
    behind: Behind,
) -> None:
    cluster = behind.cluster
    for name in ("v1", "v3", "v4"):
        behind.liar(name, LIES["silence"][0], claim=behind.goal)
        # Nor do they say a word about these heights in consensus.
        member = cluster[name].assembled
        assert member is not None
        liar: Any = member.node
        liar.send = liar.broadcast = lambda *_: None
    assert not behind.comes_back(4 * REPLY_TIMEOUT_S * 1000)
    assert behind.counted("no_answer") == 3
    assembled = cluster["v2"].assembled
    assert assembled is not None
    assert cluster["v2"].height == 0, "nothing was believed"
    assert len(assembled.answers.status().reason) > 20
    cluster.crash("v3")
    cluster.start("v3")  # An honest one again.
    assert behind.comes_back((DISTRUST_S + 5) * 1000)
    cluster.check()


def test_an_answer_holds_no_more_blocks_than_a_frame_may(behind: Behind) -> None:
    assembled = behind.cluster["v1"].assembled
    assert assembled is not None
    node = assembled.node
    requests = [BlocksRequest(1, BLOCKS_MAX), BlocksRequest(behind.goal, BLOCKS_MAX)]
    replies = [serve(node.ledger, node.chain.certified, request) for request in requests]
    assert [len(reply.blocks) for reply in replies] == [behind.goal, 1]
    beyond: Sequence[object] = serve(
        node.ledger, node.chain.certified, BlocksRequest(NUMBER_MAX, BLOCKS_MAX)
    ).blocks
    assert beyond == ()
    certificate = replies[0].blocks[0].certificate
    assert isinstance(certificate, Certificate)
