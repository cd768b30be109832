"""Runs of bare protocols: scenarios, verdicts that fire and do not, shrinking, exploring."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from consensus.interface import Accuse, Committee, Decide, Input, SetTimer, Setup
from consensus.protocols import pbft
from crypto.interface import NodeId
from simulation.cluster import Cluster
from simulation.diagram import Happening, diagram
from simulation.explore import STRATEGIES, Search, explore, scenario_of
from simulation.run import Result, Verdict, run
from simulation.scenario import (
    BadScenario,
    Crash,
    Faulty,
    Partition,
    Restart,
    Scenario,
    Submit,
    dump,
    load,
    parse,
)
from simulation.shrink import shrink
from simulation.strategies import twins
from simulation.transcript import transcript

SHIPPED = sorted((Path(__file__).parents[2] / "simulation" / "scenarios").glob("*.toml"))
BEHAVIOURS = sorted(
    path.stem for path in (SHIPPED[0].parents[1] / "byzantine").glob("[a-z]*.py")
)  # fmt: skip
Wrap = Callable[[Any], Any]


def observed(scenario: Scenario) -> tuple[Result, list[Happening]]:
    trace: list[Happening] = []
    return run(scenario, lambda *facts: trace.append(Happening(*facts))), trace


def first_failure(strategy: str, verdict: Verdict, seeds: int, byzantine: int = 1) -> int:
    """The first seed whose run ends in `verdict`."""
    search = Search("pbft", 4, byzantine, strategy)
    for seed in range(seeds):
        result = run(scenario_of(search, seed))
        assert result.verdict in {Verdict.PASS, verdict}, (seed, result)
        if result.verdict is verdict:
            return seed
    pytest.fail(f"no {verdict} in {seeds} seeds")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_scenario_passes(path: Path) -> None:
    result = run(load(path))
    assert result.verdict is Verdict.PASS, result
    assert result.height >= 3


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_one_liar_of_any_kind_stops_nobody_and_frames_nobody(behaviour: str) -> None:
    faulty = (Faulty(node="v1", behaviour=behaviour), Faulty(node="v1", behaviour="stale"))
    for seed in range(5):
        scenario = Scenario(
            seed=seed,
            byzantine=faulty,
            events=(
                *(Submit(at_ms=at, count=2) for at in (50, 500, 2_000)),
                Restart(at_ms=1_000, nodes=("v1",)),
            ),
        )
        result = run(scenario)
        assert result.verdict is Verdict.PASS, (seed, result)


def test_a_behaviour_is_seen_in_what_is_sent() -> None:
    plain, _ = observed(Scenario(events=(Submit(at_ms=50),)))
    for behaviour in BEHAVIOURS:
        told = observed(
            Scenario(
                byzantine=(Faulty(node="v1", behaviour=behaviour),),
                events=(Submit(at_ms=50), Crash(at_ms=60, node="v1"), Submit(at_ms=900)),
            )
        )
        assert told[0].digest != plain.digest, behaviour


def test_with_two_silent_of_four_nothing_is_decided_and_that_is_no_progress() -> None:
    silent = tuple(Faulty(node=name, behaviour="silent") for name in ("v1", "v2"))
    scenario = Scenario(byzantine=silent, events=(Submit(at_ms=50),), progress_within_ms=30_000)
    result = run(scenario)
    assert (result.verdict, result.height) == (Verdict.NO_PROGRESS, 0)
    assert run(msgspec.structs.replace(scenario, byzantine=silent[:1])).verdict is Verdict.PASS
    expected = msgspec.structs.replace(scenario, goes_on=False)
    assert run(expected).verdict is Verdict.PASS, "no fork either"


def test_f_plus_1_colluders_and_a_split_make_a_fork() -> None:
    """Beyond the bound safety is lost; the simulator can tell."""
    scenario = Scenario(
        nodes=4,
        twins=("v1", "v2"),
        events=(
            Partition(at_ms=5, groups=(("v1", "v2", "v3"), ("v1'", "v2'", "v4"))),
            Submit(at_ms=50, to=("v1", "v2", "v3")),
            Submit(at_ms=51, count=2, to=("v1'", "v2'", "v4")),
        ),
        calm_ms=10_000,
    )
    result = run(scenario)
    assert result.verdict is Verdict.DIVERGED, result
    one = msgspec.structs.replace(
        scenario,
        twins=("v1",),
        events=(
            Partition(at_ms=5, groups=(("v1", "v2", "v3"), ("v1'", "v4"))),
            *(msgspec.structs.replace(e, to=()) for e in scenario.events[1:]),
        ),
    )
    assert run(one).verdict is Verdict.PASS


# --- Planted bugs: the kit finds them. ---


def planted(monkeypatch: pytest.MonkeyPatch, wrap: Wrap) -> None:
    """PBFT with every replica's outputs changed by `wrap`, which is called for each replica."""
    create = pbft.create

    class Changed:
        def __init__(self, setup: Setup, options: pbft.Options) -> None:
            self.inner = create(setup, options)
            self.change = wrap(setup)

        def step(self, event: Input[Any]) -> Sequence[Any]:
            return list(self.change(self.inner.step(event)))

        def progress(self) -> Any:
            return self.inner.progress()

    monkeypatch.setattr(pbft, "create", Changed)
    from simulation import cluster as module  # noqa: PLC0415 - its cache holds the real one

    module._load.cache_clear()
    monkeypatch.setattr(module, "_load", module._load.__wrapped__)


def test_a_quorum_of_f_plus_1_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Committee, "quorum", property(lambda self: self.one_correct))
    search = Search("pbft", 4, 1, "random")
    verdicts = {run(scenario_of(search, seed)).verdict for seed in range(60)}
    assert Verdict.DIVERGED in verdicts


def test_timers_that_are_never_set_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    planted(
        monkeypatch,
        lambda _setup: lambda outputs: (x for x in outputs if not isinstance(x, SetTimer)),
    )
    assert first_failure("random", Verdict.NO_PROGRESS, 20) >= 0


def test_decisions_out_of_order_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def later(_setup: Setup) -> Any:
        def change(outputs: Sequence[Any]) -> Any:
            for output in outputs:
                if isinstance(output, Decide) and output.height % 3 == 0:
                    yield Decide(output.height + 1, output.view, output.payloads)  # type: ignore[arg-type]  # as planted
                else:
                    yield output

        return change

    planted(monkeypatch, later)
    assert first_failure("random", Verdict.BROKEN, 10) >= 0


def test_accusing_the_honest_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def accusing(setup: Setup) -> Any:
        def change(outputs: Sequence[Any]) -> Any:
            yield from outputs
            if setup.me == "v2":
                yield Accuse(NodeId("v3"), None, None)  # type: ignore[arg-type]  # as planted

        return change

    planted(monkeypatch, accusing)
    assert run(Scenario(events=(Submit(at_ms=50),))).verdict is Verdict.FRAMED


# --- Data: strict, repeatable, small. ---


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("nodes = 0", "nodes"),
        ("nodse = 4", "nodse"),
        ('[[events]]\ndo = "explode"\nat_ms = 1', "explode"),
        ('[[events]]\ndo = "crash"\nat_ms = 1\nnode = "v9"', "v9"),
        ('[[byzantine]]\nnode = "v9"\nbehaviour = "silent"', "v9"),
        ("not toml", "line 1"),
        ('{"nodes": 4,', "truncated"),
    ],
)
def test_a_bad_scenario_is_refused_and_named(text: str, word: str) -> None:
    with pytest.raises(BadScenario, match=word) as caught:
        parse(text, "here.toml")
    assert "here.toml" in str(caught.value)


def test_a_behaviour_that_there_is_not_is_refused() -> None:
    with pytest.raises(BadScenario, match="quiet"):
        run(Scenario(byzantine=(Faulty(node="v1", behaviour="quiet"),)))
    with pytest.raises(BadScenario, match="_altering"):
        run(Scenario(byzantine=(Faulty(node="v1", behaviour="_altering"),)))


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_scenario_survives_saving(strategy: str, tmp_path: Path) -> None:
    for seed in (0, 7, 60_000):
        scenario = scenario_of(Search("pbft", 4, 1, strategy), seed)
        path = tmp_path / "saved.json"
        path.write_bytes(dump(scenario))
        assert load(path) == scenario


def test_the_systematic_twins_are_all_different() -> None:
    count = 15**4
    assert count == 50_625
    made = {twins.scenario("pbft", 4, 1, seed).views for seed in range(0, count, 97)}
    assert len(made) == len(range(0, count, 97))
    assert all(view.leader == "v1" for views in made for view in views)
    drawn = [twins.scenario("pbft", 4, 1, count + seed).views for seed in range(20)]
    assert {view.leader for views in drawn for view in views} == {"v1", "v2", "v3", "v4"}


def test_the_same_scenario_gives_the_same_trace_whatever_the_hash_seed() -> None:
    code = (
        "import sys\n"
        "from simulation.explore import Search, scenario_of\n"
        "from simulation.run import run\n"
        "for strategy in ('random', 'twins', 'byzzfuzz', 'liars'):\n"
        "    scenario = scenario_of(Search('pbft', 4, 1, strategy), int(sys.argv[1]))\n"
        "    print(run(scenario, lambda *_: None).digest)\n"
    )

    def digests(hash_seed: str, seed: str) -> str:
        return subprocess.run(
            [sys.executable, "-c", code, seed],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    assert digests("1", "3") == digests("2", "3")
    assert digests("1", "3") != digests("1", "4")


def test_a_failure_shrinks_to_what_it_needs() -> None:
    silent = tuple(Faulty(node=name, behaviour="silent") for name in ("v1", "v2"))
    noise = tuple(Submit(at_ms=at, count=2) for at in range(10, 200, 10))
    scenario = Scenario(
        byzantine=(*silent, Faulty(node="v1", behaviour="stale")),
        events=noise,
        calm_ms=500,
        progress_within_ms=5_000,
    )
    small = shrink(scenario, Verdict.NO_PROGRESS)
    assert {each.behaviour for each in small.byzantine} == {"silent"}
    assert len(small.byzantine) == 2
    assert small.events == ()
    assert run(small).verdict is Verdict.NO_PROGRESS


def test_a_search_counts_saves_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search = Search("pbft", 4, 1, "random")
    told: list[int] = []
    found = explore(
        search, range(50), tmp_path, processes=2, told=lambda _found, last: told.append(last)
    )
    assert (found.seeds, dict(found.verdicts), found.failures) == (50, {"pass": 50}, [])
    assert told == sorted(told)
    assert told[-1] == 49
    monkeypatch.setattr(Committee, "quorum", property(lambda self: self.one_correct))
    found = explore(search, range(40), tmp_path, processes=1)
    assert found.failures
    saved = load(found.failures[0])
    assert run(saved).verdict is not Verdict.PASS
    assert len(saved.events) < len(scenario_of(search, 0).events)


def test_more_liars_than_members_are_refused() -> None:
    with pytest.raises(BadScenario, match="4 Byzantine members of 4"):
        scenario_of(Search("pbft", 4, 4, "random"), 0)


# --- For people. ---


def test_a_diagram_shows_messages_losses_views_and_blocks() -> None:
    silent = Scenario(
        byzantine=(Faulty(node="v1", behaviour="selective"),),
        events=(
            Submit(at_ms=50),
            Partition(at_ms=60, groups=(("v1", "v2"), ("v3", "v4"))),
            Restart(at_ms=500, nodes=("v2",)),
        ),
        calm_ms=3_000,
    )
    result, trace = observed(silent)
    page = diagram("a <title>", result.verdict.value, trace)
    assert "a &lt;title&gt;" in page
    for mark in ('class="message"', 'class="lost"', 'class="execute"', 'class="view"'):
        assert mark in page
    assert "http" not in page.replace("http://www.w3.org/2000/svg", "")
    assert 'class="crash"' in page


def test_a_transcript_tells_each_thing_once_and_repeats_itself() -> None:
    scenario = load(SHIPPED[0].with_name("silent_leader.toml"))
    texts = {transcript("silent leader", *observed(scenario)) for _ in range(2)}
    (text,) = texts
    assert "view" in text
    assert "execute  h1" in text
    assert not [line for line in text.splitlines() if line.split()[1:3] == ["v1", "send"]]


def test_a_cluster_without_an_observer_notes_nothing() -> None:
    cluster = Cluster(seed=1)
    assert cluster.observe is None
    cluster.reach(1)


def test_what_is_saved_is_for_people_too() -> None:
    text = dump(Scenario(events=(Submit(at_ms=50),))).decode()
    assert json.loads(text)["events"] == [{"do": "submit", "at_ms": 50, "count": 1, "to": []}]
    assert "\n" in text
