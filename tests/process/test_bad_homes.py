"""A home that cannot be used: the node does not start, exits with 3, and says what to do."""

import os
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import msgspec
import plyvel
import pytest

from crypto.genesis import from_json, to_json
from crypto.quorum import FaultModel
from node.home import Home
from testnet.network import Testnet
from testnet.process import ROOT
from tests.process.lab import Lab, wait_same_height
from tests.process.load import Load
from tests.process.stored import assert_nothing_lost, assert_one_chain

OLDER = "older"
"""In the directory of the grown network: what v1 had stored some blocks ago."""


def run(home: Path) -> "subprocess.CompletedProcess[str]":
    """`assay node run` of a home that it should refuse."""
    command = [sys.executable, "-m", "cli.main", "node", "run", "--home", str(home)]
    return subprocess.run(
        command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=30
    )


def refused(home: Path, *sentence: str) -> None:
    """Exit code 3 and, in one line, every part of `sentence`; no traceback."""
    done = run(home)
    said = done.stdout + done.stderr
    assert done.returncode == 3, said
    assert "Traceback" not in said
    assert any(all(part in line for part in sentence) for line in said.splitlines()), said


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Testnet:
    """A network that has blocks and is down; tests damage copies of its homes."""
    made = Lab(tmp_path_factory.mktemp("grown"), 0)
    net = made.network()
    try:
        net.start()
        with Load(net) as load:
            load.wait_more(20, 30)
        net.down()
        shutil.copytree(Home(net.home("v1")).data, net.directory / OLDER)
        net.start()
        with Load(net) as load:
            load.wait_more(100, 30)
        wait_same_height(net)
    finally:
        made.down()
    return net


@pytest.fixture
def home(grown: Testnet, tmp_path: Path) -> Home:
    """A copy of a home that has blocks."""
    return Home(Path(shutil.copytree(grown.home("v1"), tmp_path / "v1")))


def test_what_a_running_node_uses_is_refused_to_another_one(lab: Lab, tmp_path: Path) -> None:
    net = lab.running(1)
    home = Home(net.home("v1"))
    in_use = "is open in another process; stop that node first"
    refused(home.path, str(home.data), in_use)
    # Another data directory, and the same journal: what would sign twice.
    copy = Home(tmp_path / "copy")
    shutil.copytree(home.path, copy.path, ignore=shutil.ignore_patterns("data", "journal"))
    copy.journal.parent.symlink_to(home.journal.parent)
    refused(copy.path, "journal", in_use)
    # Nothing in common but the addresses.
    copy.journal.parent.unlink()
    refused(copy.path, "address", "is in use")
    assert net.client("v1").submit(
        net.wallet().sign("kv.set", "k", "v", expiry=500).raw, wait=True
    )["accepted"]


def test_a_data_directory_of_another_network_is_refused(lab: Lab, home: Home) -> None:
    other = Home(lab.network().home("v1"))
    shutil.rmtree(other.data)
    shutil.copytree(home.data, other.data)
    refused(other.path, "data directory belongs to another network than the genesis file")


def test_a_journal_of_another_network_is_refused(lab: Lab, home: Home) -> None:
    other = Home(lab.network().home("v1"))
    shutil.copy(home.journal, other.journal)
    refused(other.path, "belongs to another network than the genesis file")


def test_a_data_directory_that_is_something_else_is_refused(home: Home) -> None:
    for path in home.data.iterdir():
        path.unlink()
    (home.data / "CURRENT").write_text("a diary\n")
    refused(home.path, str(home.data), "corrupt")


def test_a_ledger_that_is_older_than_its_journal_is_refused(home: Home, grown: Testnet) -> None:
    shutil.rmtree(home.data)
    shutil.copytree(grown.directory / OLDER, home.data)
    refused(home.path, "is older than", "was attested", f"Empty {home.data}")


def test_the_advice_for_a_ledger_that_is_too_old_works(lab: Lab) -> None:
    net = lab.running()
    with Load(net) as load:
        load.wait_more(20, 30)
        net.stop_node("v4")
        home = Home(net.home("v4"))
        shutil.rmtree(home.data)
        home.data.mkdir()
        net.start_node("v4")
        net.wait_answer("v4")
        load.wait_more(20, 30)
        wait_same_height(net)
        net.kill("v2")  # from here on, v4 has to vote
        load.wait_more(20, 30)
    wait_same_height(net)
    net.down()
    assert_one_chain(net)
    assert_nothing_lost(net, load.acknowledged, ["v1", "v3", "v4"])


def test_a_truncated_table_of_the_store_is_refused(home: Home) -> None:
    # Opening and closing a store makes tables of its log.
    plyvel.DB(str(home.data)).close()
    tables = sorted(home.data.glob("*.ldb"))
    assert tables
    for table in tables:
        os.truncate(table, table.stat().st_size // 2)
    refused(home.path, "corrupt", "assay node fsck")


def test_a_missing_file_of_the_store_is_refused(home: Home) -> None:
    next(home.data.glob("MANIFEST-*")).unlink()
    refused(home.path, str(home.data), "corrupt")


def test_damage_in_the_middle_of_the_journal_is_refused(home: Home) -> None:
    raw = bytearray(home.journal.read_bytes())
    raw[len(raw) // 2] ^= 0xFF
    home.journal.write_bytes(raw)
    refused(home.path, "is corrupt at byte", "assay node fsck")


def test_a_torn_end_of_the_journal_is_cut_off_and_the_node_runs(lab: Lab) -> None:
    net = lab.running(1)
    with Load(net) as load:
        load.wait_more(20, 30)
    net.kill("v1")
    journal = Home(net.home("v1")).journal
    whole = journal.read_bytes()
    # The last record again, of which the crash left a part.
    salt = whole[16:24]
    last = whole[whole.rindex(salt) :]
    number = int.from_bytes(last[8:16]) + 1
    head = salt + number.to_bytes(8) + last[16:24]
    torn = head + zlib.crc32(head).to_bytes(4) + last[28:-1]
    journal.write_bytes(whole + torn)
    net.start()
    with Load(net) as more:
        more.wait_more(20, 30)
    net.down()
    assert journal.read_bytes().startswith(whole)
    assert_nothing_lost(net, [*load.acknowledged, *more.acknowledged])


def test_a_key_file_that_others_can_read_is_refused(home: Home) -> None:
    home.validator_key.chmod(0o644)
    refused(home.path, "can be read by others (mode 644)", f"chmod 600 {home.validator_key}")


def test_the_key_of_another_validator_is_refused(home: Home, grown: Testnet) -> None:
    home.validator_key.unlink()
    shutil.copy(Home(grown.home("v2")).validator_key, home.validator_key)
    refused(home.path, "is not the key that the genesis file names for v1")


def test_a_missing_key_file_is_refused(home: Home) -> None:
    home.channel_key.unlink()
    refused(home.path, "no such key file")


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        ('role = "validator"', 'role = "emperor"', "choose validator or observer"),
        ('name = "v1"', 'name = "v9"', "the validators of the genesis file are"),
        ('name = "v1"', "name = ", "node.toml"),
        ("lab = true", "lab = false", "needs lab = true"),
        ('engine = "leveldb"', 'engine = "levelbd"', "leveldb"),
    ],
)
def test_a_node_file_that_cannot_be_used_is_refused(
    home: Home, before: str, after: str, sentence: str
) -> None:
    text = home.config.read_text()
    assert before in text
    home.config.write_text(text.replace(before, after, 1))
    refused(home.path, sentence)


def test_a_damaged_genesis_file_is_refused(home: Home) -> None:
    raw = home.genesis.read_bytes()
    assert from_json(raw)
    home.genesis.write_bytes(raw[: len(raw) // 2])
    refused(home.path, str(home.genesis), "not a genesis file")


def test_a_genesis_that_promises_other_faults_than_its_protocol_bears_is_refused(
    home: Home,
) -> None:
    genesis = from_json(home.genesis.read_bytes())
    changed = msgspec.structs.replace(genesis, fault_model=FaultModel.CRASH)
    home.genesis.write_bytes(to_json(changed))
    refused(home.path, "fault_model is crash, but pbft bears byzantine faults")


def test_a_home_that_is_not_there_is_refused(tmp_path: Path) -> None:
    refused(tmp_path / "nowhere", "no such directory; make it with `assay node init`")
