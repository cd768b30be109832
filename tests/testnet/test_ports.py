import socket
from collections.abc import Iterator

import pytest

from testnet import ports
from testnet.errors import PortsInUse, WrongUse


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket() as taken:
        taken.bind((ports.HOST, 0))
        taken.listen(1)
        yield taken


def test_the_default_network_has_the_documented_ports() -> None:
    assert ports.ports_of(7100, 0) == ports.Ports(api=7101, peer=7201, admin=7301)
    assert ports.ports_of(7100, 3) == ports.Ports(api=7104, peer=7204, admin=7304)


def test_no_two_nodes_share_a_port() -> None:
    every = [port for position in range(100) for port in ports.ports_of(7100, position).all()]
    assert len(set(every)) == len(every)


def test_more_nodes_than_a_network_has_room_for_are_refused() -> None:
    with pytest.raises(WrongUse, match="at most 100"):
        ports.ports_of(7100, 100)


@pytest.mark.parametrize("base", [0, 80, 65_300, 70_000])
def test_a_base_port_that_cannot_be_used_is_refused(base: int) -> None:
    with pytest.raises(WrongUse, match="base-port"):
        ports.check_base_port(base)


def test_a_usable_base_port_passes() -> None:
    ports.check_base_port(7100)


def test_a_port_that_somebody_listens_on_is_named(listener: socket.socket) -> None:
    taken = listener.getsockname()[1]
    with pytest.raises(PortsInUse, match=str(taken)):
        ports.check_free(taken - 1, [0])


def test_free_ports_pass(listener: socket.socket) -> None:
    taken = listener.getsockname()[1]
    listener.close()
    assert ports.busy([taken]) == []


def test_a_block_with_a_busy_port_is_not_chosen(listener: socket.socket) -> None:
    chosen = ports.choose_base_port(4)
    wanted = [port for position in range(4) for port in ports.ports_of(chosen, position).all()]
    assert ports.busy(wanted) == []
    with socket.socket() as blocker:
        blocker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        blocker.bind((ports.HOST, wanted[0]))
        blocker.listen(1)
        assert ports.choose_base_port(4) != chosen
