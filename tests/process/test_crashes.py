"""`kill -9` under load: the chain goes on, and nothing that was acknowledged is lost."""

import subprocess
import sys
import time

from testnet.network import Testnet
from testnet.process import Life
from tests.process.lab import VIEW_TIMEOUT_MS, Lab, primary, wait_same_height
from tests.process.load import Load
from tests.process.stored import assert_nothing_lost, assert_one_chain

VIEW_TIMEOUTS = 2
SUBMIT_S = 1.0
"""Beyond the view timeouts: a transaction has to reach the others, be ordered, be stored, and the
answer has to come back, all on a machine that other tests use too."""

KILLS = 50
KILL_ROUND_S = 20.0


def fsck(net: Testnet, name: str) -> "subprocess.CompletedProcess[str]":
    """`assay node fsck` of a node that is down."""
    command = [sys.executable, "-m", "cli.main", "node", "fsck", "--home", str(net.home(name))]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)


def test_a_killed_primary_is_replaced_within_two_view_timeouts(lab: Lab) -> None:
    net = lab.running()
    with Load(net, threads=4) as load:
        load.wait_more(50, 30)
        killed = primary(net)
        before = net.client(next(n for n in net.names() if n != killed)).status()["view"]
        net.kill(killed)
        killed_s = time.monotonic()
        load.wait_more(20, 30)
        load.wait_more(50, 30)
        after = [each.at_s - killed_s for each in load.acknowledged if each.at_s > killed_s]
        gaps = [right - left for left, right in zip([0.0, *after], after, strict=False)]
        bound = VIEW_TIMEOUTS * VIEW_TIMEOUT_MS / 1000 + SUBMIT_S
        print(f"longest time without a commitment {max(gaps):.2f} s, bound {bound:.2f} s")
        assert max(gaps) < bound
        rows = [row for row in net.status().nodes if row.answers]
        assert all((row.view or 0) > before for row in rows)
        assert primary(net) != killed
        net.start_node(killed)
        net.wait_answer(killed)
        load.wait_more(20, 30)
    wait_same_height(net)
    net.down()
    assert_one_chain(net)
    assert_nothing_lost(net, load.acknowledged)


def test_validators_killed_at_random_fifty_times_lose_nothing(lab: Lab) -> None:
    net = lab.running()
    with Load(net, threads=4) as load:
        load.wait_more(20, 30)
        for _ in range(KILLS):
            victim = lab.rng.choice(net.names())
            net.wait_answer(victim, KILL_ROUND_S)
            time.sleep(lab.rng.uniform(0.0, 0.5))  # a random moment is what is tested
            net.kill(victim)
            load.wait_more(5, KILL_ROUND_S)
            net.start_node(victim)
        load.wait_more(100, 60)
    for name in net.names():
        net.wait_answer(name)
        assert net.life(name) is Life.RUNNING
    wait_same_height(net, 60)
    net.down()
    print(f"{load.count} acknowledged, {assert_one_chain(net)} blocks")
    assert_nothing_lost(net, load.acknowledged)
    for name in net.names():
        done = fsck(net, name)
        assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}"
