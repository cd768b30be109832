import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Assay = Callable[..., Any]


def test_init_makes_a_network_once(assay: Assay, tmp_path: Path) -> None:
    words = ["testnet", "init", "--dir", tmp_path / "net", "--hosts", "a,b,c,d"]
    first = assay(*words, "--json")
    assert first.code == 0
    assert first.json["made"] is True
    assert [node["name"] for node in first.json["nodes"]] == ["v1", "v2", "v3", "v4"]
    second = assay(*words, "--json")
    assert second.code == 0
    assert second.json == {**first.json, "made": False}
    shown = assay("node", "show", "--home", tmp_path / "net" / "v2", "--json")
    assert shown.json["genesis"] == first.json["genesis"]
    assert shown.json["peer"] == "0.0.0.0:7202"


def test_init_takes_settings_and_ports(assay: Assay, tmp_path: Path) -> None:
    words = ["--hosts", "a", "--base-port", "9000", "--set", "hash=blake3"]
    assert assay("testnet", "init", "--dir", tmp_path / "net", *words).code == 0
    shown = assay("node", "show", "--home", tmp_path / "net" / "v1", "--json")
    assert shown.json["api"] == "http://0.0.0.0:9001"
    assert shown.json["mechanisms"]["hash"] == "blake3"


def test_the_genesis_names_the_faults_that_the_protocol_bears(assay: Assay, tmp_path: Path) -> None:
    for protocol, model in [("qbft", "byzantine"), ("solo", "none")]:
        folder = tmp_path / protocol
        words = ["--hosts", "a,b,c", "--set", f"consensus={protocol}"]
        made = assay("testnet", "init", "--dir", folder, *words)
        assert made.code == 0
        assert json.loads((folder / "genesis.json").read_text())["fault_model"] == model


def test_init_refuses_hosts_that_cannot_be(assay: Assay, tmp_path: Path) -> None:
    for hosts in ("", "a,,b", "a,a"):
        done = assay("testnet", "init", "--dir", tmp_path / "net", "--hosts", hosts)
        assert done.code == 2
        assert "--hosts" in done.err
    assert not (tmp_path / "net").exists()
