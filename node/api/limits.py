"""How much the API takes from its clients, in one place; each number has its name."""

from dataclasses import dataclass

HEIGHT_MAX = 2**63 - 1
"""No height, index, size, nonce or expiry is larger."""

TIMEOUT_MS_DEFAULT = 10_000
TIMEOUT_MS_MAX = 60_000
QUERY_BYTES_MAX = 2048
QUERY_SEGMENTS_MAX = 16
RETRY_AFTER_SECONDS = 1


@dataclass(frozen=True, slots=True)
class ApiLimits:
    """The defaults bound what the API holds to well under 100 MB."""

    connections_max: int = 768
    head_bytes_max: int = 64 * 1024
    """Of one request, everything that is not body: head, chunk framing, trailers."""
    request_seconds: float = 20.0
    """From the first byte of a request (or from connecting) to its last byte."""
    idle_seconds: int = 30
    """Between two requests of one connection."""

    json_bytes_max: int = 512 * 1024
    """Body of one JSON submission."""
    batch_bytes_max: int = 4 * 1024 * 1024
    batch_transactions_max: int = 1000
    bodies_bytes_max: int = 48 * 1024 * 1024
    """All bodies together that are being read or worked on."""
    json_depth_max: int = 8
    json_nodes_max: int = 40_000
    """Values and keys in one JSON body."""

    waiting_requests_max: int = 384
    waiting_transactions_max: int = 50_000
    """Transactions that requests with `wait=committed` wait for, all together."""
    heartbeat_seconds: float = 10.0
    """Between two comments on a silent event stream."""
    stop_seconds: int = 5
    """What a graceful stop may take before open requests are cancelled."""
