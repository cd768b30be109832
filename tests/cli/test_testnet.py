import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from testnet.network import Testnet

Assay = Callable[..., Any]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Testnet:
    return Testnet.create(tmp_path_factory.mktemp("cli") / "net", 4, settings={"lab": True})


def test_status_of_a_network_that_is_down_is_told(assay: Assay, network: Testnet) -> None:
    done = assay("testnet", "status", "--dir", network.directory, "--json")
    assert done.code == 0
    fields = {"name", "running", "height", "view", "leader", "state_root", "peers"}
    assert [node["name"] for node in done.json["nodes"]] == ["v1", "v2", "v3", "v4"]
    assert all(fields <= set(node) for node in done.json["nodes"])
    assert not any(node["running"] for node in done.json["nodes"])
    table = assay("testnet", "status", "--dir", network.directory).out
    assert table.splitlines()[0].split() == (
        ["name", "state", "height", "view", "leader", "peers", "mempool", "state", "root"]
    )
    assert "No validator runs." in table


def test_down_of_what_is_down_is_done(assay: Assay, network: Testnet) -> None:
    done = assay("testnet", "down", "--dir", network.directory, "--json")
    assert done.code == 0
    assert done.json["killed"] == []


@pytest.mark.parametrize("command", ["kill", "pause", "resume", "stop"])
def test_what_needs_a_running_node_is_2(assay: Assay, network: Testnet, command: str) -> None:
    done = assay("testnet", command, "v1", "--dir", network.directory)
    assert done.code == 2
    assert "is not running" in done.err
    done = assay("testnet", command, "v9", "--dir", network.directory)
    assert done.code == 2
    assert "v1 v2 v3 v4" in done.err


@pytest.mark.parametrize(
    "words",
    [
        ["--nodes", "7"],
        ["--base-port", "9000"],
        ["--set", "hash=blake3"],
        ["--set", "lab=false"],
    ],
    ids=" ".join,
)
def test_a_network_that_exists_is_not_made_anew(
    assay: Assay, network: Testnet, words: list[str]
) -> None:
    done = assay("testnet", "up", "--dir", network.directory, "--detach", *words)
    assert done.code == 2


@pytest.mark.parametrize(
    ("setting", "hint"),
    [
        ("client_signature=ed2551", "Did you mean ed25519?"),
        ("nonsense=1", "There are: "),
        ("hash", "KEY=VALUE"),
        ("sync=false", "--set lab=true"),
    ],
)
def test_a_wrong_setting_is_2_and_leaves_nothing(
    assay: Assay, tmp_path: Path, setting: str, hint: str
) -> None:
    done = assay("testnet", "up", "--dir", tmp_path / "net", "--set", setting)
    assert done.code == 2
    assert hint in done.err
    assert not (tmp_path / "net").exists()


def test_ports_in_use_are_3_and_leave_nothing(assay: Assay, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen(1)
        port = taken.getsockname()[1]
        directory = tmp_path / "net"
        words = ["--dir", directory, "--nodes", 1, "--base-port", port - 1, "--json"]
        done = assay("testnet", "up", *words)
    assert done.code == 3
    assert done.json["error"]["code"] == "ports_in_use"
    assert str(port) in done.err
    assert not (tmp_path / "net").exists()


def test_watching_has_no_end_and_so_no_object(assay: Assay, network: Testnet) -> None:
    done = assay("testnet", "status", "--dir", network.directory, "--watch", "--json")
    assert done.code == 2
    done = assay("testnet", "logs", "v1", "--dir", network.directory, "--follow", "--json")
    assert done.code == 2


def test_logs_of_a_node_that_never_ran_are_empty(assay: Assay, network: Testnet) -> None:
    done = assay("testnet", "logs", "v1", "--dir", network.directory, "--json")
    assert done.code == 0
    assert done.json["lines"] == []
