import asyncio

import pytest

from crypto.interface import Digest
from node.events import (
    BACKLOG_BLOCKS,
    SUBSCRIBERS_MAX,
    BlockCommitted,
    EventStream,
    Lagged,
    TooManySubscribers,
)

ZERO = Digest(bytes(32))


def block(height: int) -> BlockCommitted:
    return BlockCommitted(height, ZERO, ZERO, 0, 0, ())


def test_a_subscriber_gets_what_is_published_from_the_moment_it_subscribed() -> None:
    async def scenario() -> list[int]:
        stream = EventStream()
        stream.publish(block(1))
        with stream.subscribe() as subscription:
            stream.publish(block(2))
            stream.publish(block(3))
            stream.close()
            return [event.height async for event in subscription]

    assert asyncio.run(scenario()) == [2, 3]


def test_a_waiting_subscriber_is_woken_by_each_publication() -> None:
    async def scenario() -> list[int]:
        stream = EventStream()
        subscription = stream.subscribe()
        seen: list[int] = []
        for height in range(1, 4):
            reader = asyncio.create_task(subscription.next())
            await asyncio.sleep(0)  # It waits now.
            stream.publish(block(height))
            event = await asyncio.wait_for(reader, 5)
            assert event is not None
            seen.append(event.height)
        return seen

    assert asyncio.run(scenario()) == [1, 2, 3]


def test_a_slow_subscriber_is_told_once_and_holds_a_bounded_number_of_blocks() -> None:
    async def scenario() -> list[int]:
        stream = EventStream()
        subscription = stream.subscribe()
        for height in range(1, 10 * BACKLOG_BLOCKS):
            stream.publish(block(height))
            assert len(subscription._queue) <= BACKLOG_BLOCKS
        with pytest.raises(Lagged):
            await subscription.next()
        stream.publish(block(5000))
        event = await subscription.next()
        assert event is not None
        return [event.height]

    assert asyncio.run(scenario()) == [5000]


def test_a_subscriber_within_the_backlog_loses_nothing() -> None:
    async def scenario() -> int:
        stream = EventStream()
        subscription = stream.subscribe()
        for height in range(BACKLOG_BLOCKS):
            stream.publish(block(height))
        stream.close()
        return sum([1 async for _ in subscription])

    assert asyncio.run(scenario()) == BACKLOG_BLOCKS


def test_reading_with_a_time_limit_loses_no_event() -> None:
    async def scenario() -> int:
        stream = EventStream()
        subscription = stream.subscribe()
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.001):
                    await subscription.next()
        stream.publish(block(7))
        event = await subscription.next()
        assert event is not None
        return event.height

    assert asyncio.run(scenario()) == 7


def test_the_number_of_subscribers_is_bounded_and_places_are_given_back() -> None:
    stream = EventStream()
    subscriptions = [stream.subscribe() for _ in range(SUBSCRIBERS_MAX)]
    with pytest.raises(TooManySubscribers):
        stream.subscribe()
    subscriptions[0].close()
    assert stream.subscribers == SUBSCRIBERS_MAX - 1
    stream.subscribe()


def test_closing_ends_readers_that_wait_and_those_that_come_later() -> None:
    async def scenario() -> list[object]:
        stream = EventStream()
        waiting = asyncio.create_task(stream.subscribe().next())
        await asyncio.sleep(0)
        stream.close()
        return [await waiting, await stream.subscribe().next(), stream.subscribers]

    assert asyncio.run(scenario()) == [None, None, 0]
