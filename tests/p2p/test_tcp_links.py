"""One link per peer on TCP: crossing dials, replacement, reconnecting, back-off."""

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto.interface import NodeId
from p2p.interface import Channel, Channels
from p2p.limits import Limits
from p2p.transports._dialler import Dialler, backoff_ms

World = Callable[[str], Any]
MakeLimits = Callable[..., Limits]
Call = Callable[..., Awaitable[Any]]
Make = Callable[..., Channels]


class ListeningPeer:
    """Stands where a peer should listen, and does what the test says with each dial."""

    def __init__(self, channels: Channels) -> None:
        self.channels = channels
        self.arrived: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = (
            asyncio.Queue()
        )
        self._writers: list[asyncio.StreamWriter] = []

    async def start(self, port: int) -> None:
        self.server = await asyncio.start_server(self._arrive, "127.0.0.1", port)

    def _arrive(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        self.arrived.put_nowait((reader, writer))

    async def stop(self) -> None:
        self.server.close()
        for writer in self._writers:
            writer.close()

    async def accept(self) -> tuple[Channel, asyncio.StreamReader, asyncio.StreamWriter]:
        """The next dial, up to the point where its proof is in and not accepted yet."""
        reader, writer = await self.arrived.get()
        channel = self.channels.accept()
        while channel.peer_key is None:
            channel.receive_data(await reader.read(1000))
            writer.write(channel.data_to_send())
        return channel, reader, writer


def names_by_key(w: Any) -> tuple[str, str]:
    """Two names: first the one whose channel key is smaller."""
    small, large = sorted(("v1", "v2"), key=w.key)
    return small, large


# --- Crossing dials (faults.md 32). ---------------------------------------------------------


@pytest.mark.parametrize("seed", range(10))
async def test_two_nodes_that_dial_each_other_at_once_get_one_link(
    seed: int, world: World, limits: MakeLimits
) -> None:
    async with world("tcp") as w:
        both = limits(reconnect_min_ms=1 + seed % 3)
        v1, v2 = await w.start("v1", "v2", limits=both)
        v1.network.send(NodeId("v2"), b"1 to 2")
        v2.network.send(NodeId("v1"), b"2 to 1")
        await v2.until(lambda: v2.handler.frames["v1"] == [b"1 to 2"])
        await v1.until(lambda: v1.handler.frames["v2"] == [b"2 to 1"])
        await v1.until(lambda: len(v1.tcp._connections) == len(v2.tcp._connections) == 1)
        assert [len(node.handler.events) for node in (v1, v2)] == [1, 1]
        assert (v1.link("v2").dialled is None) != (v2.link("v1").dialled is None)


@pytest.mark.parametrize("node_is_smaller", [True, False])
async def test_of_crossing_dials_the_one_of_the_smaller_key_stays(
    node_is_smaller: bool, world: World, call: Call, make_channels: Make
) -> None:
    async with world("tcp") as w:
        small, large = names_by_key(w)
        name, other = (small, large) if node_is_smaller else (large, small)
        peer = ListeningPeer(make_channels(other))
        await peer.start(w.port(other))
        node = w.make(name, validators=(small, large))
        await node.network.start(node.handler)
        # The node's own dial is proven and waits to be accepted; now the peer's dial arrives.
        channel, reader, writer = await peer.accept()
        caller = await call(node, other)
        if node_is_smaller:
            with pytest.raises(ConnectionError):
                await caller.handshake()
            assert node.counters.refused["crossing_dial"] == 1
            writer.write(channel.send_frames([b""]))
            await node.until_sees(other)
            assert node.link(other).dialled == other
        else:
            await caller.handshake()
            await node.until_sees(other)
            assert node.link(other).dialled is None
            with suppress(ConnectionError):
                while await reader.read(1000):
                    pass
            assert node.counters.refused["crossing_dial"] == 1
        assert node.handler.events == [("connected", other)]
        await caller.leave()
        await peer.stop()


@pytest.mark.parametrize("node_is_smaller", [True, False])
async def test_of_two_proven_links_that_are_young_the_one_of_the_smaller_key_stays(
    node_is_smaller: bool, world: World, call: Call, make_channels: Make
) -> None:
    async with world("tcp") as w:
        small, large = names_by_key(w)
        name, other = (small, large) if node_is_smaller else (large, small)
        peer = ListeningPeer(make_channels(other))
        await peer.start(w.port(other))
        node = w.make(name, validators=(small, large))
        await node.network.start(node.handler)
        channel, _, writer = await peer.accept()
        writer.write(channel.send_frames([b""]))
        await node.until_sees(other)
        caller = await call(node, other)
        if node_is_smaller:
            with pytest.raises(ConnectionError):
                await caller.handshake()
            assert node.handler.events == [("connected", other)]
        else:
            await caller.handshake()
            await node.until(lambda: len(node.handler.events) == 3)
            assert node.handler.events[1:] == [
                ("disconnected", other, "replaced"),
                ("connected", other),
            ]
        await caller.leave()
        await peer.stop()


async def test_an_old_link_gives_way_to_a_peer_that_proves_itself_anew(
    world: World, call: Call, make_channels: Make, limits: MakeLimits
) -> None:
    # The peer's machine lost power: its old connection looks alive from here.
    async with world("tcp") as w:
        small, large = names_by_key(w)
        peer = ListeningPeer(make_channels(large))
        await peer.start(w.port(large))
        node = w.make(small, validators=(small, large), limits=limits(handshake_deadline_ms=200))
        await node.network.start(node.handler)
        channel, _, writer = await peer.accept()
        writer.write(channel.send_frames([b""]))
        await node.until_sees(large)
        began = time.monotonic()
        await node.until(lambda: time.monotonic() - began > 0.45)
        caller = await call(node, large)
        await caller.handshake()
        await node.until(lambda: ("disconnected", large, "replaced") in node.handler.events)
        await node.until_sees(large)
        assert node.link(large).dialled is None
        await caller.leave()
        await peer.stop()


async def test_a_caller_who_dials_again_replaces_his_own_link(world: World, call: Call) -> None:
    async with world("tcp") as w:
        node = w.make("v1", validators=("v1", "v2"), dials=())
        await node.network.start(node.handler)
        first, second = await call(node, "v2"), await call(node, "v2")
        await first.handshake()
        await node.until_sees("v2")
        # Half a handshake changes nothing for the live link (faults.md 19).
        second.write(second.channel.data_to_send())
        await second.reader.read(1)
        assert node.handler.events == [("connected", "v2")]
        await second.leave()
        third = await call(node, "v2")
        await third.handshake()
        await first.closed()
        await node.until_sees("v2")
        assert ("disconnected", "v2", "replaced") in node.handler.events
        await third.leave()


# --- Reconnecting (faults.md 33). -----------------------------------------------------------


async def test_a_lost_link_comes_back(world: World) -> None:
    async with world("tcp") as w:
        v1, v2 = await w.start("v1", "v2")
        for _ in range(3):
            links = v1.counters.established, v2.counters.established
            v1.link("v2").close("test")
            await v1.until(lambda before=links: v1.counters.established > before[0])
            await v2.until(lambda before=links: v2.counters.established > before[1])
        await v1.until_sees("v2")
        await v2.until_sees("v1")
        v1.network.send(NodeId("v2"), b"again")
        await v2.until(lambda: b"again" in v2.handler.frames["v1"])


async def test_a_restarted_peer_is_linked_again(world: World) -> None:
    async with world("tcp") as w:
        v1, v2 = await w.start("v1", "v2")
        await v2.network.stop()
        await v1.until_sees()
        again = w.make("v2", validators=("v1", "v2"))
        await again.network.start(again.handler)
        await v1.until_sees("v2")
        await again.until_sees("v1")


async def test_a_peer_that_is_not_there_is_dialled_with_growing_pauses(
    world: World, limits: MakeLimits
) -> None:
    async with world("tcp") as w:
        node = w.make(
            "v1", validators=("v1", "v2"), limits=limits(reconnect_min_ms=1, reconnect_max_ms=200)
        )
        began = time.monotonic()
        await node.network.start(node.handler)

        def failures() -> int:
            return len([event for event, _ in node.handler.reports if event == "dial_failed"])

        await node.until(lambda: failures() >= 8)
        # 1 + 2 + 4 + ... + 64 ms, three quarters of each with this jitter: not a storm.
        assert time.monotonic() - began > 0.09
        later = w.make("v2", validators=("v1", "v2"), dials=())
        await later.network.start(later.handler)
        await node.until_sees("v2")


@given(failures=st.integers(0, 10_000), jitter=st.floats(0, 1, exclude_max=True))
def test_pauses_grow_to_a_cap_and_are_spread(failures: int, jitter: float) -> None:
    limits = Limits(reconnect_min_ms=100, reconnect_max_ms=5_000)
    full = min(100 * 2 ** min(failures, 30), 5_000)
    pause = backoff_ms(failures, limits, jitter)
    assert full / 2 <= pause <= full
    assert backoff_ms(failures + 1, limits, jitter) >= pause


async def test_a_link_that_is_lost_at_once_does_not_reset_the_pauses(limits: MakeLimits) -> None:
    # Two nodes that cannot live with each other (say, one drops the other's first frame).
    attempts: list[float] = []

    enough = asyncio.Event()

    async def dial() -> bool:
        attempts.append(time.monotonic())
        if len(attempts) == 6:
            enough.set()
        return True

    dialler = Dialler(
        dial, limits(reconnect_min_ms=4, reconnect_max_ms=1_000), lambda: 0.5, first=True
    )
    dialler.wanted.set()
    task = asyncio.create_task(dialler.run())
    await enough.wait()
    task.cancel()
    pauses = [later - earlier for earlier, later in itertools.pairwise(attempts)]
    assert pauses[-1] > 3 * pauses[0]


async def test_nobody_dials_who_is_not_a_member(world: World) -> None:
    async with world("tcp") as w:
        v2 = w.make("v2", validators=("v1", "v2"), dials=())
        v3 = w.make("v3", validators=("v1", "v3"), dials=())
        v1 = w.make("v1", validators=("v1", "v3"), dials=("v2", "v3"))
        for node in (v2, v3, v1):
            await node.network.start(node.handler)
        await v1.until_sees("v3")
        quiet = v1.counters.bytes_in
        await v1.until(lambda: v1.counters.bytes_in > quiet)  # a heartbeat interval, ten pauses
        assert v1.counters.dialled == 1
        v1.members.update({NodeId(name): w.key(name) for name in ("v1", "v2", "v3")}, {})
        v1.network.membership_changed()
        await v1.until_sees("v2", "v3")
        assert v1.counters.dialled == 2
