from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from node.home import Home
from testnet.network import Testnet
from testnet.wallet import Wallet

Assay = Callable[..., Any]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Testnet:
    return Testnet.create(tmp_path_factory.mktemp("node") / "net", 4)


def test_a_network_of_one_is_made_with_a_client_key(assay: Assay, tmp_path: Path) -> None:
    home = tmp_path / "solo"
    done = assay("node", "init", "--home", home, "--json")
    assert done.code == 0
    assert done.json["name"] == "v1"
    assert done.json["role"] == "validator"
    assert done.json["validators"] == ["v1"]
    _config, genesis = Home(home).read()
    wallet = Wallet.load(home / "genesis.json", home / "clients" / "c1.json")
    assert list(genesis.clients) == [wallet.public_key]
    assert assay("node", "show", "--home", home, "--json").json == done.json


def test_a_home_is_not_made_twice(assay: Assay, tmp_path: Path) -> None:
    home = tmp_path / "solo"
    assay("node", "init", "--home", home)
    before = (home / "genesis.json").read_bytes()
    done = assay("node", "init", "--home", home)
    assert done.code == 3
    assert "home already" in done.err
    assert (home / "genesis.json").read_bytes() == before


def test_an_observer_joins_with_the_genesis_alone(
    assay: Assay, tmp_path: Path, network: Testnet
) -> None:
    home = tmp_path / "watcher"
    words = ["--name", "watcher", "--genesis", network.genesis_file, "--api", "127.0.0.1:9101"]
    peers = ["--peers", "v1=127.0.0.1:7201", "--peers", "v2=127.0.0.1:7202"]
    done = assay("node", "init", "--observer", "--home", home, *words, *peers, "--json")
    assert done.code == 0
    assert done.json["role"] == "observer"
    assert done.json["genesis"] == network.manifest.genesis
    assert set(done.json["keys"]) == {"channel"}
    config, _genesis = Home(home).read()
    assert config.peers.addresses == {"v1": "127.0.0.1:7201", "v2": "127.0.0.1:7202"}
    assert config.listen.api == "127.0.0.1:9101"


def test_a_validator_joins_with_the_keys_that_the_genesis_lists(
    assay: Assay, tmp_path: Path, network: Testnet
) -> None:
    keys = Home(network.home("v2"))
    words = ["--genesis", network.genesis_file, "--channel-key", keys.channel_key]
    signing = ["--validator-key", keys.validator_key]
    wrong = assay("node", "init", "--home", tmp_path / "a", "--name", "v3", *words, *signing)
    assert wrong.code == 2
    assert "lists another" in wrong.err
    assert not (tmp_path / "a").exists()
    missing = assay("node", "init", "--home", tmp_path / "a", "--name", "v2", *words)
    assert missing.code == 2
    assert "--validator-key" in missing.err
    good = assay("node", "init", "--home", tmp_path / "b", "--name", "v2", *words, *signing)
    assert good.code == 0


@pytest.mark.parametrize(
    "words",
    [
        ["--observer"],
        ["--api", "nowhere"],
        ["--peers", "v1"],
        ["--set", "nonsense=1"],
        ["--set", "sync=false"],
    ],
    ids=" ".join,
)
def test_wrong_words_make_no_home(assay: Assay, tmp_path: Path, words: list[str]) -> None:
    done = assay("node", "init", "--home", tmp_path / "home", *words)
    assert done.code in (2, 3)
    assert "Traceback" not in done.err
    assert not (tmp_path / "home").exists()


def test_only_what_is_local_can_be_set_when_joining(
    assay: Assay, tmp_path: Path, network: Testnet
) -> None:
    words = ["--observer", "--genesis", network.genesis_file, "--home"]
    done = assay("node", "init", *words, tmp_path / "a", "--set", "hash=blake3")
    assert done.code == 2
    assert not (tmp_path / "a").exists()
    done = assay("node", "init", *words, tmp_path / "b", "--set", "engine=sqlite", "--json")
    assert done.json["engine"] == "sqlite"


@pytest.mark.parametrize("command", ["show", "run", "fsck"])
def test_a_home_that_is_none_is_3_with_the_remedy(
    assay_process: Assay, tmp_path: Path, command: str
) -> None:
    done = assay_process("node", command, "--home", tmp_path / "none")
    assert done.code == 3
    assert "assay node init" in done.err
    assert "Traceback" not in done.err
