"""Runs a scenario with whole nodes: the same file, the same verdicts, the other depth.

What has no counterpart there is refused by name: a liar that changes messages, twins, faults that
are bound to views or to outputs, and messages that a connection cannot lose or repeat.
"""

import tempfile
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

from crypto.certificate import InvalidCertificate, check_subject, verify_certificate
from crypto.genesis import digest
from crypto.interface import SignatureScheme
from mechanisms.registry import Kind, create
from node.logs import Log
from simulation.run import LAST_TRANSACTIONS, SETTLE_MS, Result, Verdict
from simulation.scenario import (
    AnyEvent,
    BadScenario,
    Conditions,
    Crash,
    Heal,
    Partition,
    Restart,
    Scenario,
    Start,
    Submit,
)
from simulation.whole_cluster import Fault, Member, WholeCluster, heights

SILENT = "silent"


def run(scenario: Scenario, log: Log) -> Result:
    """Run it to its end. Raises `BadScenario` for what whole nodes cannot do."""
    refused = next(iter(_refusals(scenario)), None)
    if refused is not None:
        raise BadScenario(f"{scenario.name or 'the scenario'}: {refused}; leave --depth whole out")
    with (
        tempfile.TemporaryDirectory(prefix="assay-sim-") as folder,
        WholeCluster(
            Path(folder) / "net",
            log=log,
            nodes=scenario.nodes,
            seed=scenario.seed,
            protocol=scenario.protocol,
            leader=scenario.leader,
            options=scenario.options,
        ) as cluster,
    ):
        verdict, detail = Verdict.PASS, ""
        began = cluster.loop.time()
        try:
            _play(cluster, scenario, began)
            cluster.check()
            check_certificates(cluster)
        except _NoProgress as error:
            verdict, detail = Verdict.NO_PROGRESS, str(error)
        except (AssertionError, InvalidCertificate) as error:
            verdict, detail = Verdict.DIVERGED, str(error)
        except Fault as error:
            verdict, detail = Verdict.BROKEN, f"{error}: {error.__cause__}"
        top = max(heights(cluster.running()), default=0)
        return Result(
            verdict, detail, top, round((cluster.loop.time() - began) * 1000), _fingerprint(cluster)
        )


def check_certificates(cluster: WholeCluster) -> None:
    """Of every height that a node calls certified. Raises `InvalidCertificate`."""
    genesis = cluster.genesis
    scheme: SignatureScheme = create(
        Kind.SIGNATURE, genesis.validator_signature.name, {}, lab=False
    )
    keys = [item.public_key for item in genesis.validators]
    for member in cluster.running():
        assert member.assembled is not None
        ledger = member.assembled.node.ledger
        for height in range(1, ledger.certified + 1):
            certificate = ledger.certificate(height)
            if certificate is None:
                raise InvalidCertificate(f"{member.name}: height {height} has none")
            check_subject(certificate, height, ledger.header_digest(height))
            verify_certificate(certificate, keys, genesis.quorum, digest(genesis), scheme)


class _NoProgress(Exception):
    pass


def _refusals(scenario: Scenario) -> Iterator[str]:
    for liar in scenario.byzantine:
        if liar.behaviour != SILENT or liar.probability < 1 or liar.from_height:
            yield f"whole nodes do not lie ({liar.node}: {liar.behaviour})"
    if scenario.twins or scenario.views:
        yield "whole nodes have no twins"
    if scenario.round_faults:
        yield "faults of a view are for protocols alone"
    if scenario.links or scenario.regions or scenario.clocks:
        yield "rules of links, regions and clocks are for protocols alone"
    for event in scenario.events:
        match event:
            case Crash(after_outputs=after) if after:
                yield "a whole node dies at once, not after_outputs"
            case Conditions(loss=loss, repeats=repeats) if loss or repeats:
                yield "a connection neither loses nor repeats"
            case Submit() | Crash() | Start() | Restart() | Partition() | Heal() | Conditions():
                continue
            case _:
                yield f"whole nodes know no {type(event).__name__.lower()}"


def _play(cluster: WholeCluster, scenario: Scenario, began: float) -> None:
    def until(at_ms: int) -> None:
        cluster.run(max(0.0, at_ms - (cluster.loop.time() - began) * 1000))

    for liar in scenario.byzantine:
        for other in cluster.members:
            if other != liar.node:
                cluster.hold(liar.node, other)
    cluster.start()
    for event in sorted(scenario.events, key=lambda event: event.at_ms):
        until(event.at_ms)
        _happen(cluster, event)
    until(scenario.calm_ms)
    _partition(cluster, (tuple(cluster.members),))
    cluster.start()
    cluster.delay_ms = (1, 5)
    cluster.run(SETTLE_MS)
    honest = [each for each in cluster.running() if each.name not in scenario.liars]
    before, known = max(heights(honest)), len(cluster.acknowledged)
    cluster.submit(LAST_TRANSACTIONS, honest[0].name)
    done = cluster.run(
        scenario.progress_within_ms,
        lambda: (
            min(heights(honest)) > before
            and len(cluster.acknowledged) >= known + LAST_TRANSACTIONS
            and not any(_waits(member) for member in honest)
        ),
    )
    if not done and scenario.goes_on:
        told = ", ".join(
            f"{member.name}: height {member.height}, {_waits(member)} wait" for member in honest
        )
        raise _NoProgress(f"{scenario.progress_within_ms} ms after the calm: {told}")


def _waits(member: Member) -> int:
    return member.assembled.node.mempool.count if member.assembled is not None else 0


def _happen(cluster: WholeCluster, event: AnyEvent) -> None:
    match event:
        case Submit(count=count, to=to):
            for member in cluster.running():
                if not to or member.name in to:
                    # Clients of whole nodes ask one of them; it tells the others.
                    cluster.submit(count, member.name)
                    break
        case Crash(node=name):
            cluster.crash(name)
        case Start(node=name):
            if cluster[name].assembled is None:
                cluster.start(name)
        case Restart(nodes=names):
            chosen = names or tuple(cluster.members)
            cluster.crash(*chosen)
            cluster.start(*chosen)
        case Partition(groups=groups):
            _partition(cluster, groups)
        case Heal():
            _partition(cluster, (tuple(cluster.members),))
        case Conditions(delay_ms=delay_ms):
            cluster.delay_ms = delay_ms
        case _:
            raise AssertionError(f"{event} was refused before")


def _partition(cluster: WholeCluster, groups: tuple[tuple[str, ...], ...]) -> None:
    """Connections between groups end; those within one are there."""
    for one, other in combinations(cluster.members, 2):
        if any(one in group and other in group for group in groups):
            cluster.mend(one, other)
        else:
            cluster.cut(one, other)


def _fingerprint(cluster: WholeCluster) -> str:
    """The header of the highest block that a running node has."""
    best = max(cluster.running(), key=lambda member: member.height, default=None)
    if best is None or best.assembled is None:
        return ""
    return best.assembled.node.chain.header.hex()
