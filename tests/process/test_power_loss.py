"""Power loss: what was not synced when the machine stopped is gone, and nobody can tell.

Nodes run on a disk that keeps only what was synced (`tests/powerloss`). All are killed at once
under load, their files are replaced by the durable images, and they start again.
"""

from pathlib import Path

import pytest

from testnet.network import Testnet
from tests.powerloss.powerloss import Disk
from tests.process.lab import Lab, wait_same_height
from tests.process.load import Acknowledged, Load
from tests.process.stored import assert_nothing_lost, assert_one_chain, ledger
from tests.process.test_crashes import fsck


def folders(net: Testnet) -> list[Path]:
    """What a node needs after a power loss: ledger and journal. Keys and recordings stay."""
    return [net.home(name) / part for name in net.names() for part in ("data", "journal")]


def cut_power_under_load(net: Testnet, disk: Disk) -> list[Acknowledged]:
    """Start, load, kill everything at once; what clients had been told by then."""
    disk.keep(folders(net))
    powered = Testnet(net.directory, env=disk.environment())
    powered.start()
    with Load(powered, threads=4) as load:
        load.wait_more(150, 60)
        for name in powered.names():
            powered.kill(name)
    disk.lose_power(folders(net))
    return load.acknowledged


def test_a_power_loss_of_all_validators_loses_nothing_and_contradicts_nothing(lab: Lab) -> None:
    net = lab.network()
    disk = Disk.under(net.directory, lab.folder / "disk")
    told = cut_power_under_load(net, disk)
    powered = Testnet(net.directory, env=disk.environment())
    powered.start()
    with Load(powered, threads=2) as load:
        load.wait_more(30, 60)
    wait_same_height(powered)
    powered.down()
    assert_one_chain(net)
    assert_nothing_lost(net, told + load.acknowledged)
    for name in net.names():
        done = fsck(net, name)
        assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}"
    # That no vote was contradicted is looked up in what the nodes recorded, when the test ends.


def test_with_sync_off_the_same_power_loss_loses_what_was_acknowledged(lab: Lab) -> None:
    net = lab.network(storage__sync=False)
    disk = Disk.under(net.directory, lab.folder / "disk")
    told = cut_power_under_load(net, disk)
    assert told
    for name in net.names():
        with ledger(net, name) as opened:
            assert opened.height < max(each.height for each in told)
    with pytest.raises(AssertionError):
        assert_nothing_lost(net, told)
