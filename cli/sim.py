"""`assay sim`: run protocols in virtual time, look for bugs, and look at what happened."""

# ruff: noqa: PLC0415 - each command imports what it needs
# ruff: noqa: D301 - \b keeps lines of examples apart

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import Json, group
from cli.output import ExitCode, Output, Stop

if TYPE_CHECKING:
    from simulation.diagram import Happening
    from simulation.run import Result
    from simulation.scenario import Scenario

app = group("Simulate: protocols in virtual time, with faults and liars, from a seed.")

ScenarioFile = Annotated[
    Path, typer.Argument(metavar="SCENARIO", help="A scenario file, or the name of a shipped one.")
]
Protocol = Annotated[
    str | None, typer.Option("--protocol", help="Instead of the scenario's protocol.")
]
Seed = Annotated[int | None, typer.Option("--seed", help="Instead of the scenario's seed.")]


@app.command()
def run(
    scenario: ScenarioFile,
    protocol: Protocol = None,
    seed: Seed = None,
    transcript: Annotated[
        bool, typer.Option("--transcript", help="Show everything that happened, as text.")
    ] = False,
    depth: Annotated[
        str, typer.Option("--depth", help="bare: the protocol alone; whole: whole nodes.")
    ] = "bare",
    as_json: Json = False,
) -> None:
    """Run a scenario and say how it went. Exit code 1: not as it should.

    \b
    Example:
      assay sim run silent_leader --protocol tendermint
      assay sim run restart --protocol raft --depth whole
      assay sim run normal --transcript
    """
    out = Output(as_json=as_json)
    chosen = _scenario(scenario, protocol, seed)
    if depth == "whole":
        if transcript:
            raise Stop("--transcript is for the bare depth", ExitCode.WRONG_USE, word="depth")
        _tell(chosen, _whole(chosen), out)
        return
    if depth != "bare":
        raise Stop(f"--depth {depth}: choose bare or whole", ExitCode.WRONG_USE, word="depth")
    result, trace = _observed(chosen)
    if transcript:
        from simulation.transcript import transcript as text_of

        out.say(text_of(_title(chosen), result, trace))
    _tell(chosen, result, out)


@app.command()
def replay(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A failure that was saved.")],
    as_json: Json = False,
) -> None:
    """Run a saved failure twice and compare: the same to the byte? Exit code 1: it fails (still).

    \b
    Example:
      assay sim replay failures/pbft-4-random-17.json
    """
    out = Output(as_json=as_json)
    chosen = _scenario(file, None, None)
    result, _ = _observed(chosen)
    again, _ = _observed(chosen)
    if result.digest != again.digest:
        raise Stop(f"{file} does not repeat itself: {result.digest} and {again.digest}")
    _tell(chosen, result, out)


@app.command()
def show(
    scenario: ScenarioFile,
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="An HTML page.")],
    protocol: Protocol = None,
    seed: Seed = None,
    as_json: Json = False,
) -> None:
    """Draw a run as a space-time diagram: a page that needs nothing else.

    \b
    Example:
      assay sim show silent_leader -o page.html
    """
    from simulation.diagram import diagram

    out = Output(as_json=as_json)
    chosen = _scenario(scenario, protocol, seed)
    result, trace = _observed(chosen)
    page = diagram(_title(chosen), result.verdict.value, trace)
    try:
        output.write_text(page, encoding="utf-8")
    except OSError as error:
        raise Stop(f"{output}: {error.strerror}", word="file") from None
    out.say(f"{output}: {len(trace)} events, {result.verdict}")
    out.give({"file": str(output), "events": len(trace), "verdict": result.verdict.value})


@app.command()
def explore(
    protocol: Annotated[str, typer.Option("--protocol", help="As in the genesis file.")] = "pbft",
    nodes: Annotated[int, typer.Option("--nodes", min=1, max=100)] = 4,
    byzantine: Annotated[
        int, typer.Option("--byzantine", min=0, max=99, help="How many members lie.")
    ] = 1,
    seeds: Annotated[
        str, typer.Option("--seeds", metavar="A..B", help="B is left out.")
    ] = "0..1000",
    strategy: Annotated[
        str, typer.Option("--strategy", help="random, twins, byzzfuzz or liars.")
    ] = "random",
    failures: Annotated[
        Path, typer.Option("--failures", metavar="DIR", help="Where failing runs are saved.")
    ] = Path("failures"),
    processes: Annotated[
        int | None, typer.Option("--processes", min=1, max=256, help="As many as cores.")
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option("--state", metavar="FILE", help="Remember there how far it came; go on."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Run many seeds on all cores and save what fails, made small. Exit code 1: something failed.

    \b
    Example:
      assay sim explore --protocol pbft --seeds 0..10000
      assay sim explore --protocol qbft --nodes 7 --byzantine 2 --strategy byzzfuzz --seeds 0..500
    """
    from simulation import progress
    from simulation.explore import Found, Search
    from simulation.explore import explore as search

    out = Output(as_json=as_json)
    wanted = _range(seeds)
    what = Search(protocol, nodes, byzantine, strategy)
    before = progress.begin(state, what, wanted.start) if state is not None else None
    left = range(max(wanted.start, before.next_seed), wanted.stop) if before else wanted

    def told(found: Found, last: int) -> None:
        bad = found.seeds - found.verdicts["pass"]
        share = 100 * (last + 1 - wanted.start) // len(wanted)
        out.progress(
            f"{share:>3} %  seed {last}  {found.seeds_per_minute:,.0f} seeds/min  {bad} failed"
        )
        if state is not None and before is not None:
            progress.save(state, progress.advance(before, found, last))

    found = search(what, left, failures, processes=processes, told=told)
    out.progress_end()
    if before is not None:
        found.verdicts.update(before.verdicts)
        found.seeds, found.seconds = found.seeds + before.seeds, found.seconds + before.seconds
        found.failures[:0] = map(Path, before.failures)
    facts = {
        "protocol": protocol,
        "nodes": nodes,
        "byzantine": byzantine,
        "strategy": strategy,
        "seeds": found.seeds,
        "verdicts": dict(found.verdicts),
        "seeds_per_minute": round(found.seeds_per_minute),
        "failures": [str(path) for path in found.failures],
    }
    verdicts = ", ".join(f"{count} {word}" for word, count in sorted(found.verdicts.items()))
    out.say(f"{found.seeds} seeds: {verdicts}. {found.seeds_per_minute:,.0f} seeds per minute.")
    for path in found.failures:
        out.say(f"  {path}")
    out.give(facts)
    if found.verdicts["pass"] < found.seeds:
        raise typer.Exit(ExitCode.NO)


@app.command()
def explored(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Where `--state` files are, as of `make explore`.")
    ] = Path("build/explore"),
    as_json: Json = False,
) -> None:
    """Say how far long searches have come. Exit code 1: something failed in one of them.

    \b
    Example:
      assay sim explored build/explore
    """
    import msgspec

    from simulation import progress
    from simulation.scenario import BadScenario

    out = Output(as_json=as_json)
    try:
        searches = progress.read(folder)
    except BadScenario as error:
        raise Stop(str(error), ExitCode.WRONG_USE, word="bad_state") from None
    if not searches:
        raise Stop(f"{folder}: no searches are there; run `make explore`", word="no_searches")
    heads = ["protocol", "members", "liars", "strategy", "seeds", "verdicts"]
    lines = [
        [
            each.protocol,
            str(each.nodes),
            str(each.byzantine),
            each.strategy,
            f"{each.seeds:,}",
            ", ".join(f"{count:,} {word}" for word, count in sorted(each.verdicts.items())),
        ]
        for each in searches
    ]
    out.table([heads, *lines])
    out.give({"searches": [msgspec.to_builtins(each) for each in searches]})
    if any(each.failures for each in searches):
        raise typer.Exit(ExitCode.NO)


@app.command()
def behaviours(as_json: Json = False) -> None:
    """List what a Byzantine member can do in a scenario, and the strategies there are.

    \b
    Example:
      assay sim behaviours
    """
    from importlib import import_module

    from simulation import byzantine
    from simulation.explore import STRATEGIES

    out = Output(as_json=as_json)
    folder = Path(byzantine.__file__).parent
    names = sorted(path.stem for path in folder.glob("[a-z]*.py"))
    known = {name: str(import_module(f"simulation.byzantine.{name}").SUMMARY) for name in names}
    plans = {
        name: str(import_module(f"simulation.strategies.{name}").SUMMARY) for name in STRATEGIES
    }
    out.table([["behaviour", "what it does"], *([name, text] for name, text in known.items())])
    out.say()
    out.table([["strategy", "what it tries"], *([name, text] for name, text in plans.items())])
    out.give({"behaviours": known, "strategies": plans})


def _scenario(given: Path, protocol: str | None, seed: int | None) -> "Scenario":
    """The scenario of a file, or the shipped one of that name."""
    import msgspec

    import simulation
    from simulation.scenario import load

    shipped = Path(simulation.__file__).parent / "scenarios"
    known = sorted(path.stem for path in shipped.glob("*.toml"))
    if not given.exists() and given.suffix == "":
        if given.name not in known:
            text = f"there is no file and no shipped scenario {given}; shipped: {', '.join(known)}"
            raise Stop(text, ExitCode.WRONG_USE, word="wrong_use")
        given = shipped / f"{given.name}.toml"
    chosen = load(given)
    if protocol is not None:
        chosen = msgspec.structs.replace(chosen, protocol=protocol)
    return chosen if seed is None else msgspec.structs.replace(chosen, seed=seed)


def _observed(scenario: "Scenario") -> "tuple[Result, list[Happening]]":
    from simulation.diagram import Happening
    from simulation.run import run as simulate

    trace: list[Happening] = []
    result = simulate(scenario, lambda *facts: trace.append(Happening(*facts)))
    return result, trace


def _whole(scenario: "Scenario") -> "Result":
    import logging

    import structlog

    from simulation.scenario import BadScenario
    from simulation.whole_run import run as run_whole

    log = structlog.wrap_logger(
        structlog.ReturnLogger(),
        wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL),
    )
    try:
        return run_whole(scenario, log)
    except BadScenario as error:
        raise Stop(str(error), ExitCode.WRONG_USE, word="bad_scenario") from None


def _title(scenario: "Scenario") -> str:
    return f"{scenario.name or 'scenario'}: {scenario.protocol}, {scenario.nodes} members"


def _tell(scenario: "Scenario", result: "Result", out: Output) -> None:
    from simulation.run import Verdict

    out.say(f"{_title(scenario)}, seed {scenario.seed}: {result.verdict}")
    out.say(
        f"height {result.height} after {result.ended_ms} virtual ms; trace {result.digest[:16]}"
    )
    if result.detail:
        out.say(result.detail)
    if result.verdict.value == "diverged":
        guilty = ", ".join(result.culprits) or "nobody"
        out.say(f"convicted by what honest members received: {guilty}")
    out.give(
        {
            "verdict": result.verdict.value,
            "detail": result.detail,
            "height": result.height,
            "virtual_ms": result.ended_ms,
            "trace": result.digest,
            "culprits": list(result.culprits),
        }
    )
    if result.verdict is not Verdict.PASS:
        raise typer.Exit(ExitCode.NO)


def _range(text: str) -> range:
    first, dots, last = text.partition("..")
    if not dots or not first.isdigit() or not last.isdigit() or int(first) >= int(last):
        raise Stop(
            f"--seeds {text}: write A..B, as in 0..1000", ExitCode.WRONG_USE, word="wrong_use"
        )
    return range(int(first), int(last))
