"""Twins: two honest copies with one key, and for each view a leader and a split of the network.

Source: Bano, Sonnino, Chursin, Perelman, Li, Ching, Malkhi, "Twins: BFT Systems Made Robust",
OPODIS 2021. With 4 members, one twin and 4 views there are 15 splits of the five replicas in two
for each view, so 15**4 = 50,625 scenarios with the twinned member leading every view. Seeds below
that number are these, in order; with later ones the leaders are drawn too, and so is
the number of views.
"""

import random
from itertools import combinations

from simulation.scenario import Scenario, Submit, View
from simulation.strategies.random import SHORT

SUMMARY = "a member that is there twice, with every split of the network in each view"

VIEWS = 4
VIEWS_MAX = 12
"""Of a drawn scenario: protocols on a chain need several views for one decision."""


def scenario(protocol: str, nodes: int, byzantine: int, seed: int) -> Scenario:
    """The scenario of this seed; `byzantine` members, from v1 on, have a twin."""
    members = [f"v{number + 1}" for number in range(nodes)]
    twins = tuple(members[:byzantine])
    replicas = [*members, *(f"{name}'" for name in twins)]
    splits = _splits(replicas)
    systematic = len(splits) ** VIEWS
    rng = random.Random(f"twins {protocol} {nodes} {byzantine} {seed}")  # noqa: S311 - repeatable
    views = []
    rest = seed
    for _ in range(VIEWS if seed < systematic else rng.randint(VIEWS, VIEWS_MAX)):
        if seed < systematic:
            rest, choice = divmod(rest, len(splits))
            leader = members[0]
        else:
            choice, leader = rng.randrange(len(splits)), rng.choice(members)
        views.append(View(leader=leader, groups=splits[choice]))
    return Scenario(
        name=f"twins {seed}",
        protocol=protocol,
        nodes=nodes,
        seed=seed,
        options=SHORT.get(protocol, {}),
        twins=twins,
        views=tuple(views),
        events=tuple(Submit(at_ms=at_ms, count=1) for at_ms in (50, 500, 1_000, 2_000, 4_000)),
        calm_ms=20_000,
    )


def _splits(replicas: list[str]) -> list[tuple[tuple[str, ...], ...]]:
    """All ways to divide the replicas in two groups that are not empty."""
    first, others = replicas[0], replicas[1:]
    return [
        ((first, *some), tuple(name for name in others if name not in some))
        for size in range(len(others))
        for some in combinations(others, size)
    ]
