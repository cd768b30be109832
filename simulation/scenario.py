"""A run as data: what there is, what happens when, who lies. With it a run can be repeated.

Times are virtual milliseconds from the start. Scenario files are TOML, saved failures JSON; both
are strict, so that a misspelt word is an error and not another experiment.
"""

import tomllib
from pathlib import Path
from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

from simulation.rules import CLOCKS_MAX, LINKS_MAX, Clock, Link, Ms, Names, Regions, Share
from simulation.rules import Strict as _Strict

_ONLY_IF_GIVEN = ("links", "regions", "clocks")
"""Fields that a saved scenario has only if they say something."""


class BadScenario(Exception):
    """A scenario that cannot be run. The message names file and field."""


class Event(_Strict, frozen=True, kw_only=True, tag_field="do"):
    """Something that happens to the cluster at a time."""

    at_ms: Ms


class Submit(Event, frozen=True, kw_only=True, tag="submit"):
    """New transactions, known at once to some members; to all if none is named."""

    count: Annotated[int, Meta(ge=1, le=1000)] = 1
    to: Names = ()


class Crash(Event, frozen=True, kw_only=True, tag="crash"):
    """The member dies once it has carried out so many more outputs."""

    node: str
    after_outputs: Annotated[int, Meta(ge=0, le=10_000)] = 0


class Start(Event, frozen=True, kw_only=True, tag="start"):
    """A member that is down starts again."""

    node: str


class Restart(Event, frozen=True, kw_only=True, tag="restart"):
    """Members that die and start again at once; all if none is named."""

    nodes: Names = ()


class Pause(Event, frozen=True, kw_only=True, tag="pause"):
    """As by SIGSTOP."""

    node: str


class Resume(Event, frozen=True, kw_only=True, tag="resume"):
    node: str


class Partition(Event, frozen=True, kw_only=True, tag="partition"):
    """Only members of one group hear each other; who is in none is alone."""

    groups: tuple[Names, ...]


class Heal(Event, frozen=True, kw_only=True, tag="heal"):
    """All links are up again."""


class Conditions(Event, frozen=True, kw_only=True, tag="conditions"):
    """How the network treats messages from now on."""

    loss: Share = 0.0
    repeats: Share = 0.0
    delay_ms: tuple[Ms, Ms] = (1, 5)


class Isolate(Event, frozen=True, kw_only=True, tag="isolate"):
    """From now on, the first member that executes this height is cut off for a while."""

    height: Annotated[int, Meta(ge=1)]
    for_ms: Ms


AnyEvent: TypeAlias = (
    Submit | Crash | Start | Restart | Pause | Resume | Partition | Heal | Conditions | Isolate
)


class Faulty(_Strict, frozen=True, kw_only=True):
    """A Byzantine member: what it does, and when."""

    node: str
    behaviour: str
    """A file of `simulation/byzantine`."""
    probability: Share = 1.0
    """Of each thing that it sends."""
    from_height: int = 0
    until_height: int = 2**31


class RoundFault(_Strict, frozen=True, kw_only=True):
    """What is wrong with the messages of one view, from one member to some."""

    view: Annotated[int, Meta(ge=0)]
    sender: str
    receivers: Names
    corrupt: bool = False
    """Changed instead of dropped; the sender is Byzantine then."""
    kind: Annotated[int, Meta(ge=0, le=64)] | None = None
    """Only messages of this type: its number among those of the protocol, counted in a circle."""


class View(_Strict, frozen=True, kw_only=True):
    """Of a Twins scenario: who leads, and who hears whom."""

    leader: str
    groups: tuple[Names, ...]


class Scenario(_Strict, frozen=True, kw_only=True):
    """Everything that decides a run."""

    name: str = ""
    protocol: str = "pbft"
    leader: str = "sticky"
    nodes: Annotated[int, Meta(ge=1, le=100)] = 4
    seed: int = 0
    options: dict[str, int] = msgspec.field(default_factory=dict)
    """Of the protocol; times that are short in a simulation as well."""
    byzantine: tuple[Faulty, ...] = ()
    twins: Names = ()
    """Members of which there are two, with one key."""
    views: tuple[View, ...] = ()
    """The first views, one by one; from then on everybody hears everybody."""
    round_faults: tuple[RoundFault, ...] = ()
    events: tuple[AnyEvent, ...] = ()
    links: Annotated[tuple[Link, ...], Meta(max_length=LINKS_MAX)] = ()
    """What links do to messages until the calm, on top of the conditions."""
    regions: Regions | None = None
    """Distances; they stay after the calm."""
    clocks: Annotated[tuple[Clock, ...], Meta(max_length=CLOCKS_MAX)] = ()
    """Clocks that are not right; they stay so after the calm."""
    calm_ms: Ms = 20_000
    """From then on the network behaves and everybody is up; liars go on lying."""
    progress_within_ms: Ms = 120_000
    """So long after the calm, what waits has to be decided."""
    goes_on: bool = True
    """Whether progress is expected at all."""

    @property
    def liars(self) -> frozenset[str]:
        """Members that are not honest."""
        corrupt = {fault.sender for fault in self.round_faults if fault.corrupt}
        return frozenset({each.node for each in self.byzantine} | {*self.twins} | corrupt)

    @property
    def members(self) -> tuple[str, ...]:
        return tuple(f"v{number + 1}" for number in range(self.nodes))


def parse(text: str, source: str) -> Scenario:
    """A scenario file (TOML, or the JSON of a saved failure). Raises `BadScenario`."""
    try:
        if text.lstrip().startswith("{"):
            return _checked(msgspec.json.decode(text, type=Scenario))
        return _checked(msgspec.convert(tomllib.loads(text), Scenario))
    except (tomllib.TOMLDecodeError, msgspec.MsgspecError, BadScenario) as error:
        raise BadScenario(f"{source}: {error}") from None


def load(path: Path) -> Scenario:
    """Read a scenario from disk. Raises `BadScenario`."""
    try:
        return parse(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise BadScenario(f"{path}: {error}") from None


def dump(scenario: Scenario) -> bytes:
    """Canonical JSON, for people to read as well."""
    fields = msgspec.to_builtins(scenario, order="deterministic")
    for name in _ONLY_IF_GIVEN:
        if not fields[name]:
            del fields[name]
    return msgspec.json.format(msgspec.json.encode(fields), indent=1)


def _checked(scenario: Scenario) -> Scenario:
    known = {*scenario.members, *(f"{name}'" for name in scenario.twins)}
    named = [each.node for each in scenario.byzantine] + list(scenario.twins)
    for event in scenario.events:
        named += [getattr(event, "node", scenario.members[0])]
        named += [*getattr(event, "to", ()), *getattr(event, "nodes", ())]
        named += [name for group in getattr(event, "groups", ()) for name in group]
    for fault in scenario.round_faults:
        named += [fault.sender, *fault.receivers]
    for view in scenario.views:
        named += [view.leader, *(name for group in view.groups for name in group)]
    _check_rules(scenario, known)
    for name in named:
        if name not in known:
            raise BadScenario(f"there is no member {name!r}; there are {', '.join(sorted(known))}")
    return scenario


def _check_rules(scenario: Scenario, known: set[str]) -> None:
    rules = [
        (f"links[{index}]", [*link.senders, *link.to], link.faults())
        for index, link in enumerate(scenario.links)
    ]
    if scenario.regions is not None:
        rules.append(("regions", [*scenario.regions.members], scenario.regions.faults()))
    nodes = [clock.node for clock in scenario.clocks]
    for index, node in enumerate(nodes):
        second = ["its member has a clock already; leave one"] if node in nodes[:index] else []
        rules.append((f"clocks[{index}]", [node], iter(second)))
    for rule, named, faults in rules:
        for name in named:
            if name not in known:
                raise BadScenario(
                    f"{rule}: there is no member {name!r}; there are {', '.join(sorted(known))}"
                )
        for fault in faults:
            raise BadScenario(f"{rule}: {fault}")
