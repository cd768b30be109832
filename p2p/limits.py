"""Every limit of the network edge, by name. Nothing there grows beyond one of these."""

from dataclasses import dataclass, fields

FRAME_OVERHEAD_BYTES = 64
"""What a waiting frame costs besides its content; many tiny frames are many bytes too."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Local settings of one node; peers need not agree on them.

    Raises `ValueError`, with what to change, where values contradict each other.
    """

    handshake_deadline_ms: int = 5_000
    """From accepting (or from starting to dial) to a proven peer, in total, not per read."""

    pending_connections_max: int = 64
    """Accepted connections whose peer is not proven yet. More are closed before any crypto."""

    pending_per_address_max: int = 32
    """The same, from one IPv4 address or one IPv6 /64 network."""

    connections_per_address_max: int = 128
    """Pending and established, from one address. All nodes of a local testnet share one."""

    connections_max: int = 256
    """Accepted connections in all, pending and established."""

    observers_max: int = 64
    """Established links to observers: they never crowd out validators."""

    send_queue_bytes_max: int = 16 * 1024 * 1024
    """Waiting to be sent to one peer. A slower peer loses its link and has to catch up."""

    heartbeat_interval_ms: int = 2_000
    """A side that has sent nothing for so long sends an empty frame."""

    heartbeats_per_interval_max: int = 16
    """Empty frames taken from one peer per interval: they are work without content."""

    silence_max_ms: int = 10_000
    """A peer that says nothing for so long is taken for dead."""

    reconnect_min_ms: int = 100
    reconnect_max_ms: int = 5_000
    """Bounds of the back-off between two attempts to reach a peer."""

    stop_deadline_ms: int = 500
    """How long `stop` waits for queued bytes to leave."""

    def __post_init__(self) -> None:
        for field in fields(self):
            if getattr(self, field.name) < 1:
                raise ValueError(f"{field.name} must be at least 1")
        if self.silence_max_ms < 2 * self.heartbeat_interval_ms:
            raise ValueError("silence_max_ms must be at least twice heartbeat_interval_ms")
        if self.reconnect_max_ms < self.reconnect_min_ms:
            raise ValueError("reconnect_max_ms must not be below reconnect_min_ms")

    @property
    def silent_ticks_max(self) -> int:
        """Heartbeat intervals that may pass without a byte.

        Silence is counted in intervals that this node lived through, not read from a clock: a
        node that was stopped for an hour must not take all its peers for dead when it wakes.
        """
        return self.silence_max_ms // self.heartbeat_interval_ms
