"""A node whose result is another than the others': it stops before it does harm, and says why."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from crypto.certificate import Attestation
from crypto.encoding import encode
from crypto.header import attestation_statement
from crypto.interface import Digest, NodeId
from node.executor import Diverged
from node.wire import Attestations
from simulation.whole_cluster import Fault, WholeCluster, heights
from storage.checksum import with_checksum, without_checksum
from storage.state import STATE

if TYPE_CHECKING:
    from tests.node.conftest import Attacked

Make = Callable[..., WholeCluster]
OTHER = Digest(b"\x01" * 32)


def grown(make_cluster: Make) -> WholeCluster:
    """Four nodes that have written every key of the simulation."""
    cluster = make_cluster()
    cluster.start()
    assert cluster.run(60_000, lambda: min(heights(cluster.running())) >= 1)
    commit(cluster, 300)
    return cluster


def commit(cluster: WholeCluster, count: int) -> None:
    wanted = len(cluster.acknowledged) + count
    cluster.submit(count, "v1")
    done = cluster.run(
        60_000,
        lambda: len(cluster.acknowledged) >= wanted and len(set(heights(cluster.running()))) == 1,
    )
    assert done, (len(cluster.acknowledged), wanted, heights(cluster.running()))


def change_one_byte(cluster: WholeCluster, name: str) -> None:
    """In every value of the state, under a checksum that fits: as faulty code would leave it."""
    disk = cluster[name].disk
    changed: dict[bytes, bytes | None] = {}
    for key, raw in disk.read().items():
        if key.startswith(STATE):
            value = without_checksum(raw, "value")
            changed[key] = with_checksum(value[:-1] + bytes([value[-1] ^ 1]))
    assert changed
    disk.write(changed, sync=True)


def until_it_stops(cluster: WholeCluster, name: str) -> Exception:
    """What ended this node, and nobody else."""
    cluster.submit(100, "v1")
    with pytest.raises(Fault, match=f"{name} ended") as fault:
        cluster.run(60_000)
    cause = fault.value.__cause__
    while isinstance(cause, ExceptionGroup):
        [cause] = cause.exceptions
    assert isinstance(cause, Exception)
    return cause


def test_a_ledger_that_differs_by_one_byte_stops_its_node_and_no_other(make_cluster: Make) -> None:
    cluster = grown(make_cluster)
    cluster.crash("v3")
    change_one_byte(cluster, "v3")
    cluster.start("v3")
    stopped = until_it_stops(cluster, "v3")
    assert isinstance(stopped, Diverged)
    assert "height" in str(stopped)
    assert "rebuild this node from its peers" in str(stopped)
    cluster.crash("v3")
    commit(cluster, 5)
    cluster.check()
    # The advice works.
    cluster["v3"].disk.wipe()
    cluster.start("v3")
    commit(cluster, 5)
    cluster.check()


def test_a_node_that_diverges_while_it_catches_up_stores_nothing_false(make_cluster: Make) -> None:
    cluster = grown(make_cluster)
    cluster.crash("v3")
    change_one_byte(cluster, "v3")
    height = max(heights(cluster.running()))
    for _ in range(70):
        commit(cluster, 5)
    cluster.start("v3")
    stopped = until_it_stops(cluster, "v3")
    assert isinstance(stopped, Diverged)
    assert "computed other state_root than the quorum attested" in str(stopped)
    cluster.check()
    assert cluster["v3"].height >= height


def attest(attacked: "Attacked", height: int, *names: str) -> None:
    """Attestations of a header that nobody computed."""
    statement = attestation_statement(OTHER, attacked.network)
    members = list(attacked.cluster.members)
    attacked.tell(
        encode(
            Attestations(
                tuple(
                    Attestation(
                        height,
                        OTHER,
                        members.index(NodeId(name)),
                        attacked.key(name).sign(statement),
                    )
                    for name in names
                )
            )
        )
    )


def test_f_attestations_of_another_header_stop_nobody_and_f_plus_1_do(attacked: "Attacked") -> None:
    attest(attacked, attacked.next, "v4")
    attacked.goes_on()
    attest(attacked, attacked.next, "v3", "v4")
    assert isinstance(until_it_stops(attacked.cluster, "v2"), Diverged)
