"""Runs a scenario and says how it went.

Source of the verdicts: safety is agreement of the honest on every height, and that nobody honest
can be shown to have said two things; liveness is progress within a bound once the network behaves
(Dwork, Lynch and Stockmeyer, JACM 1988).
"""

import contextlib
import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from importlib import import_module
from itertools import combinations
from typing import get_args

from consensus.interface import Committee, Height, Leader, Signed
from consensus.interface import View as ViewNumber
from crypto.interface import NodeId
from simulation.byzantine._altering import altered
from simulation.byzantine._rewriting import Values, signed_by
from simulation.byzantine.fabricate import fabricated
from simulation.byzantine.mislabel import mislabelled
from simulation.cluster import (
    Behaviour,
    Broken,
    Cluster,
    Delivery,
    Diverged,
    Framed,
    Message,
    Node,
    Observer,
)
from simulation.forensics import culprits
from simulation.network import Network
from simulation.scenario import (
    AnyEvent,
    BadScenario,
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
    View,
)

SETTLE_MS = 5_000
"""Between the calm and the transactions that have to be decided."""

LAST_TRANSACTIONS = 3


class Verdict(StrEnum):
    """How a run went. Only `PASS` is good."""

    PASS = "pass"  # noqa: S105 - a word, no secret
    NO_PROGRESS = "no progress"
    DIVERGED = "diverged"
    FRAMED = "framed"
    BROKEN = "broken"
    """A replica broke the contract with its host: order, or payloads that it never had."""


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a run.

    `digest` is equal for equal runs; with an observer it covers all that was observed.
    """

    verdict: Verdict
    detail: str
    height: int
    ended_ms: int
    digest: str
    culprits: tuple[str, ...] = ()
    """After a fork: who is convicted by what honest members received (`simulation.forensics`)."""


def run(
    scenario: Scenario, observe: Observer | None = None, *, allow: Sequence[str] = ()
) -> Result:
    """Run it to its end. Raises `BadScenario`, or `MechanismError` for a name that there is not."""
    trace = hashlib.sha256()

    def note(at_ms: int, who: str, what: str, particulars: str) -> None:
        trace.update(f"{at_ms} {who} {what} {particulars}\n".encode())
        if observe is not None:
            observe(at_ms, who, what, particulars)

    cluster: Cluster | None = None
    verdict, detail = Verdict.PASS, ""
    try:
        cluster = _made(scenario, note if observe is not None else None, allow)
        _play(cluster, scenario)
        cluster.check()
    except Diverged as error:
        verdict, detail = Verdict.DIVERGED, str(error)
    except Framed as error:
        verdict, detail = Verdict.FRAMED, str(error)
    except Broken as error:
        verdict, detail = Verdict.BROKEN, str(error)
    except _NoProgress as error:
        verdict, detail = Verdict.NO_PROGRESS, str(error)
    assert cluster is not None
    for height, payloads in sorted(cluster.chain.items()):
        trace.update(f"{height} {[payload.hex() for payload in payloads]}\n".encode())
    trace.update(f"{cluster.now} {cluster.count} {verdict}".encode())
    top = max(node.height for node in cluster.honest())
    guilty = _culprits(scenario, allow) if verdict is Verdict.DIVERGED else ()
    return Result(verdict, detail, top, cluster.now, trace.hexdigest(), guilty)


def evidence(
    scenario: Scenario, *, allow: Sequence[str] = ()
) -> tuple[Cluster, list[Signed[Message]]]:
    """What honest members received in this run, until it ended or forked."""
    cluster = _made(scenario, None, allow)
    records: list[Signed[Message]] = []
    cluster.record = records
    with contextlib.suppress(Diverged, Framed, Broken, _NoProgress):
        _play(cluster, scenario)
    return cluster, records


def _culprits(scenario: Scenario, allow: Sequence[str]) -> tuple[str, ...]:
    # Why again: runs are repeatable, and keeping everything would slow down all of them.
    _, records = evidence(scenario, allow=allow)
    return tuple(sorted(culprits(records)))


class _NoProgress(Exception):
    pass


def _made(scenario: Scenario, observe: Observer | None, allow: Sequence[str]) -> Cluster:
    choose = _Chosen(scenario.views) if scenario.views else None
    cluster = Cluster(
        scenario.nodes,
        scenario.seed,
        protocol=scenario.protocol,
        leader=scenario.leader,
        choose=choose,
        twins=scenario.twins,
        allow=allow,
        observe=observe,
        clocks=scenario.clocks,
        **scenario.options,
    )
    cluster.faulty |= {NodeId(name) for name in scenario.liars}
    for faulty in scenario.byzantine:
        behaviours = cluster.behaviours.setdefault(NodeId(faulty.node), [])
        behaviours.append(_behaviour(cluster, faulty))
    _set_rules(cluster, scenario)
    if scenario.views:
        cluster.passes = lambda one, other: _hears(scenario.views, one, other)
    for fault in scenario.round_faults:
        cluster.behaviours.setdefault(NodeId(fault.sender), []).append(_in_round(fault, scenario))
    return cluster


def _set_rules(cluster: Cluster, scenario: Scenario) -> None:
    kinds = {kind.__name__ for kind in get_args(cluster.protocol.module.Message)}
    for index, link in enumerate(scenario.links):
        for name in link.messages:
            if name not in kinds:
                raise BadScenario(
                    f"links[{index}]: {scenario.protocol} has no message {name!r}; "
                    f"it has {', '.join(sorted(kinds))}"
                )
        if link.cut and link.to_ms is not None:
            cluster.at(link.to_ms, partial(_reconnect, cluster))
    if scenario.links or scenario.regions is not None:
        rng = random.Random(f"network {scenario.seed}")  # noqa: S311 - repeatable
        cluster.network = Network(scenario.links, scenario.regions, rng)
    for clock in scenario.clocks:
        for jump in clock.jumps:
            cluster.at(jump.at_ms, partial(cluster.jump, clock.node, jump.by_ms))


def _reconnect(cluster: Cluster) -> None:
    """A cut has ended: peers find each other again."""
    for one, other in combinations(cluster.nodes.values(), 2):
        cluster.connect(one, other)


def _play(cluster: Cluster, scenario: Scenario) -> None:
    for event in sorted(scenario.events, key=lambda event: event.at_ms):
        cluster.run(max(0, event.at_ms - cluster.now))
        _happen(cluster, event)
    cluster.run(max(0, scenario.calm_ms - cluster.now))
    cluster.isolate.clear()
    cluster.loss = cluster.repeats = 0.0
    cluster.delay_ms = (1, 5)
    for key, node in cluster.nodes.items():
        node.die_after = None
        if node.paused is not None:
            cluster.resume(key)
        if node.protocol is None:
            cluster.start(key)
    cluster.heal()
    if cluster.network is not None:
        cluster.network.links = ()
        _reconnect(cluster)
    cluster.passes = lambda *_: True
    cluster.run(SETTLE_MS)
    honest = cluster.honest()
    before = max(node.height for node in honest)
    cluster.submit(LAST_TRANSACTIONS)
    done = cluster.run(
        scenario.progress_within_ms,
        lambda: all(node.height > before and not node.mempool for node in honest),
    )
    if not done and scenario.goes_on:
        raise _NoProgress(
            f"{scenario.progress_within_ms} ms after the calm: {cluster}, left to decide: "
            f"{sorted(set().union(*(node.mempool for node in honest)))[:10]}"
        )


def _happen(cluster: Cluster, event: AnyEvent) -> None:
    match event:
        case Submit(count=count, to=to):
            cluster.submit(count, *to)
        case Crash(node=name, after_outputs=after):
            node = cluster[name]
            if node.protocol is not None:
                node.die_after = node.done + after
        case Start(node=name):
            if cluster[name].protocol is None:
                cluster.start(name)
        case Restart(nodes=names):
            cluster.restart(*(names or cluster.nodes))
        case Pause(node=name):
            if cluster[name].protocol is not None and cluster[name].paused is None:
                cluster.pause(name)
        case Resume(node=name):
            if cluster[name].paused is not None:
                cluster.resume(name)
        case Partition(groups=groups):
            cluster.partition(*groups)
        case Heal():
            cluster.heal()
        case Isolate(height=height, for_ms=for_ms):
            cluster.isolate[height] = for_ms
        case Conditions(loss=loss, repeats=repeats, delay_ms=delay_ms):
            cluster.loss, cluster.repeats, cluster.delay_ms = loss, repeats, delay_ms


def _behaviour(cluster: Cluster, faulty: Faulty) -> Behaviour:
    try:
        module = import_module(f"simulation.byzantine.{faulty.behaviour}")
        create: Callable[[Cluster, Node], Behaviour] = module.create
    except (ModuleNotFoundError, AttributeError):
        raise BadScenario(
            f"there is no behaviour {faulty.behaviour!r}; see `assay sim behaviours`"
        ) from None
    inner = create(cluster, cluster[faulty.node])

    def behave(cluster: Cluster, node: Node, deliveries: list[Delivery]) -> list[Delivery]:
        if not faulty.from_height <= node.height <= faulty.until_height:
            return deliveries
        if cluster.random.random() >= faulty.probability:
            return deliveries
        return inner(cluster, node, deliveries)

    return behave


def _in_round(fault: RoundFault, scenario: Scenario) -> Behaviour:
    values = Values()

    def corrupted(cluster: Cluster, node: Node, message: Message) -> Message:
        match cluster.random.randrange(3):
            case 0:
                return altered(cluster, message)
            case 1:
                return mislabelled(cluster, message, values)
            case _:
                return fabricated(cluster, node, message, values)

    def behave(cluster: Cluster, node: Node, deliveries: list[Delivery]) -> list[Delivery]:
        if not fault.corrupt and cluster.now >= scenario.calm_ms:
            return deliveries
        kept = []
        for signed, to, late_ms in deliveries:
            if fault.corrupt:
                values.note(signed.message)
            slot = signed.message.slot()
            view = slot.view if slot is not None else node.view
            kinds = get_args(cluster.protocol.module.Message)
            other = fault.kind is not None and not isinstance(
                signed.message, kinds[fault.kind % len(kinds)]
            )
            if other or view != fault.view or to not in fault.receivers:
                kept.append((signed, to, late_ms))
            elif fault.corrupt and signed.author == node.name:
                lie = signed_by(cluster, node, corrupted(cluster, node, signed.message))
                kept.append((lie or signed, to, late_ms))
        return kept

    return behave


@dataclass(frozen=True, slots=True)
class _Chosen:
    """Leaders by view, as a Twins scenario says; by turns after it."""

    views: tuple[View, ...]

    def leader(self, committee: Committee, height: Height, view: ViewNumber) -> NodeId:  # noqa: ARG002 - the contract
        if view < len(self.views):
            return NodeId(self.views[view].leader)
        return committee.members[view % len(committee.members)]


_: type[Leader] = _Chosen


def _hears(views: tuple[View, ...], one: Node, other: Node) -> bool:
    """Whether the sender's view lets the receiver hear it."""
    view = one.view
    if view >= len(views):
        return True
    return any(one.key in group and other.key in group for group in views[view].groups)
