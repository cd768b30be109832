"""Rules of links, regions and clocks: each does what it says, and nothing else changes."""

import random
from typing import Any

import msgspec
import pytest

from simulation.network import Network
from simulation.rules import Clock, Constant, Jump, Link, LogNormal, Normal, Uniform
from simulation.run import Result, Verdict, run
from simulation.scenario import BadScenario, Scenario, Submit, dump, parse

PLAIN = Scenario(events=(Submit(at_ms=50, count=2),), calm_ms=3_000)
Facts = list[tuple[int, str, str, str]]


def observed(**changes: Any) -> tuple[Result, Facts]:
    facts: Facts = []
    scenario = msgspec.structs.replace(PLAIN, **changes)
    return run(scenario, lambda *fact: facts.append(fact)), facts


def late(link: Link, count: int = 300) -> list[tuple[int, ...]]:
    network = Network((link,), None, random.Random(7))
    return [network.lateness(10, "v1", "v2", "Vote") for _ in range(count)]


@pytest.mark.parametrize(
    ("delay", "low", "high"),
    [
        (Constant(ms=40), 40, 40),
        (Uniform(min_ms=5, max_ms=9), 5, 9),
        (Normal(mean_ms=20, sd_ms=30, cap_ms=50), 0, 50),
        (LogNormal(median_ms=20, sigma=2.0, cap_ms=90), 0, 90),
    ],
)
def test_a_delay_stays_within_its_bounds_and_reaches_them(delay: Any, low: int, high: int) -> None:
    drawn = [copies[0] for copies in late(Link(delay=delay))]
    assert (min(drawn), max(drawn)) == (low, high)


def test_loss_and_repeats_come_as_often_as_they_should() -> None:
    assert 60 < late(Link(loss=0.3)).count(()) < 120
    assert 60 < sum(len(copies) == 2 for copies in late(Link(repeat=0.3))) < 120
    assert late(Link(delay=Constant(ms=1))) == [(1,)] * 300


def test_a_rule_minds_names_messages_and_time() -> None:
    link = Link(senders=("v1",), to=("v2",), messages=("Vote",), from_ms=10, to_ms=20, cut=True)
    network = Network((link,), None, random.Random(7))
    assert network.lateness(10, "v1", "v2", "Vote") == ()
    for other in [(9, "v1", "v2", "Vote"), (20, "v1", "v2", "Vote"), (10, "v2", "v1", "Vote"),
                  (10, "v1", "v3", "Vote"), (10, "v1", "v2", "Commit")]:  # fmt: skip
        assert network.lateness(*other) == (0,)


def test_a_cut_is_one_way_and_ends_with_the_calm() -> None:
    result, facts = observed(links=(Link(senders=("v1",), to=("v2",), cut=True),))
    assert result.verdict is Verdict.PASS
    sent = [(at, who) for at, who, what, words in facts if what == "send" and words.endswith("v2")]
    assert not [at for at, who in sent if who == "v1" and at < PLAIN.calm_ms]
    assert [at for at, who in sent if who == "v1" and at >= PLAIN.calm_ms]
    assert [f for f in facts if f[1:3] == ("v2", "send") and f[3].endswith("v1") and f[0] < 3_000]


def test_regions_make_decisions_later() -> None:
    text = (
        '[regions]\nmembers={v1="a",v2="b",v3="b",v4="b"}\n[regions.delay_ms]\n'
        "a={a=1,b=%d}\nb={a=%d,b=1}\n"
    )
    ends = []
    for ms in (0, 80):
        _, facts = observed(regions=parse(text % (ms, ms), "here").regions)
        ends.append(min(at for at, _, what, words in facts if what == "execute" and "h1" in words))
    assert ends[1] >= ends[0] + 80


@pytest.mark.parametrize(
    ("clock", "fires"),
    [
        (None, 500),
        (Clock(node="v2", drift_ppm=250_000), 400),
        (Clock(node="v2", drift_ppm=-200_000), 625),
        (Clock(node="v2", jumps=(Jump(at_ms=200, by_ms=150),)), 350),
        (Clock(node="v2", jumps=(Jump(at_ms=200, by_ms=-150),)), 650),
    ],
)
def test_timers_run_by_the_clock_of_their_member(clock: Clock | None, fires: int) -> None:
    cut = (Link(cut=True),)
    _, facts = observed(links=cut, clocks=(clock,) if clock else (), calm_ms=6_000)
    first = min(at for at, who, what, _ in facts if (who, what) == ("v2", "timer"))
    assert first == fires


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[[links]]\nloss = 2.0", r"links\[0\]"),
        ("[[links]]\nlos = 0.1", "los"),
        ("[[links]]\nto = ['v2']", r"links\[0\]: it does nothing; give it"),
        ("[[links]]\ncut = true\nfrom = ['v9']", r"links\[0\]: there is no member 'v9'"),
        ("[[links]]\ncut = true\nfrom_ms = 9\nto_ms = 9", "make to_ms larger"),
        ('[[links]]\ndelay = {shape="uniform", min_ms=9, max_ms=1}', "swap them"),
        ('[regions]\nmembers={v1="a"}\ndelay_ms={}', "regions: there is no delay from 'a'"),
        ("[[clocks]]\nnode='v1'\n[[clocks]]\nnode='v1'", r"clocks\[1\]"),
    ],
)
def test_a_bad_rule_is_named(text: str, words: str) -> None:
    with pytest.raises(BadScenario, match=words):
        parse(text, "here.toml")


def test_a_message_that_the_protocol_has_not_is_named() -> None:
    with pytest.raises(BadScenario, match=r"links\[0\]: pbft has no message 'Vot'"):
        observed(links=(Link(messages=("Vot",), cut=True),))


def test_what_has_no_rules_is_saved_as_before_and_what_has_them_comes_back() -> None:
    assert not {"links", "regions", "clocks"} & msgspec.json.decode(dump(PLAIN)).keys()
    ruled = msgspec.structs.replace(PLAIN, links=(Link(senders=("v1",), cut=True),))
    assert parse(dump(ruled).decode(), "here") == ruled
