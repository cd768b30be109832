"""Whole nodes in virtual time: they agree and go on, and the same seed gives the same run."""

import asyncio
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import structlog

from simulation.virtual_loop import Stalled, VirtualLoop
from simulation.whole_cluster import Fault, WholeCluster, heights

Make = Callable[..., WholeCluster]
LOG = structlog.wrap_logger(
    structlog.PrintLogger(sys.stderr),
    processors=[structlog.processors.JSONRenderer()],
    wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL),
)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    with ExitStack() as stack:
        count = 0

        def made(**given: object) -> WholeCluster:
            nonlocal count
            count += 1
            return stack.enter_context(
                WholeCluster(tmp_path / f"net{count}", log=LOG, **given)  # type: ignore[arg-type]
            )

        yield made


def reach(cluster: WholeCluster, height: int, within_ms: float = 60_000) -> None:
    done = cluster.run(within_ms, lambda: min(heights(cluster.running())) >= height)
    assert done, f"height {height} not reached: {heights(cluster.running())}"


def settle(cluster: WholeCluster, count: int, within_ms: float = 60_000) -> None:
    """Until so many transactions are acknowledged and all running nodes are equally high."""
    done = cluster.run(
        within_ms,
        lambda: len(cluster.acknowledged) >= count and len(set(heights(cluster.running()))) == 1,
    )
    assert done, f"{len(cluster.acknowledged)} of {count}, {heights(cluster.running())}"
    cluster.check()


def test_four_nodes_commit_and_agree(make: Make) -> None:
    cluster = make()
    cluster.start()
    reach(cluster, 1)
    for number in range(20):
        cluster.submit(3, f"v{number % 4 + 1}")
        cluster.run(20)
    settle(cluster, 60)
    assert min(heights(cluster.running())) > 2


def test_a_fork_and_a_lost_transaction_are_noticed(make: Make) -> None:
    cluster = make()
    cluster.start()
    reach(cluster, 1)
    cluster.submit(1, "v1")
    settle(cluster, 1)
    for key, value in list(cluster["v2"].disk.read().items()):
        if key.startswith(b"i/"):
            cluster["v2"].disk.write({key: None}, sync=True)
            with pytest.raises(AssertionError, match="v2"):
                cluster.check()
            cluster["v2"].disk.write({key: value}, sync=True)
    cluster.check()
    twin = make(seed=1)
    twin.start()
    reach(twin, 1)
    cluster.members.update({"w1": twin["v1"]})  # type: ignore[dict-item]
    with pytest.raises(AssertionError, match="fork at 1"):
        cluster.check()
    del cluster.members["w1"]  # type: ignore[arg-type]


def test_a_dead_primary_is_replaced_and_follows_when_it_is_back(make: Make) -> None:
    cluster = make()
    cluster.start()
    reach(cluster, 1)
    cluster.crash("v1")
    cluster.submit(5, "v2")
    settle(cluster, 5)
    cluster.start("v1")
    settle(cluster, 5)
    assert len(cluster.running()) == 4


def test_with_two_down_nothing_is_decided_and_with_one_back_it_is(make: Make) -> None:
    cluster = make()
    cluster.start()
    reach(cluster, 1)
    cluster.crash("v1", "v2")
    cluster.submit(5, "v3")
    assert not cluster.run(20_000, lambda: max(heights(cluster.running())) > 1)
    cluster.start("v2")
    settle(cluster, 5)


def test_a_wiped_node_catches_up(make: Make) -> None:
    cluster = make()
    cluster.start()
    reach(cluster, 1)
    for _ in range(10):
        cluster.submit(2, "v1")
        cluster.run(100)
    settle(cluster, 20)
    cluster.crash("v4")
    cluster["v4"].disk.wipe()
    cluster.start("v4")
    settle(cluster, 20)


@pytest.mark.parametrize("seed", range(3))
def test_a_power_loss_of_all_loses_nothing_that_was_acknowledged(make: Make, seed: int) -> None:
    cluster = make(seed=seed)
    cluster.start()
    reach(cluster, 1)
    for number in range(4):
        for other in range(4):
            cluster.submit(2, f"v{other + 1}")
        cluster.run(cluster.random.uniform(5, 60))
        acknowledged = len(cluster.acknowledged)
        cluster.crash(*cluster.members, power=True)
        cluster.start()
        cluster.submit(1, "v1")
        settle(cluster, acknowledged + 1)
        assert len(cluster.acknowledged) > number


def test_a_power_loss_without_syncs_loses_what_was_acknowledged(make: Make) -> None:
    cluster = make(sync=False)
    cluster.start()
    reach(cluster, 1)
    cluster.submit(4, "v1")
    settle(cluster, 4)
    cluster.crash(*cluster.members, power=True)
    for member in cluster.members.values():
        assert not [key for key in member.disk.read() if key.startswith(b"b/")]


def test_a_full_disk_stops_that_node_and_no_other(make: Make) -> None:
    cluster = make()
    cluster.start()
    reach(cluster, 1)
    cluster["v3"].disk.full = True
    cluster.submit(3, "v1")
    with pytest.raises(Fault, match="v3 ended"):
        cluster.run(10_000)
    cluster.crash("v3")
    settle(cluster, 3)
    cluster["v3"].disk.full = False
    cluster.start("v3")
    settle(cluster, 3)


def chaos(cluster: WholeCluster, steps: int = 25) -> str:
    """Random crashes, cuts, one-way silences and slowness; then all is well. What came of it."""
    rng = cluster.random
    names = list(cluster.members)
    cluster.start()
    for _ in range(steps):
        running = [member.name for member in cluster.running()]
        down = [name for name in names if name not in running]
        one, other = rng.sample(names, 2)
        dice = rng.random()
        if dice < 0.4 and running:
            cluster.submit(rng.randint(1, 5), rng.choice(running))
        elif dice < 0.5 and running:
            cluster.crash(rng.choice(running), power=rng.random() < 0.5)
        elif dice < 0.65 and down:
            cluster.start(rng.choice(down))
        elif dice < 0.75:
            cluster.cut(one, other)
        elif dice < 0.85:
            cluster.hold(one, other)
        elif dice < 0.9:
            cluster[one].slowness = rng.choice([1.0, 10.0, 100.0])
        elif dice < 0.95:
            cluster[one].clock_ms = rng.uniform(-1e7, 1e7)
        else:
            cluster.release()
            for first in names:
                for second in names:
                    if first < second:
                        cluster.mend(first, second)
        cluster.run(rng.choice([1, 10, 100, 1_000]))
    cluster.release()
    for name in names:
        cluster[name].slowness = 1.0
        for second in names:
            if name < second:
                cluster.mend(name, second)
    cluster.start()
    cluster.run(5_000)
    before = len(cluster.acknowledged)
    cluster.submit(3, names[0])
    settle(cluster, before + 3, 120_000)
    member = cluster.running()[0]
    assert member.assembled is not None
    ledger = member.assembled.node.ledger
    digests = [ledger.header_digest(height).hex()[:8] for height in range(1, ledger.height + 1)]
    return f"{cluster.loop.time():.6f} {' '.join(digests)}"


@pytest.mark.parametrize(
    "seed", [pytest.param(s, marks=() if s < 12 else pytest.mark.slow) for s in range(60)]
)
def test_whatever_happens_nodes_agree_and_go_on(make: Make, seed: int) -> None:
    chaos(make(seed=seed))


def test_the_same_seed_gives_the_same_run_whatever_the_hash_seed(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from tests.simulation.test_whole_cluster import LOG, chaos\n"
        "from simulation.whole_cluster import WholeCluster\n"
        "with WholeCluster(Path(sys.argv[1]), log=LOG, seed=int(sys.argv[2])) as cluster:\n"
        "    print(chaos(cluster))\n"
    )

    def outcome(run: int, seed: int) -> str:
        return subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / f"{run}"), str(seed)],
            env={**os.environ, "PYTHONHASHSEED": str(run)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    first, second, other = outcome(1, 5), outcome(2, 5), outcome(3, 6)
    assert first == second
    assert first != other


def test_virtual_time_jumps_and_says_when_nothing_will_ever_happen() -> None:
    loop = VirtualLoop()
    began = loop.time()
    loop.run_until_complete(asyncio.sleep(86_400))
    assert loop.time() == pytest.approx(began + 86_400)
    with pytest.raises(Stalled):
        loop.run_until_complete(loop.create_future())
    loop.close()
