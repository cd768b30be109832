"""ByzzFuzz: a few faults, each bound to a view: messages of that view that are lost or changed.

Source: Winter, Buse, de Graaf, von Gleissenthall, Kulahcioglu Ozkan, "Randomized Testing of
Byzantine Fault Tolerant Algorithms", OOPSLA 2023: bugs need few faults, if these are structured by
rounds and changes are small.
"""

import random

from simulation.scenario import RoundFault, Scenario, Submit
from simulation.strategies.random import SHORT

SUMMARY = "a few lost and changed messages, bound to views"

VIEWS = 4
LOST_MAX = 4
CHANGED_MAX = 4
KINDS = 8
"""About as many types of messages as a protocol has."""


def scenario(protocol: str, nodes: int, byzantine: int, seed: int) -> Scenario:
    """The scenario of this seed; messages of `byzantine` members are changed."""
    rng = random.Random(f"byzzfuzz {protocol} {nodes} {byzantine} {seed}")  # noqa: S311 - repeatable
    members = [f"v{number + 1}" for number in range(nodes)]
    liars = rng.sample(members, byzantine)
    faults = [
        _fault(rng, rng.choice(members), members, corrupt=False)
        for _ in range(rng.randint(0, LOST_MAX))
    ]
    faults += [
        _fault(rng, liar, members, corrupt=True)
        for liar in liars
        for _ in range(rng.randint(1, CHANGED_MAX))
    ]
    return Scenario(
        name=f"byzzfuzz {seed}",
        protocol=protocol,
        nodes=nodes,
        seed=seed,
        options=SHORT.get(protocol, {}),
        round_faults=tuple(faults),
        events=tuple(Submit(at_ms=at_ms, count=1) for at_ms in (50, 500, 1_000, 2_000, 4_000)),
        calm_ms=15_000,
    )


def _fault(rng: random.Random, sender: str, members: list[str], *, corrupt: bool) -> RoundFault:
    return RoundFault(
        view=rng.randrange(VIEWS),
        sender=sender,
        receivers=tuple(rng.sample(members, rng.randint(1, len(members) - 1))),
        corrupt=corrupt,
        kind=rng.choice([None, rng.randrange(KINDS)]),
    )
