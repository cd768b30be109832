"""From what was measured to one result file, one table, and the figures that scripts read."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import figures, profiled
from benchmarks.load import Seen
from benchmarks.sampler import Samples
from benchmarks.verify_limit import Rate

FORMAT = 1
RESULTS = Path(__file__).resolve().parent / "results"

GENERATOR_SHARE_MAX = 0.5
"""Of one core. Above it the load generator itself may be what limits the run."""

CORE_SHARE_MIN = 0.95
"""Of its core, that a process which does nothing but check signatures must get."""

LATE_MS_MAX = 50.0
"""A generator that falls this far behind its schedule measured itself."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One run, before statistics."""

    config: Mapping[str, object]
    provenance: Mapping[str, object]
    first_commit_s: float
    calm: Seen
    """The latency phase."""
    busy: Seen
    """The throughput phase."""
    verify_rates: Sequence[Sequence[Rate]]
    """Of each core, before and after."""
    samples: Samples
    account: Mapping[str, object]
    """What was spent in the throughput phase."""
    quiet_account: Mapping[str, object]
    """What was spent in the latency phase."""
    replicas: int
    cores: int


def document(measured: Measured) -> dict[str, object]:
    """The result file. Raises `NothingMeasured`."""
    busy, calm = measured.busy, measured.calm
    return {
        "format": FORMAT,
        "kind": "node",
        "figures": figures_of(measured),
        "warnings": warnings(measured),
        "cost": cost(measured),
        "config": dict(measured.config),
        "provenance": dict(measured.provenance),
        "throughput": asdict(figures.throughput(busy.completions, busy.duration_s))
        | {"per_second": figures.per_second(busy.completions, busy.duration_s)}
        | {"blocks": len(busy.heights), "again": busy.again, "failures": dict(busy.failures)},
        "latency": asdict(figures.latencies(calm.latencies_ms))
        | {"histogram_ms": figures.histogram(calm.latencies_ms)}
        | {"blocks": len(calm.heights), "cores_used": round(cores_used(measured.quiet_account), 3)}
        | {"late_ms_max": calm.late_ms_max, "failures": dict(calm.failures)},
        "verify": {"cores": [[asdict(rate) for rate in rates] for rates in measured.verify_rates]},
        "memory": {"at_s": measured.samples.at_s, "rss_mib": measured.samples.rss_mib},
        "account": dict(measured.account),
        "latency_account": dict(measured.quiet_account),
    }


def figures_of(measured: Measured) -> dict[str, float]:
    """The flat figures; the first six are a contract with scripts."""
    busy = measured.busy
    rate = figures.throughput(busy.completions, busy.duration_s)
    limit = figures.verify_limit(per_second(measured), measured.replicas)
    times = figures.latencies(measured.calm.latencies_ms)
    return {
        "throughput_tx_s": round(rate.tx_s, 1),
        "verify_limit_tx_s": round(limit, 1),
        "ratio": round(rate.tx_s / limit, 4),
        "latency_p50_ms": round(times.p50_ms, 3),
        "latency_p99_ms": round(times.p99_ms, 3),
        "rss_mib_max": round(measured.samples.rss_mib_max(), 1),
        "latency_p90_ms": round(times.p90_ms, 3),
        "latency_max_ms": round(times.max_ms, 3),
        "first_commit_s": round(measured.first_commit_s, 3),
        "transactions_committed": busy.committed + measured.calm.committed,
        "block_transactions_mean": round(busy.committed / max(1, len(busy.heights)), 1),
        "rss_growth_mib_per_minute": round(60 * rss_growth(measured.samples), 2),
        "generator_core_share": round(generator_share(measured), 3),
    }


def cost(measured: Measured) -> dict[str, float]:
    """Where the processor time of the nodes went: microseconds per transaction and replica."""
    account = measured.account
    cpu, metrics = account.get("cpu_s"), account.get("metrics")
    committed = measured.busy.committed
    if not isinstance(cpu, dict) or not isinstance(metrics, dict) or not committed:
        return {}
    per_replica = 1e6 / committed / measured.replicas
    total = sum(cpu.values()) * per_replica
    # Each replica checks each signature once; what one costs was measured in this run.
    checks = [rate.cpu_us for rates in measured.verify_rates for rate in rates]
    verify = sum(checks) / len(checks)
    return {
        "cpu_us": round(total, 2),
        "signature_checks_us": round(verify, 2),
        "everything_else_us": round(total - verify, 2),
        **parts(measured),
        "fsyncs_per_block": round(
            _sum(metrics, "assay_fsync_seconds_count")
            / max(1, len(measured.busy.heights))
            / measured.replicas,
            2,
        ),
        "peer_bytes_per_transaction": round(
            _sum(metrics, "assay_peer_bytes_out_total") / committed, 1
        ),
    }


def parts(measured: Measured) -> dict[str, float]:
    """With a profile: microseconds per transaction and replica of each part, largest first."""
    spent = measured.account.get("parts_s")
    if not isinstance(spent, dict):
        return {}
    scale = 1e6 / measured.busy.committed / measured.replicas
    largest = profiled.by_part(spent)
    return {f"part: {name}": round(seconds * scale, 2) for name, seconds in largest.items()}


def warnings(measured: Measured) -> list[str]:
    """What a reader has to know before believing the figures."""
    busy, calm = measured.busy, measured.calm
    found = []
    if not figures.throughput(busy.completions, busy.duration_s).steady:
        found.append("no steady state: the halves of the throughput phase differ")
    if generator_share(measured) > GENERATOR_SHARE_MAX:
        found.append("the load generator used much of a core: it may be what limits throughput")
    if calm.late_ms_max > LATE_MS_MAX:
        found.append(f"the open loop fell {calm.late_ms_max:.0f} ms behind its schedule")
    for phase, seen in (("latency", calm), ("throughput", busy)):
        found += [f"{phase} phase: {count} x {why}" for why, count in seen.failures.items()]
    share = min(rate.core_share for rates in measured.verify_rates for rate in rates)
    if share < CORE_SHARE_MIN:
        found.append(
            f"somebody else used these cores: the verify limit got {100 * share:.0f} % of one, "
            "so that limit is too low and the ratio too high"
        )
    totals = [sum(rates) for rates in per_second(measured)]
    first, last = totals[0], totals[-1]
    if abs(first - last) > 0.15 * max(first, last):
        found.append("the verify limit changed by more than 15 % during the run: noisy machine")
    if not measured.provenance.get("cores_pinned"):
        found.append("processes could not be held to the cores")
    return found


def per_second(measured: Measured) -> list[list[float]]:
    """Verifications per second of each core, for each repetition."""
    return [[rate.per_s for rate in rates] for rates in measured.verify_rates]


def rss_growth(samples: Samples) -> float:
    """MiB per second in the second half of the run: of the node that grows most."""
    half = len(samples.at_s) // 2
    slopes = [
        figures.growth_per_second(list(zip(samples.at_s, series, strict=False))[half:])
        for series in samples.rss_mib.values()
    ]
    return max(slopes, default=0.0)


def cores_used(account: Mapping[str, object]) -> float:
    """How many cores the nodes kept busy, on average."""
    cpu, elapsed = account.get("cpu_s"), account.get("elapsed_s")
    if not isinstance(cpu, dict) or not isinstance(elapsed, float) or elapsed <= 0:
        return 0.0
    return float(sum(cpu.values())) / elapsed


def generator_share(measured: Measured) -> float:
    """Processor time of the load generator, as a share of one core."""
    account = measured.account
    used, elapsed = account.get("generator_cpu_s"), account.get("elapsed_s")
    if not isinstance(used, float) or not isinstance(elapsed, float) or elapsed <= 0:
        return 0.0
    return used / elapsed


def write(measured: Measured, directory: Path) -> Path:
    """Write the result file; its path."""
    directory.mkdir(parents=True, exist_ok=True)
    name = f"node-{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}.json"
    path = directory / name
    path.write_text(json.dumps(document(measured), indent=1) + "\n", encoding="utf-8")
    return path


def rows(measured: Measured) -> list[tuple[str, str]]:
    """The table for people: what, and how much."""
    found = figures_of(measured)
    spent = cost(measured)
    rate = figures.throughput(measured.busy.completions, measured.busy.duration_s)
    lines = [
        (
            "committed",
            f"{found['throughput_tx_s']:.0f} tx/s (closed loop, {rate.measured_s:.0f} s)",
        ),
        ("warm-up cut", f"{rate.warm_up_s:.1f} s"),
        ("verify limit", f"{found['verify_limit_tx_s']:.0f} tx/s on {measured.cores} cores"),
        ("ratio", f"{found['ratio']:.2f}"),
        ("latency p50", f"{found['latency_p50_ms']:.1f} ms (open loop)"),
        ("latency p90", f"{found['latency_p90_ms']:.1f} ms"),
        ("latency p99", f"{found['latency_p99_ms']:.1f} ms"),
        ("latency max", f"{found['latency_max_ms']:.1f} ms"),
        (
            "cores then used",
            f"{cores_used(measured.quiet_account):.2f}, in {len(measured.calm.heights)} blocks",
        ),
        ("first commit", f"{found['first_commit_s']:.1f} s"),
        ("memory max", f"{found['rss_mib_max']:.0f} MiB per node"),
        ("memory growth", f"{found['rss_growth_mib_per_minute']:.1f} MiB/min (second half)"),
        ("block", f"{found['block_transactions_mean']:.0f} transactions on average"),
        ("generator", f"{100 * found['generator_core_share']:.0f} % of one core"),
    ]
    if spent:
        checks, total = spent["signature_checks_us"], spent["cpu_us"]
        lines.append(("cpu", f"{total:.0f} µs per transaction and replica, {checks:.0f} in checks"))
        lines += [(name, f"{value:.1f} µs") for name, value in parts(measured).items()]
    return lines


def _sum(metrics: Mapping[str, Mapping[str, float]], name: str) -> float:
    return sum(node.get(name, 0.0) for node in metrics.values())
