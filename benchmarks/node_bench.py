"""`assay bench node`: how fast a whole network is, and how far from what its signatures allow.

One run, in this order, all on the same cores: start (time to the first commit), verify limit,
latency at a low rate (open loop), throughput at saturation (closed loop), verify limit again.
Every replica checks every client signature; votes and blocks are durable, unless `--set` says
otherwise, which the result records.
"""

import asyncio
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks import cores, load, machine, profiled, verify_limit
from benchmarks.figures import NothingMeasured
from benchmarks.load import Address, Seen
from benchmarks.report import Measured
from benchmarks.sampler import Sampler, Samples, own_cpu_seconds, used_between
from benchmarks.verify_limit import Rate
from benchmarks.workload import Batch, Workload
from crypto.genesis import from_json
from testnet.network import Testnet
from testnet.settings import Value

SETTLE_TIMEOUT_S = 30.0
WARM_UP_TRANSACTIONS = 50
"""Committed before the latency phase, so that it does not measure imports and first pages."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is measured, and how."""

    nodes: int = 4
    seconds: float = 20.0
    """Of the throughput phase, warm-up included."""
    transactions: int | None = None
    """Instead of `seconds`: so many transactions."""
    latency_seconds: float = 10.0
    latency_rate_s: float = 100.0
    size: int = 256
    """Bytes of a signed transaction."""
    batch: int = 250
    connections: int = 3
    """Batches outstanding at each node."""
    clients: int = 16
    cores: int = 2
    on_cores: tuple[int, ...] = ()
    """Which; the idlest if empty."""
    verify_seconds: float = 2.0
    seed: int = 1
    settings: Mapping[str, Value] = field(default_factory=dict)
    profile: bool = False
    """Count what the nodes' processor time goes to; costs a few percent of it."""

    @property
    def outstanding(self) -> int:
        return self.nodes * self.connections * self.batch


def run(plan: Plan, say: Say = lambda _line: None) -> Measured:
    """Measure. Raises `NothingMeasured` with the reason if there is nothing to report."""
    before = cores.allowed()
    held = cores.choose(plan.cores, plan.on_cores)
    busy = cores.busy_percent(0.5)
    folder = Path(tempfile.mkdtemp(prefix="assay-bench-"))
    pinned = cores.hold(held)
    try:
        where = machine.provenance(held, folder) | {
            "cores_pinned": pinned,
            "cores_busy_before_percent": {core: busy.get(core, 0.0) for core in held},
        }
        say(f"Cores {', '.join(map(str, held))}; starting {plan.nodes} validators")
        # Fewer nodes than cores: each may use the rest for its signature checks.
        threads = max(1, len(held) // plan.nodes)
        settings = {"client_threads": threads, **plan.settings}
        network = Testnet.create(
            folder / "net", plan.nodes, settings=settings, clients=plan.clients
        )
        if plan.profile:
            network.command = profiled.command
        with network:
            first_commit_s = network.start()
            return asyncio.run(_measure(plan, network, held, first_commit_s, where, say))
    finally:
        if pinned:
            os.sched_setaffinity(0, before)
        shutil.rmtree(folder, ignore_errors=True)


async def _measure(
    plan: Plan,
    network: Testnet,
    held: Sequence[int],
    first_commit_s: float,
    where: Mapping[str, object],
    say: Say,
) -> Measured:
    addresses, sampler = _addresses(network), Sampler(_pids(network))
    watching = asyncio.create_task(sampler.run())
    wallets = [network.wallet(position) for position in range(plan.clients)]
    workload = Workload(wallets, plan.size, plan.seed)

    probe = workload.batches(verify_limit.SAMPLE, verify_limit.SAMPLE, _expiry(network))
    rates = [_verify_rates(plan, network, probe, held, say)]

    say(f"Latency: {plan.latency_rate_s:g} tx/s for {plan.latency_seconds:g} s, open loop")
    count = max(1, round(plan.latency_rate_s * plan.latency_seconds))
    singles = workload.batches(count + WARM_UP_TRANSACTIONS, 1, _expiry(network))
    await load.open_loop(addresses, singles[count:], plan.latency_rate_s)
    with _account(network, sampler) as quiet:
        calm = await load.open_loop(addresses, singles[:count], plan.latency_rate_s)

    wanted = plan.transactions or _enough(plan, rates)
    say(f"Signing {wanted} transactions")
    batches = workload.batches(wanted, plan.batch, _expiry(network))
    goal = "all of them" if plan.transactions else f"{plan.seconds:g} s"
    say(f"Throughput: {plan.outstanding} outstanding, closed loop, {goal}")
    with _account(network, sampler) as account:
        busy = await load.closed_loop(
            addresses,
            batches,
            connections=plan.connections,
            seconds=None if plan.transactions else plan.seconds,
        )
    rates.append(_verify_rates(plan, network, probe, held, say))
    if watching.done():
        raise NothingMeasured(f"a node ended during the run: {watching.exception()}")
    watching.cancel()
    _check(busy, batches)
    return Measured(
        config=_config(plan, network, held),
        provenance=where,
        first_commit_s=first_commit_s,
        calm=calm,
        busy=busy,
        verify_rates=rates,
        samples=sampler.samples,
        account=account,
        quiet_account=quiet,
        replicas=plan.nodes,
        cores=len(held),
    )


def _verify_rates(
    plan: Plan, network: Testnet, probe: Sequence[Batch], held: Sequence[int], say: Say
) -> list[Rate]:
    say(f"Verify limit: {plan.verify_seconds:g} s, one process on each core")
    raws = [raw for batch in probe for raw in batch.raws]
    return verify_limit.measure(network.genesis_file, raws, held, plan.verify_seconds)


def _enough(plan: Plan, rates: Sequence[Sequence[Rate]]) -> int:
    """More than signature checking would let through, so that the load cannot run dry."""
    per_s = sum(rate.per_s for rate in rates[0]) / plan.nodes
    return round(per_s * plan.seconds * 1.2) + plan.outstanding


def _expiry(network: Testnet) -> int:
    """As far ahead as the network allows."""
    genesis = from_json(network.genesis_file.read_bytes())
    height = max(node.height or 0 for node in network.status().nodes)
    return height + genesis.limits.transaction_lifetime_max


def _addresses(network: Testnet) -> list[Address]:
    addresses = []
    for entry in network.manifest.nodes:
        parts = urlsplit(entry.api)
        assert parts.hostname is not None
        assert parts.port is not None
        addresses.append(Address(entry.name, parts.hostname, parts.port))
    return addresses


def _pids(network: Testnet) -> dict[str, int]:
    return {each.name: each.pid for each in network.manifest.nodes if each.pid is not None}


@contextmanager
def _account(network: Testnet, sampler: Sampler) -> Iterator[dict[str, object]]:
    """What the nodes and the load generator spent inside the block."""
    account: dict[str, object] = {}
    parts = profiled.snapshot([network.home(name) for name in network.names()])
    cpu, own, began = sampler.cpu_seconds(), own_cpu_seconds(), time.monotonic()
    counters = {name: network.client(name).metrics() for name in network.names()}
    yield account
    after = {name: network.client(name).metrics() for name in network.names()}
    account["elapsed_s"] = time.monotonic() - began
    now = profiled.snapshot([network.home(name) for name in network.names()])
    account["parts_s"] = profiled.difference(parts, now)
    account["cpu_s"] = used_between(cpu, sampler.cpu_seconds())
    account["generator_cpu_s"] = own_cpu_seconds() - own
    account["metrics"] = {
        name: {
            key: value - counters[name].get(key, 0.0)
            for key, value in after[name].items()
            if key.endswith(("_total", "_sum", "_count")) and value != counters[name].get(key, 0.0)
        }
        for name in after
    }


def _check(busy: Seen, batches: Sequence[Batch]) -> None:
    if not busy.committed:
        reasons = ", ".join(f"{why} ({count})" for why, count in busy.failures.most_common(3))
        raise NothingMeasured(f"no transaction was committed: {reasons or 'no answer'}")
    if busy.sent >= sum(len(batch.raws) for batch in batches) and busy.duration_s == 0:
        raise NothingMeasured("the load ran dry before the time was over")


def _config(plan: Plan, network: Testnet, held: Sequence[int]) -> dict[str, object]:
    config = asdict(plan) | {"on_cores": list(held), "settings": dict(plan.settings)}
    config["genesis"] = network.genesis_file.read_text(encoding="utf-8")
    config["node_file"] = (network.home("v1") / "node.toml").read_text(encoding="utf-8")
    config["loop"] = {"latency": "open", "throughput": "closed"}
    return config


__all__ = ["Measured", "Plan", "Samples", "run"]
