"""Bugs that can be put into any protocol from outside."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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
from mechanisms.registry import Kind, load
from simulation import cluster

Change = Callable[[Sequence[Any]], Sequence[Any]]


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


@contextmanager
def _quorum(_protocol: str) -> Iterator[None]:
    before = Committee.quorum
    Committee.quorum = property(lambda self: self.one_correct)  # type: ignore[assignment,method-assign]  # the bug
    try:
        yield
    finally:
        Committee.quorum = before  # type: ignore[method-assign]  # as it was


BUGS: dict[str, Callable[[str], Any]] = {
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
"""Name -> context in which the named protocol has the bug."""
