import json
import socket
import stat
from pathlib import Path

import pytest

from crypto.genesis import digest, from_json
from node import config as node_file
from node.home import Home
from storage.journal import Journal
from testnet import generate, manifest, ports
from testnet.errors import NotANetwork, PortsInUse, Unreachable, WrongUse
from testnet.keyring import read
from testnet.network import Testnet
from testnet.process import Life
from testnet.settings import Value


def test_a_network_has_the_layout_that_scripts_rely_on(made: Testnet) -> None:
    described = json.loads((made.directory / "testnet.json").read_text())
    assert [node["name"] for node in described["nodes"]] == ["v1", "v2", "v3", "v4"]
    for node in described["nodes"]:
        assert Path(node["home"]) == made.directory / node["name"]
        assert node["api"].startswith("http://127.0.0.1:")
        assert node["peer"].startswith("127.0.0.1:")
        assert node["pid"] is None
        assert (Path(node["home"]) / "node.toml").is_file()
    assert (made.directory / "genesis.json").is_file()


def test_every_home_has_the_same_genesis_and_its_own_keys(made: Testnet) -> None:
    shared = made.genesis_file.read_bytes()
    genesis = from_json(shared)
    assert made.manifest.genesis == digest(genesis).hex()
    for name, validator in zip(made.names(), genesis.validators, strict=True):
        home = Home(made.home(name))
        assert home.genesis.read_bytes() == shared
        assert validator.name == name
        assert read(home.validator_key).public_key == validator.public_key
        assert read(home.channel_key).public_key == validator.channel_key


def test_key_files_are_for_their_owner_alone(made: Testnet) -> None:
    files = [*made.directory.glob("*/keys/*.json"), *made.directory.glob("clients/*.json")]
    assert len(files) == 4 * 2 + generate.CLIENTS
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_a_new_validator_does_not_think_that_it_lost_its_journal(made: Testnet) -> None:
    genesis = digest(from_json(made.genesis_file.read_bytes()))
    for name in made.names():
        journal = Journal.open(Home(made.home(name)).journal, genesis)
        journal.close()
        assert not journal.fresh


def test_client_keys_are_listed_in_the_genesis(made: Testnet) -> None:
    genesis = from_json(made.genesis_file.read_bytes())
    listed = [key.hex() for key in genesis.clients]
    assert listed == [client.public_key for client in made.manifest.clients]
    assert made.wallet(0).public_key == genesis.clients[0]
    assert made.wallet(1).public_key == genesis.clients[1]
    with pytest.raises(WrongUse, match="4 client keys"):
        made.wallet(4)


def test_every_node_knows_where_the_others_are(made: Testnet) -> None:
    peers = {node.name: node.peer for node in made.manifest.nodes}
    for name in made.names():
        config = node_file.load(Home(made.home(name)).config)
        assert config.peers.addresses == {each: peers[each] for each in peers if each != name}
        assert config.listen.peer == peers[name]


def test_settings_reach_genesis_and_node_files(tmp_path: Path) -> None:
    settings: dict[str, Value] = {
        "hash": "blake3",
        "lab": True,
        "engine": "sqlite",
        "sync": False,
        "applications": "kv",
        "view_timeout_ms": 750,
        "block_transactions_max": 10,
        "chain": "mine",
    }
    made = Testnet.create(tmp_path / "net", 1, settings=settings)
    genesis = from_json(made.genesis_file.read_bytes())
    assert genesis.hash.name == "blake3"
    assert genesis.lab
    assert genesis.chain == "mine"
    assert [each.name for each in genesis.applications] == ["kv"]
    assert genesis.consensus.options == {"view_timeout_ms": 750}
    assert genesis.limits.block_transactions_max == 10
    config = node_file.load(Home(made.home("v1")).config)
    assert config.storage.engine == "sqlite"
    assert config.lab
    assert not config.storage.sync
    assert made.manifest.settings == settings


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"client_signature": "ed2551"}, "Did you mean"),
        ({"engine": "levelbd"}, "leveldb"),
        ({"hash": "md5"}, "sha256"),
        ({"applications": "kv,nothing"}, "payments"),
        ({"sync": False}, "--set lab=true"),
        ({"open_lab": True}, "--set lab=true"),
        ({"view_timeout_ms": "soon"}, "view_timeout_ms"),
        ({"block_bytes_max": 1}, "block_bytes_max"),
        ({"chain": "Not A Name"}, "chain"),
        ({"batch.delay_ms": -1}, "delay_ms"),
        ({"nonsense": 1}, "no such setting"),
    ],
)
def test_a_wrong_setting_is_refused_with_the_choices_and_leaves_nothing(
    tmp_path: Path, settings: dict[str, str | int | bool], words: str
) -> None:
    with pytest.raises(WrongUse, match=words):
        Testnet.create(tmp_path / "net", 4, settings=settings)
    assert not (tmp_path / "net").exists()


def test_no_two_networks_have_the_same_chain_or_keys(made: Testnet, tmp_path: Path) -> None:
    other = Testnet.create(tmp_path / "net", 1)
    assert other.manifest.genesis != made.manifest.genesis
    assert other.manifest.chain != made.manifest.chain


def test_a_second_network_in_one_directory_is_refused(made: Testnet) -> None:
    before = made.genesis_file.read_bytes()
    with pytest.raises(WrongUse, match="holds a network already"):
        Testnet.create(made.directory, 4)
    assert made.genesis_file.read_bytes() == before


def test_ports_in_use_are_found_before_anything_is_made(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind((ports.HOST, 0))
        taken.listen(1)
        base = taken.getsockname()[1] - 1
        with pytest.raises(PortsInUse, match=str(base + 1)):
            Testnet.create(tmp_path / "net", 1, base_port=base)
    assert not (tmp_path / "net").exists()


def test_a_directory_without_a_network_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(NotANetwork):
        Testnet(tmp_path)


def test_a_network_that_does_not_run_says_so(made: Testnet) -> None:
    state = made.status()
    assert [node.state for node in state.nodes] == [Life.DOWN] * 4
    assert {node.note for node in state.nodes} == {"not started"}
    assert not state.moves
    with pytest.raises(Unreachable, match="assay testnet up"):
        made.answering()


@pytest.mark.parametrize("act", ["kill", "pause", "resume", "stop_node"])
def test_what_needs_a_running_node_says_how_to_start_it(made: Testnet, act: str) -> None:
    with pytest.raises(WrongUse, match="assay testnet start v1"):
        getattr(made, act)("v1")
    with pytest.raises(WrongUse, match="v1 v2 v3 v4"):
        getattr(made, act)("v9")


def test_an_observer_has_a_home_and_no_vote(tmp_path: Path) -> None:
    made = Testnet.create(tmp_path / "net", 2)
    before = made.genesis_file.read_bytes()
    made.add_observer("watcher")
    home = Home(made.home("watcher"))
    config, _genesis = home.read()
    assert config.role == "observer"
    assert set(config.peers.addresses) == {"v1", "v2"}
    assert not home.validator_key.exists()
    assert made.genesis_file.read_bytes() == before
    assert made.manifest.quorum == 2
    assert made.names("validator") == ["v1", "v2"]
    for bad in ("watcher", "v1", "../up", ""):
        with pytest.raises(WrongUse):
            made.add_observer(bad)


def test_wiping_keeps_keys_and_configuration(tmp_path: Path) -> None:
    made = Testnet.create(tmp_path / "net", 1)
    home = Home(made.home("v1"))
    (home.data / "something").write_text("stored")
    key = home.validator_key.read_bytes()
    assert home.journal.exists()
    made.wipe("v1")
    assert list(home.data.iterdir()) == []
    assert not home.journal.exists()
    assert home.validator_key.read_bytes() == key
    assert home.config.is_file()


def test_a_directory_that_was_moved_is_found_where_it_is(tmp_path: Path) -> None:
    Testnet.create(tmp_path / "net", 1)
    (tmp_path / "net").rename(tmp_path / "moved")
    moved = Testnet(tmp_path / "moved")
    assert moved.home("v1") == tmp_path / "moved" / "v1"
    assert moved.wallet(0).public_key


def test_a_damaged_manifest_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / manifest.FILE).write_text("{")
    with pytest.raises(WrongUse):
        Testnet.create(tmp_path, 1)
    assert (tmp_path / manifest.FILE).read_text() == "{"
