"""Anything may happen, drawn from the seed: loss, partitions, pauses, crashes, and liars."""

import random

from simulation.rules import Clock, Jump, Link, LogNormal, Reorder
from simulation.scenario import (
    AnyEvent,
    Conditions,
    Crash,
    Faulty,
    Heal,
    Isolate,
    Partition,
    Pause,
    Restart,
    Resume,
    RoundFault,
    Scenario,
    Start,
    Submit,
)

SUMMARY = "mixed network faults, crashes and Byzantine members, drawn from the seed"

STEPS = 25
VIEWS = 3
"""In so many views messages of one type are lost."""
HEIGHTS = 8
"""At one of the first so many, who decides first may be cut off."""
RULES_FROM = 1_000_000
"""Seeds from here on draw rules of links and clocks as well."""
KINDS = 8
"""About as many types of messages as a protocol has."""
BEHAVIOURS = (
    "equivocate", "silent", "slow", "selective", "withhold", "invalid", "stale", "forge",
    "amnesia", "censor", "lie_view_change", "fabricate", "mislabel", "backdate", "confuse",
    "two_faced",
)  # fmt: skip
SHORT: dict[str, dict[str, int]] = {
    "pbft": {"window": 8, "checkpoint_interval": 4, "view_timeout_ms": 400},
}
"""Options under which windows and timeouts matter in a short run."""


def scenario(protocol: str, nodes: int, byzantine: int, seed: int) -> Scenario:
    """The scenario of this seed. `byzantine` members lie, each in one or two ways."""
    rng = random.Random(f"random {protocol} {nodes} {byzantine} {seed}")  # noqa: S311 - repeatable
    members = [f"v{number + 1}" for number in range(nodes)]
    liars = rng.sample(members, byzantine)
    faulty = [
        Faulty(
            node=liar,
            behaviour=behaviour,
            probability=rng.choice([1.0, 0.5, 0.1]),
            from_height=rng.choice([0, 0, 3]),
        )
        for liar in liars
        for behaviour in rng.sample(BEHAVIOURS, rng.choice([1, 1, 2]))
    ]
    at_ms = 0
    events: list[AnyEvent] = [
        Conditions(
            at_ms=0,
            loss=rng.choice([0.0, 0.02, 0.2]),
            repeats=rng.choice([0.0, 0.1]),
            delay_ms=rng.choice([(1, 2), (1, 20), (1, 200)]),
        )
    ]
    events += [
        Isolate(at_ms=0, height=rng.randint(1, HEIGHTS), for_ms=rng.choice([1_000, 5_000, 20_000]))
        for _ in range(rng.choice([0, 1, 3]))
    ]
    for _ in range(STEPS):
        events.append(_event(rng, members, at_ms))
        at_ms += rng.choice([3, 30, 300, 1_500])
    lost = [
        RoundFault(
            view=rng.randrange(VIEWS),
            sender=rng.choice(members),
            receivers=tuple(rng.sample(members, rng.randint(1, nodes))),
            kind=rng.randrange(KINDS),
        )
        for _ in range(rng.choice([0, 0, 4, 8]))
    ]
    ruled = seed >= RULES_FROM
    links = tuple(_link(rng, members, at_ms) for _ in range(rng.randint(1, 3))) if ruled else ()
    return Scenario(
        name=f"random {seed}",
        protocol=protocol,
        nodes=nodes,
        seed=seed,
        options=SHORT.get(protocol, {}),
        byzantine=tuple(faulty),
        round_faults=tuple(lost),
        events=tuple(events),
        links=links,
        clocks=_clocks(rng, members, at_ms) if ruled else (),
        calm_ms=at_ms,
    )


def _event(rng: random.Random, members: list[str], at_ms: int) -> AnyEvent:
    dice = rng.random()
    some = tuple(rng.sample(members, rng.randint(1, len(members))))
    if dice < 0.4:
        return Submit(at_ms=at_ms, count=rng.randint(1, 4), to=some)
    if dice < 0.55:
        return Crash(at_ms=at_ms, node=some[0], after_outputs=rng.randint(0, 30))
    if dice < 0.7:
        return Start(at_ms=at_ms, node=some[0])
    if dice < 0.75:
        return Restart(at_ms=at_ms, nodes=some)
    if dice < 0.82:
        rest = tuple(member for member in members if member not in some)
        return Partition(at_ms=at_ms, groups=(some, rest))
    if dice < 0.9:
        return Heal(at_ms=at_ms)
    return Pause(at_ms=at_ms, node=some[0]) if dice < 0.95 else Resume(at_ms=at_ms, node=some[0])


def _link(rng: random.Random, members: list[str], end_ms: int) -> Link:
    from_ms = rng.randrange(end_ms)
    return Link(
        senders=tuple(rng.sample(members, rng.randint(1, len(members)))),
        to=tuple(rng.sample(members, rng.randint(1, len(members)))),
        from_ms=from_ms,
        to_ms=from_ms + rng.choice([100, 1_000, 10_000]),
        delay=rng.choice([None, LogNormal(median_ms=30, sigma=1.0, cap_ms=2_000)]),
        loss=rng.choice([0.0, 0.3]),
        repeat=rng.choice([0.0, 0.3]),
        reorder=Reorder(probability=0.2, up_to_ms=rng.choice([20, 500])),
        cut=rng.random() < 0.3,
    )


def _clocks(rng: random.Random, members: list[str], end_ms: int) -> tuple[Clock, ...]:
    return tuple(
        Clock(
            node=node,
            drift_ppm=rng.choice([-100_000, -200, 200, 100_000]),
            jumps=(
                Jump(at_ms=rng.randrange(end_ms), by_ms=rng.choice([-2_000, -100, 100, 2_000])),
            ),
        )
        for node in rng.sample(members, rng.randint(0, 2))
    )
