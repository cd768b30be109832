"""Liars that lead often, in views that the network splits, with whoever decides first cut off.

The splits and leaders are those of Twins (Bano et al., OPODIS 2021), with lies instead of a second
copy: a certificate is checked only where a liar leads, and what a missing check allows is seen only
where some went on without others.
"""

import random

from simulation.scenario import (
    AnyEvent,
    Conditions,
    Faulty,
    Isolate,
    RoundFault,
    Scenario,
    Submit,
    View,
)
from simulation.strategies.random import SHORT

SUMMARY = "liars that lead every second view, with a split of the network in some views"

LIES = (
    "invent", "fabricate", "mislabel", "backdate", "confuse", "two_faced", "equivocate",
    "lie_view_change", "fickle", "hold_back", "amnesia",
)  # fmt: skip
VIEWS_MAX = 8
LED_MAX = 4
"""A liar leads so many of them. Why no more: timeouts double, and progress has to come in time."""
PROGRESS_MS = 180_000
"""Views that a liar leads after the calm may take the longest timeout, a minute each."""
SPLIT = 0.3
"""In so many views the network is split."""
LOST_MAX = 6
LOST_VIEWS = 3
"""In so many views messages of one type are lost."""
KINDS = 8
"""About as many types of messages as a protocol has."""
HEIGHTS = 6
"""At one of the first so many, who decides first may be cut off."""


def scenario(protocol: str, nodes: int, byzantine: int, seed: int) -> Scenario:
    """The scenario of this seed; `byzantine` members lie, each in one to three ways."""
    rng = random.Random(f"liars {protocol} {nodes} {byzantine} {seed}")  # noqa: S311 - repeatable
    members = [f"v{number + 1}" for number in range(nodes)]
    liars = rng.sample(members, byzantine)
    events: list[AnyEvent] = [
        Conditions(at_ms=0, delay_ms=rng.choice([(1, 2), (1, 20), (1, 200), (1, 1_500)])),
        *(Submit(at_ms=at_ms, count=1) for at_ms in (50, 500, 1_000, 2_000, 4_000)),
    ]
    if rng.random() < 0.7:
        cut_ms = rng.choice([1_000, 5_000, 20_000])
        events.append(Isolate(at_ms=0, height=rng.randint(1, HEIGHTS), for_ms=cut_ms))
    return Scenario(
        name=f"liars {seed}",
        protocol=protocol,
        nodes=nodes,
        seed=seed,
        options=SHORT.get(protocol, {}),
        byzantine=tuple(
            Faulty(node=liar, behaviour=lie, probability=rng.choice([1.0, 0.5, 0.1]))
            for liar in liars
            for lie in _lies(rng)
        ),
        views=_views(rng, members, liars),
        round_faults=tuple(_lost(rng, members) for _ in range(rng.choice([0, 2, LOST_MAX]))),
        events=tuple(events),
        calm_ms=20_000,
        progress_within_ms=PROGRESS_MS,
    )


def _lies(rng: random.Random) -> list[str]:
    """Every second liar acts one lie out, half of those with something else on top."""
    if rng.random() < 0.5:
        return ["pretend", *rng.sample(LIES, rng.choice([0, 1]))]
    return rng.sample(LIES, rng.choice([1, 2, 3]))


def _views(rng: random.Random, members: list[str], liars: list[str]) -> tuple[View, ...]:
    count = rng.randint(1, VIEWS_MAX)
    led = set(rng.sample(range(count), min(count, rng.randint(1, LED_MAX))))
    return tuple(
        View(
            leader=rng.choice(liars if number in led and liars else members),
            groups=_groups(rng, members, liars),
        )
        for number in range(count)
    )


def _groups(
    rng: random.Random, members: list[str], liars: list[str]
) -> tuple[tuple[str, ...], ...]:
    """Why a liar is in both: what it says to each side is its own affair."""
    if rng.random() >= SPLIT:
        return (tuple(members),)
    some = rng.sample(members, rng.randint(1, len(members) - 1))
    rest = [name for name in members if name not in some]
    return (_with(liars, some), _with(liars, rest))


def _lost(rng: random.Random, members: list[str]) -> RoundFault:
    return RoundFault(
        view=rng.randrange(LOST_VIEWS),
        sender=rng.choice(members),
        receivers=tuple(rng.sample(members, rng.randint(1, len(members) - 1))),
        kind=rng.randrange(KINDS),
    )


def _with(liars: list[str], group: list[str]) -> tuple[str, ...]:
    return (*group, *(liar for liar in liars if liar not in group))
