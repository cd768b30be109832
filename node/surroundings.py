"""What a node is given by the machine it runs on: time, threads, a network, a disk.

`node.wiring` makes the real ones; the simulator brings its own, so that the same node runs on a
clock and on wires that a seed decides.
"""

from collections.abc import Callable
from dataclasses import dataclass

from crypto.genesis import Genesis
from crypto.interface import Digest
from node.config import NodeConfig
from node.home import Home
from node.logs import Log
from node.workers import Workers
from p2p.interface import Network
from storage.interface import Store


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Each is called once per start of a node, but for the clocks."""

    workers: Callable[[NodeConfig], Workers]
    network: Callable[[Home, NodeConfig, Genesis, Digest, Log], Network]
    store: Callable[[Home, NodeConfig, Genesis], Store]
    monotonic_ms: Callable[[], float]
    """Never goes back. Its zero means nothing."""
    wall_ms: Callable[[], int]
    """Milliseconds since 1970, as good as the machine knows."""
