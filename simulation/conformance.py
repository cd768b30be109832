"""What every consensus protocol has to show before it is believed: one check for each promise.

Each check is a set of scenarios; the first that does not end as it should is the evidence.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import msgspec

from consensus.interface import Committee, ConsensusClaims
from crypto.interface import NodeId
from crypto.quorum import FaultModel
from mechanisms.registry import Kind, load
from simulation.explore import Search, scenario_of
from simulation.run import Result, Verdict, run
from simulation.scenario import (
    AnyEvent,
    Conditions,
    Crash,
    Faulty,
    Partition,
    Restart,
    Scenario,
    Start,
    Submit,
)

NODES = 4
PREFIXES_MAX = 200
"""A crash is tried after so many outputs of a member at most."""

LOAD = tuple(Submit(at_ms=at_ms, count=2) for at_ms in (50, 300, 900))


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one check."""

    name: str
    runs: int
    failure: str
    """Empty if all was as it should be."""
    scenario: Scenario | None = None
    """The run that shows the failure."""


@dataclass(frozen=True, slots=True)
class _Subject:
    protocol: str
    claims: ConsensusClaims
    faults: int
    seeds: int
    allow: tuple[str, ...]

    def scenario(self, name: str, *events: AnyEvent, **more: object) -> Scenario:
        given = {"events": events, "protocol": self.protocol, "name": name, **more}
        return msgspec.convert(given, Scenario, from_attributes=True)

    def run(self, scenario: Scenario) -> Result:
        return run(scenario, allow=self.allow)


Check = Callable[[_Subject], Iterator[tuple[Scenario, str]]]
"""Yields each scenario that was run, with what is wrong with how it ended, or nothing."""


def check(
    protocol: str,
    *,
    seeds: int = 100,
    allow: Sequence[str] = (),
    told: Callable[[Outcome], None] = lambda _: None,
) -> list[Outcome]:
    """Put a protocol through all checks. Raises `MechanismError` for a name that there is not."""
    claims: ConsensusClaims = load(Kind.CONSENSUS, protocol, lab=False, allow=allow).claims
    members = tuple(NodeId(f"v{number + 1}") for number in range(NODES))
    faults = Committee(0, members, claims.fault_model).faults_max
    subject = _Subject(protocol, claims, faults, seeds, tuple(allow))
    outcomes = []
    for name, one in CHECKS.items():
        outcome = _outcome(name, one(subject))
        told(outcome)
        outcomes.append(outcome)
    return outcomes


def _outcome(name: str, runs: Iterator[tuple[Scenario, str]]) -> Outcome:
    count = 0
    for scenario, wrong in runs:
        count += 1
        if wrong:
            return Outcome(name, count, wrong, scenario)
    return Outcome(name, count, "")


def _passes(subject: _Subject, scenario: Scenario) -> tuple[Scenario, str]:
    result = subject.run(scenario)
    return scenario, "" if result.verdict is Verdict.PASS else f"{result.verdict}: {result.detail}"


def _normal_case(subject: _Subject) -> Iterator[tuple[Scenario, str]]:
    scenario = subject.scenario("normal case", *LOAD)
    result = subject.run(scenario)
    wrong = "" if result.verdict is Verdict.PASS and result.height >= 4 else str(result)
    yield scenario, wrong


def _deterministic(subject: _Subject) -> Iterator[tuple[Scenario, str]]:
    for seed in range(5):
        scenario = scenario_of(Search(subject.protocol, NODES, 0, "random"), seed)
        first, second = (
            run(scenario, lambda *_: None, allow=subject.allow).digest for _ in range(2)
        )
        yield scenario, "" if first == second else "two runs of one scenario differ"


def _any_crash(subject: _Subject) -> Iterator[tuple[Scenario, str]]:
    for node in ("v1", "v2"):
        for after in range(0, PREFIXES_MAX, max(1, PREFIXES_MAX // subject.seeds)):
            crash = Crash(at_ms=0, node=node, after_outputs=after)
            back = tuple(Start(at_ms=at_ms, node=node) for at_ms in (500, 2_000, 6_000))
            yield _passes(subject, subject.scenario("crash", crash, *LOAD, *back, calm_ms=8_000))


def _all_restart(subject: _Subject) -> Iterator[tuple[Scenario, str]]:
    for at_ms in range(0, 400, max(1, 400 // subject.seeds)):
        yield _passes(subject, subject.scenario("restart of all", *LOAD, Restart(at_ms=at_ms)))


def _bad_network(subject: _Subject) -> Iterator[tuple[Scenario, str]]:
    for seed in range(max(1, subject.seeds // 5)):
        for conditions in (
            Conditions(at_ms=0, loss=0.3),
            Conditions(at_ms=0, repeats=0.5, delay_ms=(1, 300)),
        ):
            yield _passes(subject, subject.scenario("bad network", conditions, *LOAD, seed=seed))


def _within_the_bound(subject: _Subject) -> Iterator[tuple[Scenario, str]]:
    for first in range(NODES if subject.faults else 0):
        silent = tuple(
            Faulty(node=f"v{(first + step) % NODES + 1}", behaviour="silent")
            for step in range(subject.faults)
        )
        yield _passes(subject, subject.scenario("f silent", *LOAD, byzantine=silent))


def _beyond_the_bound(subject: _Subject) -> Iterator[tuple[Scenario, str]]:
    if not subject.faults:
        return
    silent = tuple(
        Faulty(node=f"v{number + 1}", behaviour="silent") for number in range(subject.faults + 1)
    )
    scenario = subject.scenario(
        "f + 1 silent", *LOAD, byzantine=silent, goes_on=False, progress_within_ms=30_000
    )
    result = subject.run(scenario)
    wrong = "" if (result.verdict, result.height) == (Verdict.PASS, 0) else str(result)
    yield scenario, wrong


def _split(subject: _Subject) -> Iterator[tuple[Scenario, str]]:
    halves = Partition(at_ms=20, groups=(("v1", "v2"), ("v3", "v4")))
    yield _passes(subject, subject.scenario("split in halves", halves, *LOAD))


def _explored(strategy: str) -> Check:
    def explored(subject: _Subject) -> Iterator[tuple[Scenario, str]]:
        liars = subject.faults if subject.claims.fault_model is FaultModel.BYZANTINE else 0
        if strategy == "twins" and not liars:
            return
        for seed in range(subject.seeds):
            search = Search(subject.protocol, NODES, liars, strategy)
            yield _passes(subject, scenario_of(search, seed * 97))

    return explored


CHECKS: dict[str, Check] = {
    "decides when nothing goes wrong": _normal_case,
    "is deterministic": _deterministic,
    "contradicts nothing after a crash at any output": _any_crash,
    "goes on after a restart of all": _all_restart,
    "bears loss, repeats and late messages": _bad_network,
    "goes on with f silent members": _within_the_bound,
    "neither decides nor forks with f + 1 silent members": _beyond_the_bound,
    "agrees after a split in halves": _split,
    "passes random exploration": _explored("random"),
    "passes Twins": _explored("twins"),
    "passes ByzzFuzz": _explored("byzzfuzz"),
    "passes liars that lead": _explored("liars"),
}
