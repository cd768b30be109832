"""Who is behind catches up: a wiped validator, one that starts late, an observer."""

from crypto.bundle import from_json, verify_bundle
from crypto.genesis import from_json as genesis_from_json
from testnet.chosen import client_scheme, hash_of, validator_scheme
from testnet.network import Testnet
from tests.process.lab import Lab, height, wait_same_height
from tests.process.load import Load
from tests.process.stored import assert_nothing_lost, assert_one_chain

FAR = 300
"""Heights that a late node has missed: more than the protocol's window."""


def grow(net: Testnet, load: Load, to: int) -> None:
    net.wait(lambda: height(net, net.answering()) >= to, f"height {to}", 90)
    load.wait_more(1, 10)


def test_a_validator_that_starts_late_catches_up_and_votes(lab: Lab) -> None:
    net = lab.network()
    early, late = net.names()[:3], net.names()[3]
    for name in early:
        net.start_node(name)
    for name in early:
        net.wait_answer(name)
    with Load(net, threads=4) as load:
        grow(net, load, FAR)
        net.start_node(late)
        net.wait_answer(late)
        net.wait_height(FAR, [late], 60)
        load.wait_more(20, 30)
    wait_same_height(net)
    # Its vote is needed from here on.
    gone = lab.rng.choice(early)
    net.kill(gone)
    with Load(net) as more:
        more.wait_more(60, 60)
    wait_same_height(net)
    net.down()
    assert_one_chain(net)
    assert_nothing_lost(net, load.acknowledged)
    assert_nothing_lost(net, more.acknowledged, [name for name in net.names() if name != gone])


def test_a_wiped_validator_catches_up(lab: Lab) -> None:
    net = lab.running()
    wiped = lab.rng.choice(net.names())
    with Load(net, threads=4) as load:
        load.wait_more(100, 30)
        net.kill(wiped)
        net.wipe(wiped)
        load.wait_more(100, 30)
        net.start_node(wiped)
        net.wait_answer(wiped)
        goal = max(each.height for each in load.acknowledged)
        net.wait_height(goal, [wiped], 60)
        load.wait_more(100, 30)
    wait_same_height(net)
    net.down()
    assert_one_chain(net)
    assert_nothing_lost(net, load.acknowledged)


def test_an_observer_follows_and_its_proofs_hold(lab: Lab) -> None:
    net = lab.running()
    with Load(net) as load:
        load.wait_more(50, 30)
        net.add_observer("watcher")
        net.start_node("watcher")
        net.wait_answer("watcher")
        load.wait_more(50, 30)
    common = wait_same_height(net)
    headers = [net.client(name).header(common)["header"] for name in net.names()]
    assert all(each == headers[0] for each in headers)
    genesis = genesis_from_json(net.genesis_file.read_bytes())
    mechanisms = hash_of(genesis), validator_scheme(genesis), client_scheme(genesis)
    for told in (load.acknowledged[0], load.acknowledged[-1]):
        raw = net.client("watcher").proof(told.id)
        proven = verify_bundle(from_json(raw), genesis, *mechanisms)
        assert (proven.id.hex(), proven.height, proven.accepted) == (told.id, told.height, True)
    net.down()
    assert_one_chain(net)
    assert_nothing_lost(net, load.acknowledged)
