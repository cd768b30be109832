"""Every protocol on real processes: kills, a pause, a wiped member, a restart of all.

One life that holds for all of them. Two protocols are tried on each commit, in turn; the longer
runs try all.
"""

import shutil
import subprocess
from pathlib import Path

import pytest

from consensus.interface import Committee, ConsensusClaims
from crypto.interface import NodeId
from mechanisms.registry import Kind, load, names
from testnet.network import Testnet
from tests.process.lab import Lab, height, primary, wait_same_height
from tests.process.load import Load
from tests.process.stored import assert_nothing_lost, assert_one_chain

PROTOCOLS = [name for name in names(Kind.CONSENSUS) if name != "pbft"]
"""PBFT has all the other tests of this folder."""

EACH_TIME = 2
NODES = 4


def turn() -> int:
    """A number that changes with each commit."""
    command = ["git", "rev-parse", "HEAD"]
    here = Path(__file__).parent
    done = subprocess.run(command, cwd=here, capture_output=True, text=True, check=False)
    return int(done.stdout[:8] or "0", 16)


def some() -> list[object]:
    """All protocols; those whose turn it is not are for the longer runs."""
    first = turn() % max(1, len(PROTOCOLS))
    chosen = {PROTOCOLS[(first + step) % len(PROTOCOLS)] for step in range(EACH_TIME)}
    return [
        pytest.param(name, marks=() if name in chosen else pytest.mark.exhaustive)
        for name in PROTOCOLS
    ]


def claims(name: str) -> ConsensusClaims:
    found: ConsensusClaims = load(Kind.CONSENSUS, name, lab=False).claims
    return found


def bears(name: str) -> int:
    """How many of the members may be down."""
    members = tuple(NodeId(f"v{number + 1}") for number in range(NODES))
    return Committee(0, members, claims(name).fault_model).faults_max


def other_than(net: Testnet, name: str) -> str:
    return next(each for each in net.names() if each != name)


@pytest.mark.parametrize("protocol", some())
def test_it_survives_what_machines_do(lab: Lab, protocol: str) -> None:
    if protocol == "solo":
        pytest.skip("its orderer may not fail; it is tried without faults below")
    assert bears(protocol) >= 1
    net = lab.running(NODES, consensus=protocol)
    with Load(net, threads=3) as load:
        load.wait_more(30, 40)

        killed = primary(net)
        net.kill(killed)
        load.wait_more(30, 40)
        net.start_node(killed)
        net.wait_answer(killed)
        net.wait_height(height(net, other_than(net, killed)), [killed], 30)

        paused = primary(net)
        net.pause(paused)
        load.wait_more(30, 40)
        net.resume(paused)
        net.wait_answer(paused)
        net.wait_height(height(net, other_than(net, paused)), [paused], 30)

        wiped = lab.rng.choice(net.names())
        net.kill(wiped)
        shutil.rmtree(net.home(wiped) / "data")
        net.start_node(wiped)
        net.wait_answer(wiped)
        net.wait_height(height(net, other_than(net, wiped)), [wiped], 30)

        for name in net.names():
            net.kill(name)
        for name in net.names():
            net.start_node(name)
        load.wait_more(30, 60)
    wait_same_height(net)
    net.down()
    assert_one_chain(net)
    assert_nothing_lost(net, load.acknowledged)


@pytest.mark.parametrize("protocol", some())
def test_it_commits_and_all_agree(lab: Lab, protocol: str) -> None:
    net = lab.running(NODES, consensus=protocol)
    with Load(net, threads=3) as load:
        load.wait_more(50, 40)
    wait_same_height(net)
    net.down()
    assert_one_chain(net)
    assert_nothing_lost(net, load.acknowledged)
