"""What every transport promises (`p2p.interface.Network`), asked of each of them alike."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from crypto.interface import NodeId
from p2p.interface import FRAME_BYTES_MAX, Peer, Role
from p2p.limits import Limits

World = Callable[[str], Any]
V1, V2, V3 = NodeId("v1"), NodeId("v2"), NodeId("v3")


@pytest.fixture(params=["tcp", "tcp-uvloop", "memory"])
def fabric(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


async def test_validators_link_up_and_name_each_other(fabric: str, world: World) -> None:
    async with world(fabric) as w:
        nodes = await w.start("v1", "v2", "v3")
        for node in nodes:
            others = {other.name for other in nodes} - {node.name}
            assert set(node.network.connected()) == {Peer(name, Role.VALIDATOR) for name in others}
            connected = [event[1] for event in node.handler.events if event[0] == "connected"]
            assert set(connected) == others


async def test_frames_arrive_whole_and_in_order(fabric: str, world: World) -> None:
    async with world(fabric) as w:
        v1, v2 = await w.start("v1", "v2")
        frames = [bytes([number % 251]) * (number * number % 5000 + 1) for number in range(500)]
        for frame in frames:
            assert v1.network.send(V2, frame)
        assert v2.network.send(V1, b"the other way")
        await v2.until(lambda: len(v2.handler.frames[V1]) == len(frames))
        assert v2.handler.frames[V1] == frames
        await v1.until(lambda: v1.handler.frames[V2] == [b"the other way"])
        assert v1.counters.frames_out == v2.counters.frames_in == len(frames)


async def test_the_longest_frame_passes_and_a_longer_or_empty_one_is_our_fault(
    fabric: str, world: World
) -> None:
    async with world(fabric) as w:
        v1, v2 = await w.start("v1", "v2")
        longest = bytes(FRAME_BYTES_MAX)
        assert v1.network.send(V2, longest)
        await v2.until(lambda: bool(v2.handler.frames[V1]))
        assert v2.handler.frames[V1] == [longest]
        for wrong in (b"", longest + b"x"):
            with pytest.raises(AssertionError):
                v1.network.send(V2, wrong)


async def test_sending_without_a_link_says_so(fabric: str, world: World) -> None:
    async with world(fabric) as w:
        v1, v2 = await w.start("v1", "v2")
        assert not v1.network.send(NodeId("nobody"), b"x")
        await v2.network.stop()
        await v1.until_sees()
        assert not v1.network.send(V2, b"x")


async def test_a_frame_to_one_reaches_nobody_else(fabric: str, world: World) -> None:
    async with world(fabric) as w:
        v1, v2, v3 = await w.start("v1", "v2", "v3")
        v1.network.send(V2, b"for v2")
        v1.network.send(V3, b"for v3")
        await v2.until(lambda: bool(v2.handler.frames))
        await v3.until(lambda: bool(v3.handler.frames))
        assert v2.handler.frames[V1] == [b"for v2"]
        assert v3.handler.frames[V1] == [b"for v3"]


async def test_a_removed_member_is_disconnected_at_once_and_stays_out(
    fabric: str, world: World
) -> None:
    # faults.md 31
    async with world(fabric) as w:
        v1, v2, _v3 = await w.start("v1", "v2", "v3")
        v1.members.update({V1: w.key("v1"), V3: w.key("v3")}, {})
        v1.network.membership_changed()
        assert {peer.name for peer in v1.network.connected()} == {V3}
        assert not v1.network.send(V2, b"x")
        await v1.until(lambda: ("disconnected", "v2", "removed") in v1.handler.events)
        await v2.until_sees("v3")
        # It comes back only when it is listed again.
        v1.members.update({V1: w.key("v1"), V2: w.key("v2"), V3: w.key("v3")}, {})
        v1.network.membership_changed()
        await v2.until_sees("v1", "v3")
        await v1.until_sees("v2", "v3")


async def test_nothing_is_read_from_a_paused_peer_and_nothing_is_lost(
    fabric: str, world: World
) -> None:
    async with world(fabric) as w:
        v1, v2, v3 = await w.start("v1", "v2", "v3")

        def pause_at_10(peer: Peer, frame: bytes) -> None:
            if peer.name == V1 and frame == b"10":
                v2.network.pause_reading(V1)

        v2.handler.on_each_frame = pause_at_10
        frames = [str(number).encode() for number in range(100)]
        for frame in frames:
            v1.network.send(V2, frame)
        await v2.until(lambda: b"10" in v2.handler.frames[V1])
        v3.network.send(V2, b"not paused")
        await v2.until(lambda: bool(v2.handler.frames[V3]))
        assert v2.handler.frames[V1] == frames[:11]
        v2.network.resume_reading(V1)
        await v2.until(lambda: len(v2.handler.frames[V1]) == 100)
        assert v2.handler.frames[V1] == frames
        v1.network.send(V2, b"more")
        await v2.until(lambda: v2.handler.frames[V1][-1] == b"more")


async def test_a_peer_that_does_not_read_loses_the_link_and_send_never_blocks(
    fabric: str, world: World, limits: Callable[..., Limits]
) -> None:
    async with world(fabric) as w:
        v1, v2 = await w.start("v1", "v2", limits=limits(send_queue_bytes_max=200_000))
        v2.network.pause_reading(V1)
        sent = 0
        while v1.network.send(V2, bytes(100_000)):
            sent += 1
            await asyncio.sleep(0)
            assert sent < 1000, "nothing limits the queue"
        await v1.until(lambda: ("disconnected", "v2", "send_queue_full") in v1.handler.events)
        assert v1.counters.disconnected["send_queue_full"] == 1


async def test_many_tiny_frames_fill_the_queue_too(
    fabric: str, world: World, limits: Callable[..., Limits]
) -> None:
    async with world(fabric) as w:
        v1, _v2 = await w.start("v1", "v2", limits=limits(send_queue_bytes_max=64_000))
        taken = 0
        while v1.network.send(V2, b"x"):
            taken += 1
        assert taken <= 64_000 // 32
        await v1.until(lambda: v1.counters.disconnected["send_queue_full"] == 1)


async def test_observers_are_linked_only_where_the_membership_says_so(
    fabric: str, world: World
) -> None:
    async with world(fabric) as w:
        v1 = w.make("v1", validators=("v1",), observers=("o1",))
        o1 = w.make("o1", validators=("v1",), listens=False)
        o2 = w.make("o2", validators=("v1",), listens=False)
        for node in (v1, o1, o2):
            await node.network.start(node.handler)
        await o1.until_sees("v1")
        assert v1.network.connected() == (Peer(NodeId("o1"), Role.OBSERVER),)
        o1.network.send(V1, b"from an observer")
        await v1.until(lambda: v1.handler.frames["o1"] == [b"from an observer"])
        assert o2.sees()


async def test_stopping_ends_all_links_and_lets_what_was_queued_leave(
    fabric: str, world: World
) -> None:
    async with world(fabric) as w:
        v1, v2 = await w.start("v1", "v2")
        if fabric != "memory":
            v1.network.send(V2, b"last words")
        await v1.network.stop()
        await v1.until_sees()
        assert ("disconnected", "v2", "stopped") in v1.handler.events
        await v2.until_sees()
        if fabric != "memory":
            assert v2.handler.frames[V1] == [b"last words"]


async def test_events_of_a_link_come_in_order(fabric: str, world: World) -> None:
    async with world(fabric) as w:
        v1, v2 = await w.start("v1", "v2")
        await v2.network.stop()
        await v1.until_sees()
        await v1.until(lambda: v1.handler.events[-1][0] == "disconnected")
        kinds = [event[0] for event in v1.handler.events]
        assert kinds == ["connected", "disconnected"] * (len(kinds) // 2)
