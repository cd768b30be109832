"""Links over TCP, each inside an authenticated channel; one per peer.

Promises: frames arrive whole, in order, from a proven member, and at most once; a link that is
lost is reported once, and dialled again with growing, jittered pauses; memory and sockets stay
within `Limits` whatever strangers do. Does not promise delivery: what was queued when a link
ended is lost, and its users repeat what matters.

Crossing dials: the side with the smaller channel key refuses the other's while its own is under
way, so one link comes about and is not replaced. Should two be proven within a short time all the
same, the one that the smaller key dialled stays; both sides decide alike. An older link gives
way: the peer, freshly proven, says that it has no other. Before that proof a live link is never
touched.

Source: RFC 9293; for the edge rules, `docs/architecture.md`.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from crypto.interface import NodeId
from p2p.counters import Counters
from p2p.interface import (
    FRAME_BYTES_MAX,
    ChannelError,
    ChannelKey,
    Channels,
    Handler,
    Membership,
    Peer,
    Role,
    TransportClaims,
)
from p2p.limits import Limits
from p2p.transports._admission import Admission
from p2p.transports._connection import Connection
from p2p.transports._dialler import Dialler

CLAIMS = TransportClaims(crosses_machines=True, uses_channel=True)


@dataclass(frozen=True, slots=True)
class Options:
    backlog: int = 128
    """Connections that the kernel keeps waiting to be accepted."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen or to dial. A name is looked up by the event loop's own resolver."""

    host: str
    port: int
    """Port 0, to listen: any free one (see `TcpNetwork.address`)."""

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Remote:
    """A peer that this node dials: usually each validator but itself."""

    name: NodeId
    key: ChannelKey
    address: Address


@dataclass(frozen=True, slots=True)
class Place:
    """Where a node is in the network. An observer may listen nowhere."""

    listen: Address | None
    remotes: tuple[Remote, ...]


class CannotListen(Exception):
    """The operator's address cannot be used. The message says what to change."""


class Report(Protocol):
    """Takes structured events: `connected`, `disconnected`, `dial_failed`, `refused`."""

    def __call__(self, event: str, **fields: str | int) -> None: ...


def create(
    options: Options,
    *,
    channels: Channels,
    membership: Membership,
    place: Place,
    limits: Limits,
    jitter: Callable[[], float],
    report: Report,
) -> "TcpNetwork":
    """`jitter()` gives a random number in [0, 1); nothing secret depends on it."""
    return TcpNetwork(
        options,
        channels=channels,
        membership=membership,
        place=place,
        limits=limits,
        jitter=jitter,
        report=report,
    )


class TcpNetwork:
    """The `Network` of one node on TCP. All methods are called on one event loop."""

    def __init__(
        self,
        options: Options,
        *,
        channels: Channels,
        membership: Membership,
        place: Place,
        limits: Limits,
        jitter: Callable[[], float],
        report: Report,
    ) -> None:
        self.counters = Counters()
        self._options = options
        self._channels = channels
        self._membership = membership
        self._place = place
        self._limits = limits
        self._jitter = jitter
        self._report = report
        self._admission = Admission(limits)
        self._connections: set[Connection] = set()
        self._links: dict[NodeId, Connection] = {}
        self._dialling: dict[NodeId, Connection] = {}
        """Connections that this side dialled and that are not accepted yet."""
        self._diallers: dict[NodeId, Dialler] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._server: asyncio.Server | None = None
        self._ticker: asyncio.TimerHandle | None = None
        self._refused_reported = 0
        self._stopping = False

    # --- Network. -------------------------------------------------------------------------

    async def start(self, handler: Handler) -> None:
        """Raises `CannotListen`. Returns before any peer is reached."""
        self._handler = handler
        self._loop = asyncio.get_running_loop()
        if self._place.listen is not None:
            self._server = await self._listen(self._place.listen)
        for remote in self._place.remotes:
            self._start_dialling(remote)
        self._tick_later()

    @property
    def address(self) -> Address | None:
        """Where it listens, with the real port."""
        if self._server is None or not self._server.sockets:
            return None
        host, port = self._server.sockets[0].getsockname()[:2]
        return Address(host, port)

    def send(self, to: NodeId, frame: bytes) -> bool:
        assert 0 < len(frame) <= FRAME_BYTES_MAX, f"a frame of {len(frame)} bytes"
        link = self._links.get(to)
        return link is not None and link.send(frame)

    def connected(self) -> tuple[Peer, ...]:
        return tuple(link.peer for link in self._links.values() if link.peer is not None)

    def traffic(self) -> tuple[int, int]:
        return self.counters.bytes_in, self.counters.bytes_out

    def pause_reading(self, peer: NodeId) -> None:
        link = self._links.get(peer)
        if link is not None:
            link.pause_reading()

    def resume_reading(self, peer: NodeId) -> None:
        link = self._links.get(peer)
        if link is not None:
            link.resume_reading()

    def membership_changed(self) -> None:
        for connection in list(self._connections):
            key = connection.key
            if key is not None and self._membership.identify(key) != connection.peer:
                connection.close("removed")
        for remote in self._place.remotes:
            self._update_dialler(remote.name)

    async def stop(self) -> None:
        """End all links and give the sockets back. What was queued has a moment to leave."""
        self._stopping = True
        if self._ticker is not None:
            self._ticker.cancel()
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        leaving = list(self._connections)
        for connection in leaving:
            connection.close_after_flush("stopped")
        try:
            async with asyncio.timeout(self._limits.stop_deadline_ms / 1000):
                for connection in leaving:
                    await connection.gone.wait()
        except TimeoutError:
            for connection in leaving:
                connection.close("stopped")
            for connection in leaving:
                await connection.gone.wait()

    # --- What connections tell (`Owner`). -------------------------------------------------

    def on_opened(self, connection: Connection) -> None:
        self._connections.add(connection)
        if connection.dialled is not None:
            self.counters.dialled += 1
            if connection.dialled in self._links:
                raise ChannelError("duplicate")
            self._dialling[connection.dialled] = connection
        elif self._stopping:
            raise ChannelError("stopped")
        else:
            connection.slot = self._admission.admit(connection.address)
            self.counters.accepted += 1

    def on_proven(self, connection: Connection, key: ChannelKey) -> None:
        peer = self._membership.identify(key)
        if peer is None:
            raise ChannelError("unknown_peer")
        if connection.dialled not in (None, peer.name):
            raise ChannelError("wrong_identity", "the peer is a member of another name")
        if peer.role is Role.OBSERVER and peer.name not in self._links:
            roles = [link.peer.role for link in self._links.values() if link.peer is not None]
            if roles.count(Role.OBSERVER) >= self._limits.observers_max:
                raise ChannelError("observers_full")
        crossing = self._dialling.get(peer.name, connection)
        if crossing is not connection and self._channels.public_key < key:
            raise ChannelError("crossing_dial")
        former = self._links.get(peer.name)
        if former is not None and not self._gives_way(former, connection, key):
            raise ChannelError("duplicate")
        connection.peer = peer

    def on_established(self, connection: Connection) -> None:
        peer, key = connection.peer, connection.key
        assert peer is not None
        assert key is not None
        former = self._links.get(peer.name)
        if former is not None:
            # Asked again: while a dialled connection waited for acceptance another may have come.
            if not self._gives_way(former, connection, key):
                connection.close("duplicate")
                return
            former.close("replaced")
        crossing = self._dialling.pop(peer.name, connection)
        if crossing is not connection:
            crossing.close("crossing_dial")
        if connection.slot is not None:
            self._admission.establish(connection.slot)
        self._links[peer.name] = connection
        self.counters.established += 1
        self._update_dialler(peer.name)
        self._report("connected", peer=peer.name, role=peer.role, address=connection.address)
        self._handler.on_connected(peer)

    def on_frame(self, connection: Connection, frame: bytes) -> None:
        assert connection.peer is not None
        self._handler.on_frame(connection.peer, frame)

    def on_closed(self, connection: Connection, reason: str) -> None:
        self._connections.discard(connection)
        if connection.dialled is not None and (
            self._dialling.get(connection.dialled) is connection
        ):
            del self._dialling[connection.dialled]
        if connection.slot is not None:
            self._admission.release(connection.slot)
        peer = connection.peer
        if peer is None or self._links.get(peer.name) is not connection:
            self.counters.refused[reason] += 1
            return
        del self._links[peer.name]
        self.counters.disconnected[reason] += 1
        self._update_dialler(peer.name)
        self._report("disconnected", peer=peer.name, reason=reason)
        self._handler.on_disconnected(peer, reason)

    # --- Inside. --------------------------------------------------------------------------

    async def _listen(self, at: Address) -> asyncio.Server:
        def accepted() -> Connection:
            return Connection(self, self._limits, self._channels.accept)

        try:
            return await self._loop.create_server(
                accepted, at.host, at.port, backlog=self._options.backlog
            )
        except OSError as error:
            raise CannotListen(
                f"cannot listen for peers on {at}: {error.strerror}; choose another address, "
                "or stop the program that uses it"
            ) from error

    def _start_dialling(self, remote: Remote) -> None:
        dialler = Dialler(
            lambda: self._dial(remote),
            self._limits,
            self._jitter,
            first=self._place.listen is None or self._channels.public_key < remote.key,
        )
        self._diallers[remote.name] = dialler
        self._update_dialler(remote.name)
        self._tasks.append(self._loop.create_task(dialler.run()))

    async def _dial(self, remote: Remote) -> bool:
        """One attempt, from the first packet to an accepted link, within the deadline."""

        def dialled() -> Connection:
            return connection

        connection = Connection(
            self, self._limits, lambda: self._channels.dial(remote.key), dialled=remote.name
        )
        try:
            async with asyncio.timeout(self._limits.handshake_deadline_ms / 1000):
                await self._loop.create_connection(
                    dialled, remote.address.host, remote.address.port
                )
                await connection.settled.wait()
            if connection.established:
                return True
            reason = connection.ended_because
        except TimeoutError:
            reason = "handshake_timeout"
            connection.close(reason)
        except OSError as error:
            reason = error.strerror or "unreachable"
        self._report("dial_failed", peer=remote.name, address=str(remote.address), reason=reason)
        return False

    def _gives_way(self, former: Connection, new: Connection, key: ChannelKey) -> bool:
        """Whether `former` ends in favour of `new`; both are proven to be of one peer."""
        if (former.dialled is None) == (new.dialled is None):
            return True
        age_ms = (self._loop.time() - former.established_at) * 1000
        if age_ms > 2 * self._limits.handshake_deadline_ms:
            return True
        # Crossing dials: the smaller key's stays.
        return (new.dialled is not None) == (self._channels.public_key < key)

    def _update_dialler(self, name: NodeId) -> None:
        """Dial whoever is a member and has no link."""
        dialler = self._diallers.get(name)
        if dialler is None:
            return
        remote = next(remote for remote in self._place.remotes if remote.name == name)
        if name in self._links or self._membership.identify(remote.key) is None:
            dialler.wanted.clear()
        else:
            dialler.wanted.set()

    def _tick_later(self) -> None:
        seconds = self._limits.heartbeat_interval_ms / 1000
        self._ticker = self._loop.call_later(seconds, self._tick)

    def _tick(self) -> None:
        self._tick_later()
        for link in list(self._links.values()):
            link.tick()
        # Strangers can cause refusals at any rate; they are reported once per interval.
        refused = self.counters.refused.total()
        if refused != self._refused_reported:
            self._report(
                "refused",
                count=refused - self._refused_reported,
                totals=", ".join(f"{why} {n}" for why, n in self.counters.refused.items()),
            )
            self._refused_reported = refused
