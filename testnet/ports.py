"""Which ports a network uses, and whether they are free.

A network with base port P has its API ports from P + 1, its peer ports from P + 101 and its
admin ports from P + 201 on: with the default base 7100, `v1` is at 7101, 7201 and 7301.
"""

import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from testnet.errors import PortsInUse, WrongUse

HOST = "127.0.0.1"
BASE_PORT = 7100
"""Tried first where no base port is given."""

SPAN = 100
"""Ports of one kind; also how many nodes a network may have, observers included."""

STEP = 3 * SPAN + 100
PORT_MAX = 32_000
"""Above it lie the ports that the system hands out to clients; a node could lose a race there."""


@dataclass(frozen=True, slots=True)
class Ports:
    """Where one node listens."""

    api: int
    peer: int
    admin: int

    def all(self) -> tuple[int, int, int]:
        return (self.api, self.peer, self.admin)


def ports_of(base_port: int, position: int) -> Ports:
    """The ports of the node at `position` (from 0). Raises `WrongUse` beyond the limit."""
    if not 0 <= position < SPAN:
        raise WrongUse(f"a network here has at most {SPAN} nodes")
    first = base_port + 1 + position
    return Ports(first, first + SPAN, first + 2 * SPAN)


def check_base_port(base_port: int) -> None:
    """Raise `WrongUse` unless all ports of a network with this base exist."""
    highest = 65_535 - 3 * SPAN
    if not 1024 <= base_port <= highest:
        raise WrongUse(f"--base-port {base_port}: choose a number from 1024 to {highest}")


def choose_base_port(count: int) -> int:
    """The first base port, from the default on, whose ports for `count` nodes are all free."""
    for base_port in range(BASE_PORT, PORT_MAX, STEP):
        if not busy(_wanted(base_port, range(count))):
            return base_port
    raise PortsInUse(f"no {3 * count} free ports from {BASE_PORT} to {PORT_MAX}; free some")


def check_free(base_port: int, positions: Sequence[int]) -> None:
    """Raise `PortsInUse`, naming the ports, unless these nodes could all listen."""
    taken = busy(_wanted(base_port, positions))
    if taken:
        names = ", ".join(map(str, taken))
        raise PortsInUse(
            f"in use on {HOST}: {names}. Stop what listens there, or choose another --base-port"
        )


def busy(ports: Iterable[int]) -> list[int]:
    """Those that cannot be listened on right now."""
    return [port for port in ports if not _is_free(port)]


def _wanted(base_port: int, positions: Iterable[int]) -> list[int]:
    return sorted(port for position in positions for port in ports_of(base_port, position).all())


def _is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: connections of a former run that still time out do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
            probe.listen(1)
        except OSError:
            return False
    return True
