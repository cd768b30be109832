"""Nodes that end by themselves, with programs that are no nodes."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from testnet import process
from testnet.errors import AlreadyUp, NodeDied, NotInTime, WrongUse
from testnet.network import Testnet
from testnet.process import Life

SLEEPS = "import time; time.sleep(60)"
DIES = "import sys; sys.stderr.write('the disk is full'); sys.exit(3)"


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Testnet]:
    made = Testnet.create(tmp_path / "net", 2)
    yield made
    made.down()


def runs(network: Testnet, code: str) -> Testnet:
    network.command = lambda home: [sys.executable, "-c", code, str(home)]
    return network


def test_a_node_that_ends_at_the_start_is_named_with_its_last_word(network: Testnet) -> None:
    with pytest.raises(NodeDied, match=r"v[12] ended by itself.*the disk is full"):
        runs(network, DIES).start(20)
    assert [network.life(name) for name in network.names()] == [Life.DOWN, Life.DOWN]


def test_a_network_that_does_not_get_ready_is_taken_down_again(network: Testnet) -> None:
    with pytest.raises(NotInTime, match="a quorum commits the first block"):
        runs(network, SLEEPS).start(0.2)
    assert [network.life(name) for name in network.names()] == [Life.DOWN, Life.DOWN]
    assert {entry.pid for entry in network.manifest.nodes} == {None}


def test_a_node_that_ended_by_itself_has_no_process_number_any_more(network: Testnet) -> None:
    runs(network, DIES).start(wait=False)
    identities = [entry.process for entry in network.manifest.nodes]
    process.wait_end([each for each in identities if each is not None], 20)
    state = network.status()
    assert {entry.pid for entry in network.manifest.nodes} == {None}
    assert all("the disk is full" in node.note for node in state.nodes)
    assert all("the disk is full" in node.note for node in network.status().nodes)


def test_a_live_network_is_not_started_again(network: Testnet) -> None:
    runs(network, SLEEPS).start(wait=False)
    before = [entry.pid for entry in network.manifest.nodes]
    with pytest.raises(AlreadyUp, match="v1, v2"):
        network.start()
    with pytest.raises(WrongUse, match="runs already"):
        network.start_node("v1")
    assert [entry.pid for entry in network.manifest.nodes] == before


def test_a_killed_node_is_told_from_one_that_was_stopped(network: Testnet) -> None:
    runs(network, SLEEPS).start(wait=False)
    network.kill("v1")
    network.stop_node("v2")
    notes = {node.name: node.note for node in network.status().nodes}
    assert notes["v1"].startswith("exit by signal 9, ")
    assert notes["v2"].startswith("stopped, ")
    network.start_node("v1")
    assert network.life("v1") is Life.RUNNING


def test_a_paused_node_is_taken_down_too(network: Testnet) -> None:
    runs(network, SLEEPS).start(wait=False)
    network.pause("v1")
    assert network.status().node("v1").state is Life.PAUSED
    assert network.down() == []
    assert network.life("v1") is Life.DOWN


def test_another_hand_sees_the_same_network(network: Testnet) -> None:
    runs(network, SLEEPS).start(wait=False)
    other = Testnet(network.directory)
    assert [other.life(name) for name in other.names()] == [Life.RUNNING, Life.RUNNING]
    other.kill("v1")
    assert network.life("v1") is Life.DOWN
