from pathlib import Path

import pytest

from benchmarks import cores, verify_limit
from benchmarks.figures import NothingMeasured
from benchmarks.workload import Workload
from crypto.transaction import signed_transactions
from node.ingress import CHUNK
from testnet.errors import WrongUse
from testnet.network import Testnet


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Testnet:
    return Testnet.create(tmp_path_factory.mktemp("limit") / "net", 1, clients=3)


@pytest.fixture(scope="module")
def workload(network: Testnet) -> Workload:
    return Workload([network.wallet(position) for position in range(3)], 256, seed=7)


def test_chunks_are_as_large_as_a_nodes() -> None:
    assert verify_limit.CHUNK == CHUNK


def test_every_core_is_measured(network: Testnet, workload: Workload) -> None:
    raws = [raw for batch in workload.batches(100, 50, expiry=9) for raw in batch.raws]
    held = cores.allowed()[:2]
    rates = verify_limit.measure(network.genesis_file, raws, held, 0.1)
    assert len(rates) == len(held)
    for rate in rates:
        assert rate.per_s > 100
        assert 0 < rate.core_share <= 1.05
        assert rate.cpu_us == pytest.approx(1e6 * rate.core_share / rate.per_s)


def test_a_workload_with_a_bad_signature_is_no_measurement(
    network: Testnet, workload: Workload
) -> None:
    raw = bytearray(workload.batches(1, 1, expiry=9)[0].raws[0])
    raw[-1] ^= 1
    with pytest.raises(NothingMeasured):
        verify_limit.measure(network.genesis_file, [bytes(raw)], cores.allowed()[:1], 0.1)


def test_transactions_have_exactly_the_size_and_are_all_different(workload: Workload) -> None:
    batches = workload.batches(40, 8, expiry=100)
    assert len(batches) == 5
    raws = [raw for batch in batches for raw in batch.raws]
    assert {len(raw) for raw in raws} == {256}
    assert len({identity for batch in batches for identity in batch.ids}) == 40
    transactions = [signed_transactions.decode(raw).transaction for raw in raws]
    assert len({each.sender for each in transactions}) == 3
    assert {each.method for each in transactions} == {"kv.set"}


def test_the_seed_decides_what_is_written(network: Testnet) -> None:
    def written(seed: int) -> list[object]:
        made = Workload([network.wallet(0)], 256, seed).batches(5, 5, expiry=9)
        return [signed_transactions.decode(raw).transaction for raw in made[0].raws]

    assert written(1) == written(1) != written(2)


def test_a_size_that_no_transaction_has_is_refused(network: Testnet) -> None:
    with pytest.raises(WrongUse, match="has 100 bytes"):
        Workload([network.wallet(0)], 100, 1).batches(1, 1, expiry=9)


def test_cores_that_are_not_ours_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NothingMeasured, match="cannot be used"):
        cores.choose(2, [100_000])
    with pytest.raises(NothingMeasured, match="--cores"):
        cores.choose(100_000)
    assert cores.choose(1, cores.allowed()[:1]) == cores.allowed()[:1]
