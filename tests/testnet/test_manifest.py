import json
from pathlib import Path

import msgspec
import pytest

from testnet import manifest
from testnet.errors import NotANetwork, WrongUse
from testnet.manifest import ClientEntry, Manifest, NodeEntry


def node(name: str, position: int = 0) -> NodeEntry:
    return NodeEntry(
        name=name,
        role="validator",
        position=position,
        home=f"/networks/{name}",
        api="http://127.0.0.1:7101",
        peer="127.0.0.1:7201",
        admin="127.0.0.1:7301",
    )


def network(*nodes: NodeEntry) -> Manifest:
    return Manifest(
        chain="assay-test",
        genesis="ab" * 32,
        created_ms=1,
        base_port=7100,
        settings={"lab": True, "hash": "blake3"},
        engine="leveldb",
        quorum=1,
        nodes=nodes,
        clients=(ClientEntry(name="c1", public_key="cd" * 32, key="clients/c1.json"),),
    )


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    saved = network(node("v1"), node("v2", 1))
    manifest.save(tmp_path, saved)
    assert manifest.load(tmp_path) == saved


def test_scripts_find_the_fields_they_rely_on(tmp_path: Path) -> None:
    manifest.save(tmp_path, network(node("v1")))
    entry = json.loads((tmp_path / "testnet.json").read_text())["nodes"][0]
    assert {"name", "home", "pid", "api", "peer"} <= set(entry)
    assert entry["pid"] is None


def test_saving_leaves_nothing_but_the_file(tmp_path: Path) -> None:
    manifest.save(tmp_path, network(node("v1")))
    manifest.save(tmp_path, network(node("v2")))
    assert [path.name for path in tmp_path.iterdir()] == ["testnet.json"]


def test_a_directory_without_a_network_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(NotANetwork, match="assay testnet up --dir"):
        manifest.load(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 1}', "\xff"])
def test_a_damaged_file_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "testnet.json").write_text(content, encoding="latin-1")
    with pytest.raises(NotANetwork, match=r"testnet\.json"):
        manifest.load(tmp_path)


def test_a_foreign_format_is_refused(tmp_path: Path) -> None:
    manifest.save(tmp_path, network(node("v1")))
    path = tmp_path / "testnet.json"
    path.write_text(path.read_text().replace('"format": 1', '"format": 9'))
    with pytest.raises(NotANetwork, match="format 9"):
        manifest.load(tmp_path)


def test_an_unknown_node_is_refused_with_the_names() -> None:
    with pytest.raises(WrongUse, match="v1 v2"):
        network(node("v1"), node("v2", 1)).node("v3")


def test_a_changed_node_keeps_its_place() -> None:
    changed = msgspec.structs.replace(node("v1"), pid=42, started=1.0)
    after = network(node("v1"), node("v2", 1)).with_node(changed)
    assert [entry.name for entry in after.nodes] == ["v1", "v2"]
    assert after.node("v1").process is not None
    assert after.node("v2").process is None
