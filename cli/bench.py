"""`assay bench`: measure this machine and this code."""

# ruff: noqa: PLC0415 - each command imports what it needs
# ruff: noqa: D301 - \b keeps lines of examples apart

from pathlib import Path
from typing import Annotated

import typer

from cli.options import Json, group
from cli.output import Output

app = group("Measure: throughput, latency and memory, with what the signatures would allow.")


@app.callback()
def bench() -> None:
    """Measure: throughput, latency and memory, with what the signatures would allow."""


@app.command()
def node(
    nodes: Annotated[int, typer.Option("--nodes", min=1, max=64, help="Validators.")] = 4,
    seconds: Annotated[
        float, typer.Option("--seconds", min=1, help="Of the throughput phase.")
    ] = 20.0,
    transactions: Annotated[
        int | None, typer.Option("--transactions", min=1, help="So many instead of --seconds.")
    ] = None,
    latency_seconds: Annotated[
        float, typer.Option("--latency-seconds", min=0.1, help="Of the latency phase.")
    ] = 10.0,
    rate: Annotated[
        float, typer.Option("--rate", min=0.1, help="Transactions per second for the latency.")
    ] = 100.0,
    size: Annotated[
        int, typer.Option("--size", min=1, help="Bytes of a signed transaction.")
    ] = 256,
    batch: Annotated[
        int, typer.Option("--batch", min=1, max=1000, help="Transactions per request.")
    ] = 250,
    connections: Annotated[
        int, typer.Option("--connections", min=1, max=64, help="Requests outstanding per node.")
    ] = 3,
    core_count: Annotated[
        int, typer.Option("--core-count", min=1, help="Cores for nodes and load together.")
    ] = 2,
    cores: Annotated[
        str, typer.Option("--cores", metavar="0,1", help="Which cores; the idlest if left out.")
    ] = "",
    seed: Annotated[int, typer.Option("--seed", help="Of the workload.")] = 1,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="As in testnet up.")
    ] = None,
    profile: Annotated[
        bool, typer.Option("--profile", help="Also what the nodes' processor time goes to.")
    ] = False,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="DIR", help="Where the result file goes.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Measure a network of validators held to two cores.

    \b
    Example:
      assay bench node --nodes 4 --seconds 20
    """
    from benchmarks import node_bench
    from benchmarks import report as results
    from testnet.settings import parse

    out = Output(as_json=as_json)
    chosen = _cores(cores)
    plan = node_bench.Plan(
        nodes=nodes,
        seconds=seconds,
        transactions=transactions,
        latency_seconds=latency_seconds,
        latency_rate_s=rate,
        size=size,
        batch=batch,
        connections=connections,
        cores=len(chosen) or core_count,
        on_cores=chosen,
        seed=seed,
        settings=parse(settings or []),
        profile=profile,
    )
    measured = node_bench.run(plan, out.progress)
    out.progress_end()
    path = results.write(measured, report or results.RESULTS)
    out.table([("figure", "value"), *results.rows(measured)])
    warnings = results.warnings(measured)
    for warning in warnings:
        out.say(f"warning: {warning}")
    out.say(f"Result: {path}")
    out.give({**results.figures_of(measured), "warnings": warnings, "report": str(path)})


def _cores(text: str) -> tuple[int, ...]:
    from testnet.errors import WrongUse

    try:
        return tuple(sorted({int(part) for part in text.split(",") if part.strip()}))
    except ValueError:
        raise WrongUse(f"--cores {text}: write numbers with commas, as in 0,1") from None
