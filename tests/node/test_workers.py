"""Work off the event loop: in lanes that do not hold up one another, and of a bounded size."""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from node.ingress import CHUNK
from node.workers import Lane, ThreadWorkers
from simulation.whole_cluster import WholeCluster, heights

TIMEOUT_S = 10.0


@pytest.mark.parametrize("busy", list(Lane))
def test_a_busy_lane_holds_up_neither_the_loop_nor_another_lane(busy: Lane) -> None:
    asyncio.run(others_go_on(busy))


async def others_go_on(busy: Lane) -> None:
    workers = ThreadWorkers()
    release = threading.Event()
    held = asyncio.ensure_future(workers.run(busy, release.wait, TIMEOUT_S))
    try:
        async with asyncio.timeout(TIMEOUT_S):
            for lane in Lane:
                if lane is not busy:
                    assert await workers.run(lane, lambda: 7) == 7
        assert not held.done()
    finally:
        release.set()
        assert await held
        workers.close()


@pytest.mark.parametrize("threads", [1, 3])
def test_no_more_client_signatures_are_checked_at_once_than_there_are_threads(threads: int) -> None:
    assert asyncio.run(most_at_once(threads)) == threads


async def most_at_once(threads: int) -> int:
    workers = ThreadWorkers(threads)
    lock, most, now = threading.Lock(), 0, 0
    full = threading.Barrier(threads)

    def work() -> None:
        nonlocal most, now
        with lock:
            now += 1
            most = max(most, now)
        full.wait(TIMEOUT_S)
        time.sleep(0.02)  # So that one too many would be seen.
        with lock:
            now -= 1

    await asyncio.gather(*(workers.run(Lane.CLIENTS, work) for _ in range(4 * threads)))
    workers.close()
    return most


def test_what_work_raises_reaches_who_asked_for_it() -> None:
    asyncio.run(fail_and_go_on())


async def fail_and_go_on() -> None:
    workers = ThreadWorkers()
    with pytest.raises(ZeroDivisionError):
        await workers.run(Lane.LEDGER, lambda: 1 // 0)
    assert await workers.run(Lane.LEDGER, lambda: 7) == 7
    workers.close()


def test_work_is_queued_in_the_order_of_the_calls_even_if_it_is_awaited_later() -> None:
    asyncio.run(await_in_another_order())


async def await_in_another_order() -> None:
    workers = ThreadWorkers()
    done: list[int] = []
    first = workers.run(Lane.LEDGER, done.append, 1)
    await workers.run(Lane.LEDGER, done.append, 2)
    await first
    assert done == [1, 2]
    workers.close()


def test_a_client_s_batch_is_checked_in_chunks_off_the_loop(
    make_cluster: Callable[..., WholeCluster],
) -> None:
    cluster = make_cluster()
    cluster.start()
    assert cluster.run(60_000, lambda: min(heights(cluster.running())) >= 1)
    workers: Any = cluster["v2"].workers
    run, chunks = workers.run, []

    def noted(lane: Lane, work: Callable[..., Any], *args: Any, **named: Any) -> Any:
        if lane is Lane.CLIENTS:
            chunks.append(len(args[0]))
        return run(lane, work, *args, **named)

    workers.run = noted
    cluster.submit(3 * CHUNK + 1, "v2")
    assert cluster.run(60_000, lambda: len(cluster.acknowledged) == 3 * CHUNK + 1)
    assert chunks[:4] == [CHUNK, CHUNK, CHUNK, 1]
