"""A home that cannot be used: the node does not start, exits with 3, and says what to do."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import plyvel
import pytest

from crypto.genesis import from_json
from node.home import Home
from testnet.network import Testnet
from testnet.process import ROOT
from tests.process.lab import Lab, wait_same_height
from tests.process.load import Load

BLOCKS = 20


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
            while load.acknowledged == [] or load.acknowledged[-1].height < BLOCKS:
                load.wait_more(1, 30)
        wait_same_height(net)
    finally:
        made.down()
    return net


@pytest.fixture
def home(grown: Testnet, tmp_path: Path) -> Home:
    """A copy of a home that has blocks."""
    return Home(Path(shutil.copytree(grown.home("v1"), tmp_path / "v1")))


def test_a_data_directory_that_is_in_use_is_refused(lab: Lab) -> None:
    net = lab.running()
    refused(net.home("v1"), "is open in another process; stop that node first")
    assert net.client("v1").status()["height"] >= 1


def test_a_journal_that_is_in_use_is_refused(lab: Lab) -> None:
    net = lab.running()
    home = Home(net.home("v1"))
    shutil.rmtree(copy := home.path.parent / "copy", ignore_errors=True)
    shutil.copytree(home.path, copy, ignore=shutil.ignore_patterns("data", "journal"))
    os.symlink(home.journal.parent, copy / "journal")
    refused(copy, "journal", "is open in another process; stop that node first")


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


def test_a_ledger_that_is_older_than_its_journal_is_refused(home: Home) -> None:
    shutil.rmtree(home.data)
    home.data.mkdir()
    refused(home.path, "is older than", "was attested", "Empty")


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
    net = lab.running()
    with Load(net) as load:
        load.wait_more(20, 30)
    net.down()
    home = Home(net.home("v1"))
    raw = home.journal.read_bytes()
    home.journal.write_bytes(raw + raw[-40:-3])
    net.start()
    net.wait_answer("v1")
    with Load(net) as load:
        load.wait_more(20, 30)


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


def test_a_home_that_is_not_there_is_refused(tmp_path: Path) -> None:
    refused(tmp_path / "nowhere", "no such directory; make it with `assay node init`")


def test_a_port_that_is_taken_is_refused(lab: Lab, tmp_path: Path) -> None:
    net = lab.network(1)
    net.start()
    home = Home(Path(shutil.copytree(net.home("v1"), tmp_path / "copy")))
    shutil.rmtree(home.data)
    shutil.rmtree(home.journal.parent)
    home.data.mkdir()
    home.journal.parent.mkdir()
    refused(home.path, net.manifest.node("v1").peer.split(":")[1])
