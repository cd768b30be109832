"""What the edge counts, for metrics. Labels are reasons of ours, never bytes of a peer's."""

from collections import Counter
from dataclasses import dataclass, field


@dataclass(slots=True)
class Counters:
    """Only ever grows. Read it on the event loop."""

    accepted: int = 0
    dialled: int = 0
    established: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    frames_in: int = 0
    frames_out: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    """Connections that ended before their peer was accepted, by reason."""
    disconnected: Counter[str] = field(default_factory=Counter)
    """Links that ended, by reason."""
