"""Bugs that are put into protocols, to see that the simulator finds them.

A file `planted_NAME.py` in this folder belongs to the protocol NAME and is found by that name. It
has a mapping `PLANTED: dict[str, Bug]` from a bug in words to how it is planted and what finds it:

    PLANTED = {
        **generic("pbft", {"a quorum is f + 1": ("random", 3)}),
        "the lock is not checked": Bug(
            lambda: replaced(RoundState, free_for=lambda *_: True), strategy="twins", seeds=40
        ),
    }

`plant` returns a context in which the protocol has the bug; it changes the smallest piece of the
real code (`replaced`). `strategy` and `seeds` are recorded: so many seeds of that strategy, with
four members and one of them a liar, are enough (no liar where only crashes are borne). Words that
several protocols share are one line of the table in docs/simulation.md, whatever stands for them in
each. With 0 seeds a bug is not found yet, and the table says so.

    python -m tests.simulation.planted                    # the table, of what is recorded
    python -m tests.simulation.planted --search NAME      # measures it anew for one protocol
"""

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from consensus.interface import (
    CancelTimer,
    Committee,
    Decide,
    Persist,
    Relay,
    SetTimer,
    Setup,
)
from crypto.quorum import FaultModel
from mechanisms.registry import Kind, load
from simulation import cluster
from simulation.explore import STRATEGIES, Search, scenario_of
from simulation.run import Result, Verdict, run

Change = Callable[[Sequence[Any]], Sequence[Any]]
Plant = Callable[[], AbstractContextManager[None]]

MEMBERS = 4
LIARS = 1

TWINS_STEP = 97
"""Neighbouring seeds of Twins differ in the first view only; so far apart, they differ in all."""
TWINS_DRAWN = 50_625
"""From this seed on Twins draws leaders too. Each second seed is one of those."""

SEARCH_MAX = 3_000
"""A bug that is not found with so many seeds of each strategy is a defect of the simulator."""


@dataclass(frozen=True, slots=True)
class Bug:
    """How a protocol gets a bug, and within how many seeds of which strategy that is found."""

    plant: Plant
    strategy: str
    seeds: int
    long: bool = False
    """The run that finds it takes most of a minute: replicas ask each other without end."""

    def words(self) -> str:
        return f"{self.strategy} {self.seeds}" if self.seeds else "not found"


def registry() -> dict[str, Mapping[str, Bug]]:
    """Protocol -> its bugs, from all files `planted_NAME.py`."""
    found = {}
    for path in sorted(Path(__file__).parent.glob("planted_*.py")):
        planted: Mapping[str, Bug] = import_module(f"tests.simulation.{path.stem}").PLANTED
        found[path.stem.removeprefix("planted_")] = planted
    return found


# --- Trying seeds. ---


def run_seed(protocol: str, strategy: str, number: int) -> Result:
    """The run of the seed of that number, from 0."""
    seed = number
    if strategy == "twins":
        seed = number * TWINS_STEP if number % 2 else TWINS_DRAWN + number
    claims = load(Kind.CONSENSUS, protocol, lab=False).claims
    liars = LIARS if claims.fault_model is FaultModel.BYZANTINE else 0
    return run(scenario_of(Search(protocol, MEMBERS, liars, strategy), seed))


def is_found(protocol: str, bug: Bug) -> bool:
    """Whether one of its seeds finds it. The last one comes first: it is the one that did."""
    with bug.plant():
        return any(
            run_seed(protocol, bug.strategy, number).verdict is not Verdict.PASS
            for number in reversed(range(bug.seeds))
        )


def search(protocol: str, plant: Plant, seeds: int) -> tuple[str, int, Verdict] | None:
    """The strategy that finds it first, with how many seeds, and what went wrong then."""
    with plant():
        for number in range(seeds):
            for strategy in STRATEGIES:
                result = run_seed(protocol, strategy, number)
                if result.verdict is not Verdict.PASS:
                    return strategy, number + 1, result.verdict
    return None


def table() -> list[str]:
    """The lines of the table in docs/simulation.md."""
    planted = registry()
    bugs = list(dict.fromkeys(bug for bugs in planted.values() for bug in bugs))
    lines = [f"| bug | {' | '.join(planted)} |", "| --- |" + " --- |" * len(planted)]
    for bug in bugs:
        cells = []
        for own in planted.values():
            found = own.get(bug)
            cells.append("" if found is None else found.words())
        lines.append(f"| {bug} | {' | '.join(cells)} |")
    return lines


# --- Planting. ---


@contextmanager
def replaced(owner: object, **attributes: object) -> Iterator[None]:
    """These attributes of a class or a module are others meanwhile."""
    before = {name: getattr(owner, name) for name in attributes}
    for name, value in attributes.items():
        setattr(owner, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(owner, name, value)


@contextmanager
def together(*contexts: AbstractContextManager[None]) -> Iterator[None]:
    """One bug that takes changes in several places."""
    with ExitStack() as stack:
        for context in contexts:
            stack.enter_context(context)
        yield


@contextmanager
def _outputs(protocol: str, change: Change, *, only: str | None = None) -> Iterator[None]:
    """Every replica's outputs go through `change`, or those of `only`."""
    module: Any = load(Kind.CONSENSUS, protocol, lab=False).module
    create = module.create

    class Changed:
        def __init__(self, setup: Setup, options: object) -> None:
            self.me = setup.me
            self.inner = create(setup, options)

        def step(self, event: Any) -> Sequence[Any]:
            outputs = self.inner.step(event)
            return change(outputs) if only in {None, self.me} else outputs

        def progress(self) -> Any:
            return self.inner.progress()

    module.create = Changed
    kept, cluster._load = cluster._load, cluster._load.__wrapped__  # type: ignore[assignment]  # no cache meanwhile
    try:
        yield
    finally:
        module.create = create
        cluster._load = kept


def _without(*kinds: type) -> Change:
    return lambda outputs: [output for output in outputs if not isinstance(output, kinds)]


def _other(outputs: Sequence[Any]) -> Sequence[Any]:
    return [
        Decide(output.height, output.view, ())
        if isinstance(output, Decide) and output.height % 3 == 0
        else output
        for output in outputs
    ]


def _quorum(_protocol: str) -> AbstractContextManager[None]:
    return replaced(Committee, quorum=property(lambda self: self.one_correct))


BUGS: dict[str, Callable[[str], AbstractContextManager[None]]] = {
    "a quorum is f + 1": _quorum,
    "nothing is persisted": lambda protocol: _outputs(protocol, _without(Persist)),
    "timers are never set": lambda protocol: _outputs(protocol, _without(SetTimer)),
    "timers are never set, nor cancelled": lambda protocol: _outputs(
        protocol, _without(SetTimer, CancelTimer)
    ),
    "nothing is relayed": lambda protocol: _outputs(protocol, _without(Relay)),
    "one replica decides something else now and then": lambda protocol: _outputs(
        protocol, _other, only="v2"
    ),
}
"""Those that any protocol can have: name -> context in which the named protocol has it."""


def generic(protocol: str, recorded: Mapping[str, tuple[str, int]]) -> dict[str, Bug]:
    """Bugs of `BUGS` for one protocol, with the strategy and the seeds that find them."""
    return {
        name: Bug(lambda name=name: BUGS[name](protocol), *found)  # type: ignore[misc]  # bound early
        for name, found in recorded.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="The bugs that the simulator finds.")
    parser.add_argument("--search", metavar="NAME", help="measure anew for this protocol")
    parser.add_argument("--bug", default="", help="only those with these words in their names")
    parser.add_argument("--seeds", type=int, default=SEARCH_MAX)
    given = parser.parse_args()
    if given.search is None:
        print("\n".join(table()))
        return
    for name, bug in registry()[given.search].items():
        if given.bug in name:
            print(
                f"{given.search}: {name}: {search(given.search, bug.plant, given.seeds)}",
                flush=True,
            )


if __name__ == "__main__":
    main()
