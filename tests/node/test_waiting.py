"""Clients that wait for a commitment hear of it, whenever they begin to wait."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from crypto.certificate import Certificate
from node.service import Outcome
from simulation.whole_cluster import WholeCluster, heights

WAIT_MS = 5_000


def test_who_begins_to_wait_in_the_moment_of_the_announcement_is_answered(
    make_cluster: Callable[..., WholeCluster],
) -> None:
    """It came too late to be told, and looked before the certificate was stored: never answered."""
    cluster = make_cluster()
    cluster.start()
    assert cluster.run(60_000, lambda: min(heights(cluster.running())) >= 1)
    assembled = cluster["v2"].assembled
    assert assembled is not None
    chain: Any = assembled.node.chain
    certify = chain.certify
    answers: list[asyncio.Task[Sequence[Outcome | None]]] = []

    async def certify_while_somebody_asks(certificate: Certificate) -> None:
        ids = chain._uncertified[certificate.height].ids
        answers.append(asyncio.create_task(assembled.answers.wait_committed(ids, WAIT_MS)))
        await certify(certificate)

    chain.certify = certify_while_somebody_asks
    cluster.submit(5, "v2")
    assert cluster.run(60_000, lambda: len(cluster.acknowledged) == 5)
    assert cluster.run(2 * WAIT_MS, lambda: all(answer.done() for answer in answers))
    outcomes = [outcome for answer in answers for outcome in answer.result()]
    assert len(outcomes) >= 5
    assert None not in outcomes
