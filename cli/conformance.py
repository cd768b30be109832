"""`assay conformance`: put a mechanism through what everything of its kind has to show."""

# ruff: noqa: PLC0415 - each command imports what it needs
# ruff: noqa: D301 - \b keeps lines of examples apart

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import Json, group
from cli.output import ExitCode, Output

if TYPE_CHECKING:
    from simulation.conformance import Outcome

app = group("Conformance: what every mechanism of a kind has to show, tried on one.")


@app.callback()
def conformance() -> None:
    """Put a mechanism through what everything of its kind has to show."""


@app.command()
def consensus(
    name: Annotated[str, typer.Argument(metavar="NAME", help="As in the genesis file.")],
    seeds: Annotated[
        int, typer.Option("--seeds", min=1, max=100_000, help="Runs of each exploration.")
    ] = 100,
    allow: Annotated[
        bool, typer.Option("--allow", help="NAME may come from another installed package.")
    ] = False,
    failures: Annotated[
        Path, typer.Option("--failures", metavar="DIR", help="Where failing runs are saved.")
    ] = Path("failures"),
    as_json: Json = False,
) -> None:
    """Try a consensus protocol: crashes, splits, liars, Twins. Exit code 1: it failed a check.

    \b
    Example:
      assay conformance consensus tendermint --seeds 200
    """
    from simulation.conformance import check
    from simulation.scenario import dump

    out = Output(as_json=as_json)
    saved: list[str] = []

    def told(outcome: "Outcome") -> None:
        word = "FAILED" if outcome.failure else "ok"
        out.say(f"{word:<7} {outcome.runs:>5} runs  {outcome.name}")
        if outcome.scenario is not None and outcome.failure:
            failures.mkdir(parents=True, exist_ok=True)
            path = failures / f"{name}-{outcome.name.replace(' ', '-')}.json"
            path.write_bytes(dump(outcome.scenario))
            saved.append(str(path))
            out.say(f"        {outcome.failure[:400]}")
            out.say(f"        assay sim replay {path}")

    outcomes = check(name, seeds=seeds, allow=(name,) if allow else (), told=told)
    failed = [outcome.name for outcome in outcomes if outcome.failure]
    out.give(
        {
            "protocol": name,
            "conforms": not failed,
            "checks": {each.name: not each.failure for each in outcomes},
            "runs": sum(outcome.runs for outcome in outcomes),
            "failures": saved,
        }
    )
    if failed:
        raise typer.Exit(ExitCode.NO)
