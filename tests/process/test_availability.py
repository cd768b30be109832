"""f validators down: progress. f + 1 down: no progress, no fork. A silent primary is replaced."""

import time

from tests.process.lab import VIEW_TIMEOUT_MS, Lab, height, primary, running, wait_same_height
from tests.process.load import Load
from tests.process.stored import assert_nothing_lost, assert_one_chain

HTTP_SETTLE_S = 0.5
STILL_S = 6 * VIEW_TIMEOUT_MS / 1000
"""How long a chain that must stand still is watched: several view changes fit into it."""


def test_progress_with_f_down_none_with_one_more_and_again_when_one_returns(lab: Lab) -> None:
    net = lab.running()
    first, second = lab.rng.sample(net.names(), 2)
    with Load(net, threads=4) as load:
        load.wait_more(20, 30)
        net.kill(first)
        load.wait_more(50, 20)

        net.kill(second)
        left = running(net)
        time.sleep(HTTP_SETTLE_S)  # what was certified before the kill may still be answered
        told, heights = load.count, [height(net, name) for name in left]
        time.sleep(STILL_S)
        assert load.count == told
        assert max(height(net, name) for name in left) <= max(heights)
        for name in left:
            status = net.client(name).status()
            assert not status["moving"]
            assert "quorum is 3" in status["reason"]

        net.start_node(first)
        load.wait_more(50, 30)
        net.start_node(second)
        net.wait_answer(second)
        load.wait_more(20, 30)
    wait_same_height(net)
    net.down()
    assert_one_chain(net)
    assert_nothing_lost(net, load.acknowledged)


def test_a_paused_primary_is_replaced_and_follows_when_resumed(lab: Lab) -> None:
    net = lab.running()
    with Load(net, threads=4) as load:
        load.wait_more(20, 30)
        paused = primary(net)
        net.pause(paused)
        load.wait_more(50, 20)
        assert primary(net) != paused
        net.resume(paused)
        net.wait_answer(paused)
        goal = max(height(net, name) for name in net.names() if name != paused)
        net.wait_height(goal, [paused], 20)
        load.wait_more(20, 20)
        assert net.client(paused).status()["leader"] == primary(net)
    wait_same_height(net)
    net.down()
    assert_one_chain(net)
    assert_nothing_lost(net, load.acknowledged)


def test_a_primary_that_comes_up_long_before_the_others_holds_nothing_up(lab: Lab) -> None:
    net = lab.network()
    first, *others = net.names()
    net.start_node(first)
    net.wait_answer(first)
    assert primary(net) == first
    # It proposes to nobody, and leaves its view alone.
    net.wait(lambda: net.client(first).status()["view"] > 0, f"{first} leaves its view", 10)
    for name in others:
        net.start_node(name)
    net.wait_ready(20)
    with Load(net) as load:
        load.wait_more(20, 20)
    wait_same_height(net)
    net.down()
    assert_nothing_lost(net, load.acknowledged)


def test_all_nodes_killed_at_once_go_on_from_where_they_were(lab: Lab) -> None:
    net = lab.running()
    with Load(net, threads=4) as load:
        load.wait_more(50, 30)
        for name in net.names():
            net.kill(name)
        highest = max(each.height for each in load.acknowledged)
        net.start()
        load.wait_more(50, 30)
        assert max(each.height for each in load.acknowledged) > highest
    wait_same_height(net)
    net.down()
    assert_one_chain(net)
    assert_nothing_lost(net, load.acknowledged)


def test_all_nodes_stopped_cleanly_go_on_from_where_they_were(lab: Lab) -> None:
    net = lab.running()
    with Load(net) as load:
        load.wait_more(50, 30)
    before = wait_same_height(net)
    root = net.client("v1").header(before)["header"]["state_root"]
    assert net.down() == [], "a node had to be killed to end"
    net.start()
    net.wait_height(before)
    assert net.client("v1").header(before)["header"]["state_root"] == root
    with Load(net) as more:
        # The same clients, the same keys: version 2 of each, so the state was there.
        more.wait_more(20, 30)
    value = net.client("v2").query("kv", "get", "t0-0")["value"]
    assert value["version"] == 2
    wait_same_height(net)
    net.down()
    assert_one_chain(net)
    assert_nothing_lost(net, [*load.acknowledged, *more.acknowledged])
