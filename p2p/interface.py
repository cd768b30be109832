"""Authenticated links between known peers: whole frames, in order, from a proven identity."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NewType, Protocol

from crypto.interface import NodeId

ChannelKey = NewType("ChannelKey", bytes)
"""The public static key of a node on the peer channel (X25519 for Noise)."""

FRAME_BYTES_MAX = 8 * 1024 * 1024
"""No frame is longer; a longer one is refused from its length prefix."""


class ChannelError(Exception):
    """The peer broke the channel's rules: the connection ends. `reason` labels a metric."""

    def __init__(self, reason: str, text: str = "") -> None:
        super().__init__(text or reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class ChannelClaims:
    """What a channel mechanism promises. Printed in every table."""

    authentication: str
    """Who proves what to whom, in a phrase."""
    forward_secrecy: bool
    bits_classical: int
    bits_quantum: int
    lab_only: bool = False


@dataclass(frozen=True, slots=True)
class TransportClaims:
    """What a transport mechanism promises. Printed in every table."""

    crosses_machines: bool
    uses_channel: bool
    """Whether links are authenticated by the channel mechanism, or by construction."""
    lab_only: bool = False


class Role(StrEnum):
    VALIDATOR = "validator"
    OBSERVER = "observer"


@dataclass(frozen=True, slots=True)
class Peer:
    """Whom a channel key belongs to."""

    name: NodeId
    role: Role


class Membership(Protocol):
    """Who may connect. Asked at each handshake, and again whenever it says that it changed."""

    def identify(self, key: ChannelKey) -> Peer | None:
        """The peer that owns `key`, or None if it may not connect."""
        ...


class Channel(Protocol):
    """A sans-I/O secure channel: bytes in, bytes out. One instance per connection.

    Raises `ChannelError` on the first bad byte; after that it is dead. It never advances a nonce
    on failure.
    """

    def data_to_send(self) -> bytes:
        """Handshake bytes to write now; empty when there are none."""
        ...

    def receive_data(self, data: bytes) -> list[bytes]:
        """Take in bytes from the socket; the frames that became complete, in order."""
        ...

    def receive_eof(self) -> None:
        """The peer writes no more: silent at a frame boundary, `ChannelError` in a frame."""
        ...

    def send_frames(self, frames: list[bytes]) -> bytes:
        """Seal frames, coalesced into as few records as possible. Handshake must be complete."""
        ...

    @property
    def peer_key(self) -> ChannelKey | None:
        """The proven static key, or None until the handshake is complete."""
        ...


class Channels(Protocol):
    """One channel mechanism, set up with this node's static key: makes a channel per connection."""

    @property
    def public_key(self) -> ChannelKey:
        """This node's own static key, as its peers know it."""
        ...

    def dial(self, expected: ChannelKey) -> Channel:
        """The dialler's side. Fails unless the peer proves that it owns `expected`."""
        ...

    def accept(self) -> Channel:
        """The listener's side. Does no cryptography before the first message arrived."""
        ...


class Handler(Protocol):
    """Whoever owns a network: called on the event loop, must not raise, must not block."""

    def on_connected(self, peer: Peer) -> None: ...

    def on_disconnected(self, peer: Peer, reason: str) -> None: ...

    def on_frame(self, peer: Peer, frame: bytes) -> None: ...


class Network(Protocol):
    """The links of one node. `send` never blocks: a full queue drops the link (and says so)."""

    async def start(self, handler: Handler) -> None: ...

    def send(self, to: NodeId, frame: bytes) -> bool:
        """Queue a frame; False if there is no link to that peer now."""
        ...

    def connected(self) -> tuple[Peer, ...]: ...

    def traffic(self) -> tuple[int, int]:
        """Bytes that came in and went out since the start, as on the wire."""
        ...

    def pause_reading(self, peer: NodeId) -> None:
        """Back-pressure: read no more from this peer until `resume_reading`."""
        ...

    def resume_reading(self, peer: NodeId) -> None: ...

    def membership_changed(self) -> None:
        """Disconnect at once whoever the membership no longer knows."""
        ...

    async def stop(self) -> None: ...
