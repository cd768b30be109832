"""What strangers and bad peers do to the TCP listener, and what becomes of it.

Each test ends with an honest peer getting through, or still being linked: the node goes on.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from crypto.interface import Digest, NodeId
from p2p.framing import WIRE_FORMAT
from p2p.interface import ChannelError, Channels
from p2p.limits import Limits
from p2p.noise.channel import NoiseChannel
from p2p.transports import tcp
from p2p.transports._admission import Admission

World = Callable[[str], Any]
MakeLimits = Callable[..., Limits]
Call = Callable[..., Awaitable[Any]]
V1, V2 = NodeId("v1"), NodeId("v2")


async def listening(w: Any, limits: Limits | None = None, **more: Any) -> Any:
    """A node `v1` that dials nobody and knows `v2`."""
    node = w.make("v1", validators=("v1", "v2"), dials=(), limits=limits, **more)
    await node.network.start(node.handler)
    return node


async def honest_peer_gets_through(w: Any, node: Any) -> None:
    v2 = w.make("v2", validators=("v1", "v2"))
    await v2.network.start(v2.handler)
    await v2.until_sees("v1")
    await node.until_sees("v2")
    v2.network.send(V1, b"hello")
    await node.until(lambda: node.handler.frames["v2"] == [b"hello"])


# --- Before the handshake is complete. ------------------------------------------------------


async def test_a_slow_handshake_ends_at_the_total_deadline(
    world: World, limits: MakeLimits
) -> None:
    # faults.md 16: each byte comes well before any per-read timeout would end it.
    async with world("tcp") as w:
        node = await listening(w, limits(handshake_deadline_ms=150))
        reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
        began = asyncio.get_running_loop().time()
        message = bytes([WIRE_FORMAT]) + (32).to_bytes(2, "big") + bytes(29)
        sent = 0
        while not reader.at_eof() and node.counters.refused.total() == 0:
            writer.write(message[sent : sent + 1])
            sent += 1
            await asyncio.sleep(0.01)
        assert node.counters.refused["handshake_timeout"] == 1
        assert 0.1 < asyncio.get_running_loop().time() - began < 2
        writer.close()
        await honest_peer_gets_through(w, node)


async def test_connections_that_never_speak_are_bounded_and_go_away(
    world: World, limits: MakeLimits
) -> None:
    # faults.md 17
    async with world("tcp") as w:
        node = await listening(
            w,
            limits(
                handshake_deadline_ms=300, pending_connections_max=20, pending_per_address_max=50
            ),
        )
        crowd = [await asyncio.open_connection("127.0.0.1", node.port) for _ in range(200)]
        await node.until(lambda: node.counters.refused["pending_full"] == 180)
        assert node.counters.accepted == 20
        assert len(node.tcp._connections) == 20
        assert node.tcp._admission.pending == 20
        # Full, but not for ever, and our own dials were never in question.
        await node.until(lambda: node.counters.refused["handshake_timeout"] == 20)
        assert not node.tcp._connections
        assert not node.tcp._admission.open
        for _, writer in crowd:
            writer.close()
        await honest_peer_gets_through(w, node)


async def test_a_full_listener_still_reaches_its_peers_by_dialling(
    world: World, limits: MakeLimits
) -> None:
    # faults.md 17
    async with world("tcp") as w:
        v2 = w.make("v2", validators=("v1", "v2"), dials=())
        await v2.network.start(v2.handler)
        v1 = w.make(
            "v1", validators=("v1", "v2"), dials=(), limits=limits(pending_connections_max=1)
        )
        await v1.network.start(v1.handler)
        _, silent = await asyncio.open_connection("127.0.0.1", v1.port)
        await v1.until(lambda: v1.tcp._admission.pending == 1)
        v1b = tcp.Remote(V2, w.key("v2"), tcp.Address("127.0.0.1", v2.port))
        v1.tcp._place = tcp.Place(v1.tcp._place.listen, (v1b,))
        v1.tcp._start_dialling(v1b)
        await v1.until_sees("v2")
        assert v1.tcp._admission.pending == 1
        silent.close()


@pytest.mark.parametrize(
    ("limit", "reason"),
    [
        ("pending_per_address_max", "address_pending_full"),
        ("connections_per_address_max", "address_full"),
        ("connections_max", "connections_full"),
    ],
)
async def test_connections_are_limited_per_address_and_in_all(
    limit: str, reason: str, world: World, limits: MakeLimits
) -> None:
    # faults.md 18
    async with world("tcp") as w:
        node = await listening(w, limits(**{limit: 3}))
        crowd = [await asyncio.open_connection("127.0.0.1", node.port) for _ in range(5)]
        await node.until(lambda: node.counters.refused[reason] == 2)
        assert node.counters.accepted == 3
        for _, writer in crowd:
            writer.close()
        await node.until(lambda: not node.tcp._admission.open)
        await honest_peer_gets_through(w, node)


def test_addresses_are_counted_by_what_one_person_owns(limits: MakeLimits) -> None:
    # faults.md 18
    admission = Admission(limits(connections_per_address_max=1))
    slots = [admission.admit(address) for address in ("10.0.0.1", "10.0.0.2", "2001:db8::1")]
    for same in ("10.0.0.1", "2001:db8::ffff"):  # the same IPv4 host, the same IPv6 network
        with pytest.raises(ChannelError, match="address_full"):
            admission.admit(same)
    slots.append(admission.admit("2001:db8:0:1::1"))
    slots.append(admission.admit("::ffff:10.0.0.9"))
    for slot in slots:
        admission.release(slot)
    assert admission.open == admission.pending == 0
    assert not admission._open  # nothing is remembered of those who are gone


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
        bytes([WIRE_FORMAT, 0, 0]),
        bytes([WIRE_FORMAT, 0xFF, 0xFF]),
        bytes([WIRE_FORMAT, 0, 32]) + bytes(32),
        bytes([WIRE_FORMAT + 1]),
    ],
    ids=["http", "tls", "zero-length", "too-long", "low-order", "other-format"],
)
async def test_whoever_does_not_speak_the_protocol_is_cut_off_without_an_answer(
    sent: bytes, world: World
) -> None:
    # faults.md 2, 3, 21, 23, 24
    async with world("tcp") as w:
        node = await listening(w)
        reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
        writer.write(sent)
        with suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()
        await node.until(lambda: node.counters.refused.total() == 1)
        assert node.handler.events == []
        await honest_peer_gets_through(w, node)


@pytest.mark.parametrize("step", [0, 1])
async def test_leaving_in_the_middle_of_a_handshake_is_counted(
    step: int, world: World, call: Call
) -> None:
    # faults.md 1, 24
    async with world("tcp") as w:
        node = await listening(w)
        stranger = await call(node, "v2")
        if step:
            stranger.write(stranger.channel.data_to_send())
            await stranger.reader.read(1)
        await stranger.leave()
        await node.until(lambda: node.counters.refused.total() == 1)
        await honest_peer_gets_through(w, node)


async def test_an_authenticated_stranger_is_refused_and_learns_nothing(
    world: World, call: Call
) -> None:
    # faults.md 26
    async with world("tcp") as w:
        node = await listening(w)
        stranger = await call(node, "mallory")
        with pytest.raises(ConnectionError):
            await stranger.handshake()
        assert stranger.frames == []
        await stranger.leave()
        await node.until(lambda: node.counters.refused["unknown_peer"] == 1)
        assert node.handler.events == []
        await honest_peer_gets_through(w, node)


async def test_a_node_of_another_network_is_refused_by_both_sides(
    world: World, make_channels: Callable[..., Channels]
) -> None:
    # faults.md 21
    async with world("tcp") as w:
        node = await listening(w)
        foreign = make_channels("v2", genesis=Digest(b"\x01" * 32))
        v2 = w.make("v2", validators=("v1", "v2"), channels=foreign)
        await v2.network.start(v2.handler)
        await v2.until(lambda: v2.counters.refused["bad_ciphertext"] > 1)
        await node.until(lambda: node.counters.refused.total() > 1)
        assert node.handler.events == v2.handler.events == []


async def test_a_node_that_is_told_its_own_address_for_a_peer_does_not_link_to_itself(
    world: World,
) -> None:
    # faults.md 22
    async with world("tcp") as w:
        w.ports["v2"] = w.port("v1")
        node = w.make("v1", validators=("v1", "v2"))
        await node.network.start(node.handler)
        # The dialler's side leaves before its own key is shown; a listener that got it would too.
        await node.until(lambda: node.counters.refused["self_dial"] > 1)
        assert node.network.connected() == ()


async def test_the_wrong_machine_at_an_address_is_refused(world: World) -> None:
    # faults.md 21
    async with world("tcp") as w:
        w.ports["v2"] = w.port("v3")
        v3 = w.make("v3", validators=("v1", "v2", "v3"), dials=())
        v1 = w.make("v1", validators=("v1", "v2", "v3"), dials=("v2",))
        for node in (v3, v1):
            await node.network.start(node.handler)
        await v1.until(lambda: v1.counters.refused["wrong_identity"] > 1)
        assert ("dial_failed", "wrong_identity") in [
            (event, fields.get("reason")) for event, fields in v1.handler.reports
        ]
        assert v1.handler.events == v3.handler.events == []


async def test_observers_are_limited_and_never_crowd_out_validators(
    world: World, limits: MakeLimits
) -> None:
    async with world("tcp") as w:
        node = await listening(w, limits(observers_max=2), open_observers=True)
        watchers = [w.make(f"w{n}", validators=("v1",), listens=False) for n in range(4)]
        for watcher in watchers:
            await watcher.network.start(watcher.handler)
        await node.until(lambda: node.counters.refused["observers_full"] > 0)
        await node.until(lambda: len(node.network.connected()) == 2)
        v2 = w.make("v2", validators=("v1", "v2"))
        await v2.network.start(v2.handler)
        await v2.until_sees("v1")
        assert len(node.network.connected()) == 3


# --- Replay (faults.md 19, 20). -------------------------------------------------------------


async def test_a_replayed_session_neither_enters_nor_disturbs_the_live_link(
    world: World, call: Call
) -> None:
    async with world("tcp") as w:
        node = await listening(w)
        live = await call(node, "v2")
        recorded = [live.channel.data_to_send()]
        live.write(recorded[0])
        live.channel.receive_data(await live.reader.readexactly(99))
        recorded.append(live.channel.data_to_send())
        live.write(recorded[1])
        await node.until_sees("v2")
        recorded.append(live.channel.send_frames([b"pay"]))
        live.write(recorded[2])
        await node.until(lambda: node.handler.frames["v2"] == [b"pay"])
        for replay in (b"".join(recorded), recorded[0], b"".join(recorded[:2])):
            reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
            refused = node.counters.refused.total()
            writer.write(replay)
            await reader.read(99)
            if replay is recorded[0]:
                writer.close()
            await node.until(lambda before=refused: node.counters.refused.total() > before)
            writer.close()
        assert node.counters.refused["bad_ciphertext"] == 2
        assert node.handler.events == [("connected", "v2")]
        live.write(live.channel.send_frames([b"still here"]))
        await node.until(lambda: node.handler.frames["v2"] == [b"pay", b"still here"])
        await live.leave()


# --- After the handshake: a member that misbehaves. -----------------------------------------


async def linked(node: Any, call: Call) -> Any:
    peer = await call(node, "v2")
    await peer.handshake()
    await node.until_sees("v2")
    return peer


async def loses_its_link(node: Any, peer: Any, reason: str) -> None:
    await node.until(lambda: ("disconnected", "v2", reason) in node.handler.events)
    await peer.closed()
    assert node.counters.disconnected[reason] == 1


def sealed(peer: Any, plaintext: bytes) -> bytes:
    """One record with any content, as only a dishonest member makes it."""
    channel = peer.channel
    assert isinstance(channel, NoiseChannel)
    assert channel._sender is not None
    record = channel._sender.seal(plaintext)
    return len(record).to_bytes(2, "big") + record


async def test_a_changed_record_ends_the_session(world: World, call: Call) -> None:
    # faults.md 27
    async with world("tcp") as w:
        node = await listening(w)
        peer = await linked(node, call)
        record = bytearray(peer.channel.send_frames([b"pay 10"]))
        record[7] ^= 1
        peer.write(bytes(record))
        await loses_its_link(node, peer, "bad_ciphertext")
        await honest_peer_gets_through(w, node)


async def test_a_replayed_record_ends_the_session(world: World, call: Call) -> None:
    # faults.md 28
    async with world("tcp") as w:
        node = await listening(w)
        peer = await linked(node, call)
        record = peer.channel.send_frames([b"pay 10"])
        peer.write(record)
        await node.until(lambda: node.handler.frames["v2"] == [b"pay 10"])
        peer.write(record)
        await loses_its_link(node, peer, "bad_ciphertext")
        assert node.handler.frames["v2"] == [b"pay 10"]


async def test_an_announced_frame_of_4_gib_ends_the_session(world: World, call: Call) -> None:
    # faults.md 2
    async with world("tcp") as w:
        node = await listening(w)
        peer = await linked(node, call)
        peer.write(sealed(peer, b"\xff\xff\xff\xff"))
        await loses_its_link(node, peer, "frame_too_long")
        await honest_peer_gets_through(w, node)


async def test_an_empty_record_ends_the_session(world: World, call: Call) -> None:
    # faults.md 3
    async with world("tcp") as w:
        node = await listening(w)
        peer = await linked(node, call)
        peer.write(b"\x00\x10")
        await loses_its_link(node, peer, "empty_record")


@pytest.mark.parametrize("cut", [True, False])
async def test_the_end_of_a_stream_is_an_error_in_the_middle_of_a_frame_only(
    cut: bool, world: World, call: Call
) -> None:
    # faults.md 1
    async with world("tcp") as w:
        node = await listening(w)
        peer = await linked(node, call)
        whole = peer.channel.send_frames([b"x" * 1000])
        peer.write(whole[:500] if cut else whole)
        peer.writer.write_eof()
        await loses_its_link(node, peer, "truncated" if cut else "closed_by_peer")
        assert node.handler.frames["v2"] == ([] if cut else [b"x" * 1000])
        await honest_peer_gets_through(w, node) if cut else None


async def test_a_member_that_falls_silent_is_dropped(
    world: World, call: Call, limits: MakeLimits
) -> None:
    # faults.md 34
    async with world("tcp") as w:
        node = await listening(w, limits(heartbeat_interval_ms=20, silence_max_ms=60))
        peer = await linked(node, call)
        await loses_its_link(node, peer, "silent")


async def test_an_idle_link_lives_on_heartbeats(world: World, limits: MakeLimits) -> None:
    # faults.md 34, the positive
    async with world("tcp") as w:
        v1, v2 = await w.start(
            "v1", "v2", limits=limits(heartbeat_interval_ms=20, silence_max_ms=60)
        )
        before = v1.counters.bytes_in
        await v1.until(lambda: v1.counters.bytes_in > before + 20 * 22)  # 20 heartbeats
        assert v1.sees("v2")
        assert v2.sees("v1")
        assert len(v1.handler.events) == 1
        assert v1.handler.frames == {}
        assert v1.counters.frames_in == v1.counters.frames_out == 0


async def test_unasked_heartbeats_are_ignored_but_not_a_flood(
    world: World, call: Call, limits: MakeLimits
) -> None:
    # faults.md 34
    async with world("tcp") as w:
        slow = limits(heartbeat_interval_ms=60_000, silence_max_ms=600_000)
        node = await listening(w, slow)
        peer = await linked(node, call)
        peer.write(peer.channel.send_frames([b""] * 10 + [b"content"]))
        await node.until(lambda: node.handler.frames["v2"] == [b"content"])
        peer.write(peer.channel.send_frames([b""] * 10))
        await loses_its_link(node, peer, "heartbeat_flood")


async def test_refusals_are_reported_in_bulk_and_not_one_by_one(
    world: World, limits: MakeLimits
) -> None:
    async with world("tcp") as w:
        node = await listening(w, limits(heartbeat_interval_ms=50, pending_connections_max=1))
        crowd = [await asyncio.open_connection("127.0.0.1", node.port) for _ in range(50)]
        await node.until(lambda: node.counters.refused["pending_full"] == 49)

        def counts() -> list[int]:
            return [fields["count"] for event, fields in node.handler.reports if event == "refused"]

        await node.until(lambda: sum(counts()) == 49)
        assert len(counts()) < 10
        for _, writer in crowd:
            writer.close()


async def test_an_address_in_use_is_the_operators_to_change(world: World) -> None:
    async with world("tcp") as w:
        node = await listening(w)
        w.ports["v2"] = node.port
        v2 = w.make("v2", validators=("v1", "v2"))
        with pytest.raises(tcp.CannotListen, match=f"127.0.0.1:{node.port}.*choose another"):
            await v2.network.start(v2.handler)
