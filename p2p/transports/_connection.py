"""One TCP connection, from its first byte to its end: an asyncio protocol around a channel.

A connection is established when its peer has proven itself and the network has accepted it. The
listener shows acceptance with its first frame, an empty one if it has nothing to say; the dialler
waits for that, so that neither side reports a link that the other refuses. Empty frames are
heartbeats and never reach the handler.

Frames to send are collected and sealed once per loop iteration. What waits, here and in the
socket's buffer, is bounded; a peer that does not keep up loses the connection.
"""

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from typing import Protocol, cast

from crypto.interface import NodeId
from p2p.counters import Counters
from p2p.interface import Channel, ChannelError, ChannelKey, Peer
from p2p.limits import FRAME_OVERHEAD_BYTES, Limits
from p2p.transports._admission import Slot

FLUSH_BYTES = 256 * 1024
"""Sealed and handed to the socket at a time; more follows when the socket has taken it."""

HEARTBEAT = b""


class Owner(Protocol):
    """What a connection asks of the network it belongs to."""

    @property
    def counters(self) -> Counters: ...

    def on_opened(self, connection: "Connection") -> None:
        """The socket is there. Raises `ChannelError` to refuse it."""
        ...

    def on_proven(self, connection: "Connection", key: ChannelKey) -> None:
        """The peer has proven `key`. Sets `connection.peer`, or raises `ChannelError`."""
        ...

    def on_established(self, connection: "Connection") -> None: ...

    def on_frame(self, connection: "Connection", frame: bytes) -> None: ...

    def on_closed(self, connection: "Connection", reason: str) -> None: ...


class Connection(asyncio.Protocol):
    """Ends exactly once, with a reason, through `close` or because the socket did."""

    def __init__(
        self,
        owner: Owner,
        limits: Limits,
        make_channel: Callable[[], Channel],
        *,
        dialled: NodeId | None = None,
    ) -> None:
        """`dialled`: whom this side dialled, or None if it was accepted."""
        self.dialled = dialled
        self.address = ""
        self.key: ChannelKey | None = None
        self.peer: Peer | None = None
        self.slot: Slot | None = None
        """Of an accepted connection: its place in the counts, if it was given one."""
        self.established_at = 0.0
        self.established = False
        self.ended_because = ""
        """The reason, once it has ended."""
        self.settled = asyncio.Event()
        """Set when it is established, or ended before."""
        self.gone = asyncio.Event()
        """Set when the socket is closed and its buffers are free."""
        self._loop = asyncio.get_running_loop()
        self._owner = owner
        self._limits = limits
        self._counters = owner.counters
        self._make_channel = make_channel
        self._transport: asyncio.Transport | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._ended = False
        self._overflowed = False
        self._queue: deque[bytes] = deque()
        self._queued_bytes = 0
        self._flush_scheduled = False
        self._socket_full = False
        self._reading = True
        self._held: deque[bytes] = deque()
        """Frames that were read and not yet handed over, because the handler paused."""
        self._delivery_scheduled = False
        self._wrote = False
        self._silent_ticks = 0
        self._heartbeats = 0

    # --- Called by asyncio. ---------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not checked: the transports of uvloop are none of asyncio's classes.
        self._transport = transport = cast(asyncio.Transport, transport)
        if self._ended:
            transport.abort()
            return
        self.address = _address(transport)
        try:
            self._owner.on_opened(self)
            self._channel = self._make_channel()
        except ChannelError as error:
            self.close(error.reason)
            return
        _configure(transport, self._limits)
        seconds = self._limits.handshake_deadline_ms / 1000
        self._deadline = self._loop.call_later(seconds, self.close, "handshake_timeout")
        self._write(self._channel.data_to_send())

    def data_received(self, data: bytes) -> None:
        if self._ended:
            return
        self._counters.bytes_in += len(data)
        self._silent_ticks = 0
        try:
            frames = self._channel.receive_data(data)
            if not self.established:
                self._write(self._channel.data_to_send())
                self._advance(accepted=bool(frames))
        except ChannelError as error:
            self.close(error.reason)
            return
        if frames:
            self._held.extend(frames)
            self._deliver()

    def eof_received(self) -> None:
        if self._ended:
            return
        try:
            self._channel.receive_eof()
        except ChannelError as error:
            self.close(error.reason)
        else:
            self.close("closed_by_peer")

    def connection_lost(self, _exc: Exception | None) -> None:
        if not self._ended:
            self.close("connection_lost")
        self._transport = None
        self.gone.set()

    def pause_writing(self) -> None:
        self._socket_full = True

    def resume_writing(self) -> None:
        self._socket_full = False
        self._schedule_flush()

    # --- Called by the network. -----------------------------------------------------------

    def send(self, frame: bytes) -> bool:
        """Queue a frame. False if the connection is over, or is by this: its queue was full."""
        if self._ended or self._overflowed:
            return False
        waiting = self._queued_bytes + self._buffered_bytes()
        cost = len(frame) + FRAME_OVERHEAD_BYTES
        if waiting + cost > self._limits.send_queue_bytes_max:
            # Not closed here and now: the caller is in the middle of something.
            self._overflowed = True
            self._loop.call_soon(self.close, "send_queue_full")
            return False
        self._queue.append(frame)
        self._queued_bytes += cost
        self._schedule_flush()
        return True

    def pause_reading(self) -> None:
        if self._reading and self._transport is not None:
            self._reading = False
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if not self._reading and not self._ended:
            self._reading = True
            self._silent_ticks = 0
            if self._held:
                self._schedule_delivery()
            elif self._transport is not None:
                self._transport.resume_reading()

    def tick(self) -> None:
        """One heartbeat interval has passed."""
        self._heartbeats = 0
        if not self._wrote and not self._queue:
            self.send(HEARTBEAT)
        self._wrote = False
        if self._reading:
            self._silent_ticks += 1
            if self._silent_ticks > self._limits.silent_ticks_max:
                self.close("silent")

    def close(self, reason: str) -> None:
        """End at once; what was queued is dropped. Later calls do nothing."""
        self._end(reason)
        if self._transport is not None:
            self._transport.abort()

    def close_after_flush(self, reason: str) -> None:
        """End for everybody here, but let what was queued leave first."""
        if not self._ended and self.established:
            self._flush()
        self._end(reason)
        if self._transport is not None:
            self._transport.close()

    # --- Inside. --------------------------------------------------------------------------

    def _end(self, reason: str) -> None:
        if self._ended:
            return
        self._ended = True
        if self._deadline is not None:
            self._deadline.cancel()
        self._queue.clear()
        self._held.clear()
        self.ended_because = reason
        self.settled.set()
        if self._transport is None:
            self.gone.set()
        self._owner.on_closed(self, reason)

    def _advance(self, *, accepted: bool) -> None:
        """Take the steps that follow from the handshake. Raises `ChannelError` to refuse."""
        if self.key is None:
            if self._channel.peer_key is None:
                return
            self._owner.on_proven(self, self._channel.peer_key)
            self.key = self._channel.peer_key
        if self.dialled is not None and not accepted:
            return
        assert self._deadline is not None
        self._deadline.cancel()
        self.established_at = self._loop.time()
        self.established = True
        self.settled.set()
        if self.dialled is None:
            self.send(HEARTBEAT)
        self._owner.on_established(self)

    def _deliver(self) -> None:
        """Hand over what was read, until the handler pauses or the connection ends."""
        while self._held and self._reading and not self._ended:
            frame = self._held.popleft()
            if frame:
                self._counters.frames_in += 1
                self._owner.on_frame(self, frame)
            else:
                self._heartbeats += 1
                if self._heartbeats > self._limits.heartbeats_per_interval_max:
                    self.close("heartbeat_flood")

    def _schedule_delivery(self) -> None:
        if not self._delivery_scheduled:
            self._delivery_scheduled = True
            self._loop.call_soon(self._deliver_held)

    def _deliver_held(self) -> None:
        self._delivery_scheduled = False
        self._deliver()
        if self._reading and not self._ended and self._transport is not None:
            self._transport.resume_reading()

    def _schedule_flush(self) -> None:
        if not self._flush_scheduled and self._queue:
            self._flush_scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Seal what waits, in batches, until the socket is full."""
        self._flush_scheduled = False
        try:
            while self._queue and not self._socket_full and not self._ended:
                batch: list[bytes] = []
                size = 0
                while self._queue and size < FLUSH_BYTES:
                    frame = self._queue.popleft()
                    batch.append(frame)
                    size += len(frame) + FRAME_OVERHEAD_BYTES
                    self._counters.frames_out += bool(frame)
                self._queued_bytes -= size
                self._write(self._channel.send_frames(batch))
        except ChannelError as error:
            self.close(error.reason)

    def _write(self, data: bytes) -> None:
        if data and self._transport is not None:
            self._wrote = True
            self._counters.bytes_out += len(data)
            self._transport.write(data)

    def _buffered_bytes(self) -> int:
        return 0 if self._transport is None else self._transport.get_write_buffer_size()


def _address(transport: asyncio.Transport) -> str:
    peername = transport.get_extra_info("peername")
    return str(peername[0]) if peername else ""


def _configure(transport: asyncio.Transport, limits: Limits) -> None:
    transport.set_write_buffer_limits(high=FLUSH_BYTES)
    sock = transport.get_extra_info("socket")
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        # The kernel gives up on bytes that a dead peer never acknowledges.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, limits.silence_max_ms)
