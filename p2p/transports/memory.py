"""Links inside one process: the same contract as on TCP, without sockets and without secrets.

For tests, and for clusters that live on one thread. Frames arrive in later iterations of the
event loop, whole and in order, at most once. Identity is not proven but given: a network says
which channel key it has, and everybody believes it. Whoever holds the hub can cut and mend links,
and say how long each frame is on its way.

Source: this project.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from crypto.interface import NodeId
from p2p.counters import Counters
from p2p.interface import (
    FRAME_BYTES_MAX,
    ChannelKey,
    Handler,
    Membership,
    Peer,
    TransportClaims,
)
from p2p.limits import FRAME_OVERHEAD_BYTES, Limits

CLAIMS = TransportClaims(crosses_machines=False, uses_channel=False)


@dataclass(frozen=True, slots=True)
class Options:
    """None."""


def create(
    _options: Options,
    *,
    hub: "MemoryHub",
    key: ChannelKey,
    membership: Membership,
    limits: Limits,
) -> "MemoryNetwork":
    """The network of the node that has `key`, among all others on `hub`."""
    return MemoryNetwork(hub, key, membership, limits)


class MemoryHub:
    """The wires between the networks of one process. Everybody is linked unless cut.

    `delay_s` is asked for each frame, with the sender's and the receiver's key; None holds all
    frames of that direction back until `release`. Frames of a link never overtake each other.
    """

    def __init__(
        self, delay_s: Callable[[ChannelKey, ChannelKey], float | None] = lambda *_: 0.0
    ) -> None:
        self.delay_s = delay_s
        self._networks: dict[ChannelKey, MemoryNetwork] = {}
        self._cut: set[frozenset[ChannelKey]] = set()

    def cut(self, one: ChannelKey, other: ChannelKey, reason: str = "connection_lost") -> None:
        """End the link between two nodes and keep it from coming back."""
        self._cut.add(frozenset((one, other)))
        if one in self._networks:
            self._networks[one].drop(other, reason)

    def mend(self, one: ChannelKey, other: ChannelKey) -> None:
        self._cut.discard(frozenset((one, other)))
        self.link_all()

    def release(self) -> None:
        """Let what was held back go on its way, where `delay_s` does not hold it any more."""
        for network in self._networks.values():
            network.release()

    def join(self, network: "MemoryNetwork") -> None:
        self._networks[network.key] = network
        self.link_all()

    def leave(self, network: "MemoryNetwork") -> None:
        self._networks.pop(network.key, None)

    def link_all(self) -> None:
        """Link every two networks that know each other, are not cut, and are not linked yet."""
        networks = list(self._networks.values())
        for index, one in enumerate(networks):
            for other in networks[index + 1 :]:
                if frozenset((one.key, other.key)) not in self._cut:
                    _link(one, other)


def _link(one: "MemoryNetwork", other: "MemoryNetwork") -> None:
    at_one, at_other = one.identify(other.key), other.identify(one.key)
    if at_one is None or at_other is None or one.has(other.key):
        return
    near = _End(at_one, other.key, one)
    far = _End(at_other, one.key, other)
    near.opposite, far.opposite = far, near
    one.attach(near)
    other.attach(far)


class _End:
    """One network's end of a link, with what has arrived there and was not read yet."""

    opposite: "_End"

    def __init__(self, peer: Peer, key: ChannelKey, network: "MemoryNetwork") -> None:
        self.peer = peer
        self.key = key
        self.network = network
        self.ended = False
        self.reading = True
        self.inbox: deque[bytes] = deque()
        self.inbox_bytes = 0
        self._scheduled = False
        self._held: deque[bytes] = deque()
        self._lands_at = 0.0

    def travel(self, frame: bytes) -> None:
        """It was sent to this end."""
        self.inbox_bytes += len(frame) + FRAME_OVERHEAD_BYTES
        self._held.append(frame)
        self.release()

    def release(self) -> None:
        while self._held:
            delay_s = self.network.delay_s(self.key)
            if delay_s is None:
                return
            frame = self._held.popleft()
            if delay_s > 0 or self._lands_at > self.network.now:
                self._lands_at = max(self._lands_at, self.network.now + delay_s)
                self.network.at(self._lands_at, partial(self._land, frame))
            else:
                self._land(frame)

    def clear(self) -> None:
        self.inbox.clear()
        self._held.clear()

    def _land(self, frame: bytes) -> None:
        self.inbox.append(frame)
        self.schedule()

    def schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self.network.later(self._deliver)

    def _deliver(self) -> None:
        self._scheduled = False
        while self.inbox and self.reading and not self.ended:
            frame = self.inbox.popleft()
            self.inbox_bytes -= len(frame) + FRAME_OVERHEAD_BYTES
            self.network.on_frame(self.peer, frame)


class MemoryNetwork:
    """The `Network` of one node on a hub."""

    def __init__(
        self, hub: MemoryHub, key: ChannelKey, membership: Membership, limits: Limits
    ) -> None:
        self.key = key
        self.counters = Counters()
        self._hub = hub
        self._membership = membership
        self._limits = limits
        self._links: dict[NodeId, _End] = {}

    # --- Network. -------------------------------------------------------------------------

    async def start(self, handler: Handler) -> None:
        self._handler = handler
        self._loop = asyncio.get_running_loop()
        self._hub.join(self)

    def send(self, to: NodeId, frame: bytes) -> bool:
        assert 0 < len(frame) <= FRAME_BYTES_MAX, f"a frame of {len(frame)} bytes"
        link = self._links.get(to)
        if link is None or link.ended:
            return False
        waiting = link.opposite.inbox_bytes + len(frame) + FRAME_OVERHEAD_BYTES
        if waiting > self._limits.send_queue_bytes_max:
            self._end(link, "send_queue_full")
            return False
        self.counters.frames_out += 1
        self.counters.bytes_out += len(frame)
        link.opposite.travel(frame)
        return True

    def connected(self) -> tuple[Peer, ...]:
        return tuple(link.peer for link in self._links.values())

    def traffic(self) -> tuple[int, int]:
        return self.counters.bytes_in, self.counters.bytes_out

    def pause_reading(self, peer: NodeId) -> None:
        if peer in self._links:
            self._links[peer].reading = False

    def resume_reading(self, peer: NodeId) -> None:
        link = self._links.get(peer)
        if link is not None and not link.reading:
            link.reading = True
            link.schedule()

    def membership_changed(self) -> None:
        for link in list(self._links.values()):
            if self.identify(link.key) != link.peer:
                self._end(link, "removed")
        self._hub.link_all()

    async def stop(self) -> None:
        self._hub.leave(self)
        for link in list(self._links.values()):
            self._end(link, "stopped")
        await asyncio.sleep(0)

    # --- For the hub. ---------------------------------------------------------------------

    def identify(self, key: ChannelKey) -> Peer | None:
        return self._membership.identify(key)

    def has(self, key: ChannelKey) -> bool:
        return any(link.key == key for link in self._links.values())

    def attach(self, link: _End) -> None:
        self._links[link.peer.name] = link
        self.counters.established += 1
        self.later(lambda: self._handler.on_connected(link.peer))

    def drop(self, key: ChannelKey, reason: str) -> None:
        for link in list(self._links.values()):
            if link.key == key:
                self._end(link, reason)

    @property
    def now(self) -> float:
        return self._loop.time()

    def delay_s(self, sender: ChannelKey) -> float | None:
        return self._hub.delay_s(sender, self.key)

    def release(self) -> None:
        for link in self._links.values():
            link.release()

    def later(self, action: Callable[[], None]) -> None:
        self._loop.call_soon(action)

    def at(self, when: float, action: Callable[[], None]) -> None:
        self._loop.call_at(when, action)

    def on_frame(self, peer: Peer, frame: bytes) -> None:
        self.counters.frames_in += 1
        self.counters.bytes_in += len(frame)
        self._handler.on_frame(peer, frame)

    def forget(self, link: _End, reason: str) -> None:
        """The link is over. The handler hears of it after what it is yet to hear."""
        if link.ended:
            return
        link.ended = True
        link.clear()
        del self._links[link.peer.name]
        self.counters.disconnected[reason] += 1
        self.later(lambda: self._handler.on_disconnected(link.peer, reason))

    # --- Inside. --------------------------------------------------------------------------

    def _end(self, link: _End, reason: str) -> None:
        self.forget(link, reason)
        link.opposite.network.forget(link.opposite, "closed_by_peer")
