"""Networks of real processes for one test: short timeouts, recorded, always taken down."""

import random
from pathlib import Path

from testnet.errors import PortsInUse
from testnet.network import Testnet
from testnet.ports import check_free
from testnet.process import Life
from testnet.settings import Value
from testnet.words import tail

VIEW_TIMEOUT_MS = 500
RECORD = "received"
SETTINGS: dict[str, Value] = {
    "lab": True,
    "record": RECORD,
    "engine": "leveldb",
    "view_timeout_ms": VIEW_TIMEOUT_MS,
}
"""`lab` allows recording; nothing insecure is chosen."""


class Lab:
    """All networks that a test made; `rng` is what the test draws from."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.seed = seed
        self.rng = random.Random(seed)
        self.networks: list[Testnet] = []

    def network(self, nodes: int = 4, **settings: Value) -> Testnet:
        """A network that does not run yet. Keywords: settings, with `__` for the dot."""
        given = {key.replace("__", "."): value for key, value in settings.items()}
        usual = dict(SETTINGS)
        if given.get("consensus", "pbft") != "pbft":
            del usual["view_timeout_ms"]  # the others' timeouts have other names
        net = Testnet.create(
            self.folder / f"net{len(self.networks) + 1}",
            nodes,
            base_port=_base_port(nodes + 2),
            settings={**usual, **given},
        )
        self.networks.append(net)
        return net

    def running(self, nodes: int = 4, **settings: Value) -> Testnet:
        net = self.network(nodes, **settings)
        net.start()
        return net

    def down(self) -> None:
        for net in self.networks:
            net.down()

    def logs(self, lines: int = 25) -> str:
        """The end of every node's log."""
        parts = [f"seed {self.seed}"]
        for net in self.networks:
            for name in net.names():
                parts.append(f"--- {net.log_file(name)}")
                parts += tail(net.log_file(name), lines)
        return "\n".join(parts)


def primary(net: Testnet) -> str:
    """Who leads in the highest view that a running validator knows."""
    rows = [row for row in net.status().nodes if row.role == "validator" and row.answers]
    leader = max(rows, key=lambda row: row.view or 0).leader
    assert leader is not None
    return leader


def height(net: Testnet, name: str) -> int:
    found: int = net.client(name).status()["certified"]
    return found


def running(net: Testnet) -> list[str]:
    return [name for name in net.names("validator") if net.life(name) is Life.RUNNING]


def wait_same_height(net: Testnet, timeout_s: float = 30.0) -> int:
    """Wait until all that run hold a certificate for one and the same height; that height."""
    names = [name for name in net.names() if net.life(name) is Life.RUNNING]
    goal = max(height(net, name) for name in names)
    net.wait(
        lambda: all(height(net, name) >= goal for name in names),
        f"all have height {goal} certified",
        timeout_s,
    )
    return goal


def _base_port(nodes: int) -> int:
    """Ports that are free now; drawn at random, for other tests may look for some too."""
    draw = random.SystemRandom()
    for _ in range(100):
        base = draw.randrange(10_000, 31_000, 400)
        try:
            check_free(base, range(nodes))
        except PortsInUse:
            continue
        return base
    raise PortsInUse("no free ports for a test")
