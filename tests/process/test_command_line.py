"""The contract with scripts, on a network of real processes and through the command line alone."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from cli import main

pytestmark = pytest.mark.process
ROOT = Path(main.__file__).resolve().parent.parent
TIMEOUT_S = 120


@dataclass(frozen=True, slots=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(self.out)
        assert self.out.count("\n") == 1
        return value


def assay(*words: object, code: int = 0) -> Done:
    """Run the command; its exit code must be `code`."""
    command = [sys.executable, "-m", "cli.main", *map(str, words)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A network of four that runs; down again at the end, whatever happened."""
    path = tmp_path_factory.mktemp("cli") / "net"
    up = assay("testnet", "up", "--dir", path, "--nodes", 4, "--detach", "--json").json
    assert up["height"] >= 1
    assert up["signatures"] >= 3
    yield path
    assay("testnet", "down", "--dir", path)
    assert living(path) == []


def living(path: Path) -> list[int]:
    """Processes of the network in `path`."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        words = process.info["cmdline"] or []
        if any(str(path) in word for word in words) and process.pid != os.getpid():
            found.append(process.pid)
    return found


def status(path: Path) -> dict[str, dict[str, Any]]:
    found = assay("testnet", "status", "--dir", path, "--json").json
    return {node["name"]: node for node in found["nodes"]}


def until(condition: Callable[[], bool], timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_status_has_every_node_at_the_same_state(directory: Path) -> None:
    assay("tx", "submit", "--dir", directory, "--wait", "kv.set", "first", "1")
    until(lambda: len({node["state_root"] for node in status(directory).values()}) == 1)
    nodes = status(directory)
    assert set(nodes) == {"v1", "v2", "v3", "v4"}
    assert all(node["running"] for node in nodes.values())
    assert all(node["leader"] in nodes for node in nodes.values())
    assert all(len(node["peers"]) == 3 for node in nodes.values())


def test_the_manifest_names_processes_that_run(directory: Path) -> None:
    nodes = json.loads((directory / "testnet.json").read_text())["nodes"]
    assert sorted(node["pid"] for node in nodes) == sorted(living(directory))


def test_a_transaction_is_committed_found_and_proven(directory: Path, tmp_path: Path) -> None:
    call = ("tx", "submit", "--dir", directory, "--wait", "--json", "kv.set", "colour", "blue")
    done = assay(*call).json
    assert done["status"] == "committed"
    assert done["height"] >= 2
    found = assay("tx", "get", done["id"], "--dir", directory, "--json").json
    assert (found["height"], found["index"]) == (done["height"], done["index"])
    bundle = tmp_path / "bundle.json"
    assay("tx", "proof", done["id"], "--dir", directory, "-o", bundle)
    genesis = directory / "genesis.json"
    proven = assay("verify", bundle, "--genesis", genesis, "--json").json
    assert (proven["id"], proven["accepted"]) == (done["id"], True)
    bundle.write_bytes(bundle.read_bytes().replace(b"0", b"1", 1))
    assert assay("verify", bundle, "--genesis", genesis, "--json", code=1).json["valid"] is False


def test_the_proof_is_the_same_question_to_any_node(directory: Path, tmp_path: Path) -> None:
    call = ("tx", "submit", "--dir", directory, "--wait", "--json", "kv.set", "shape", "round")
    identity = assay(*call).json["id"]
    for node in json.loads((directory / "testnet.json").read_text())["nodes"]:
        bundle = tmp_path / f"{node['name']}.json"
        assay("tx", "proof", identity, "--url", node["api"], "-o", bundle)
        assay("verify", bundle, "--genesis", directory / "genesis.json")


def test_a_refusal_and_a_rejection_are_1(directory: Path, tmp_path: Path) -> None:
    refused = assay(
        *("tx", "submit", "--dir", directory, "--expiry", 1, "--json", "kv.set", "a", "b"), code=1
    ).json
    assert refused["error"]["code"] == "expired"
    key = tmp_path / "stranger.json"
    assay("keys", "new", "-o", key)
    stranger = ("tx", "submit", "--dir", directory, "--key", key, "--json", "kv.set", "a", "b")
    assert assay(*stranger, code=1).json["error"]["code"] == "unknown_client"
    call = ("tx", "submit", "--dir", directory, "--wait", "--json")
    assay(*call, "kv.set", "mine", "1")
    other = directory / json.loads((directory / "testnet.json").read_text())["clients"][1]["key"]
    rejected = assay(*call, "--key", other, "kv.set", "mine", "2", code=1).json
    assert rejected["status"] == "committed"
    assert rejected["error"]["code"] == rejected["code"] != "ok"


def test_an_unknown_transaction_is_1(directory: Path, tmp_path: Path) -> None:
    unknown = "ab" * 32
    assert assay("tx", "get", unknown, "--dir", directory, "--json", code=1).json["id"] == unknown
    assay("tx", "proof", unknown, "--dir", directory, "-o", tmp_path / "none", code=1)
    assert not (tmp_path / "none").exists()


def test_a_second_up_on_a_live_network_says_so(directory: Path) -> None:
    done = assay("testnet", "up", "--dir", directory, "--detach", "--json", code=3)
    assert done.json["error"]["code"] == "already_up"
    assert len(living(directory)) == 4


def test_a_node_is_killed_and_comes_back(directory: Path) -> None:
    assay("testnet", "kill", "v1", "--dir", directory)
    assert not status(directory)["v1"]["running"]
    assert "signal 9" in status(directory)["v1"]["note"]
    done = assay(
        *("tx", "submit", "--dir", directory, "--wait", "--json", "kv.set", "without", "v1")
    ).json
    assert done["node"] != "v1"
    assay("testnet", "start", "v1", "--dir", directory)
    until(lambda: (status(directory)["v1"]["height"] or 0) >= done["height"])


def test_a_node_is_paused_and_follows_when_resumed(directory: Path) -> None:
    leader = status(directory)["v2"]["leader"]
    assay("testnet", "pause", leader, "--dir", directory)
    assert status(directory)[leader]["state"] == "paused"
    done = assay(
        *("tx", "submit", "--dir", directory, "--wait", "--json", "kv.set", "without", leader)
    ).json
    assay("testnet", "resume", leader, "--dir", directory)
    until(lambda: (status(directory)[leader]["height"] or 0) >= done["height"])


def test_a_wiped_node_catches_up(directory: Path) -> None:
    height = status(directory)["v2"]["height"]
    assay("testnet", "wipe", "v4", "--dir", directory, code=2)
    assay("testnet", "stop", "v4", "--dir", directory)
    assay("testnet", "wipe", "v4", "--dir", directory)
    assay("testnet", "start", "v4", "--dir", directory)
    until(lambda: (status(directory)["v4"]["height"] or 0) >= height)


def test_an_observer_follows(directory: Path) -> None:
    height = status(directory)["v2"]["height"]
    assay("testnet", "observer", "watcher", "--dir", directory)
    until(lambda: (status(directory)["watcher"]["height"] or 0) >= height)
    nodes = status(directory)
    assert nodes["watcher"]["role"] == "observer"
    assert nodes["watcher"]["state_root"] == nodes["v2"]["state_root"]


def test_logs_are_lines_of_json(directory: Path) -> None:
    lines = assay("testnet", "logs", "v2", "--dir", directory, "--json").json["lines"]
    assert lines
    assert all(json.loads(line)["event"] for line in lines)


def test_a_stopped_network_goes_on_where_it_was(directory: Path) -> None:
    height = status(directory)["v2"]["height"]
    assert assay("testnet", "down", "--dir", directory, "--json").json["killed"] == []
    assert living(directory) == []
    assay("testnet", "up", "--dir", directory, "--detach")
    assert all(node["height"] >= height for node in status(directory).values())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_takes_the_network_down(tmp_path: Path, number: signal.Signals) -> None:
    path = tmp_path / "net"
    words = ["testnet", "up", "--dir", str(path), "--nodes", "1"]
    # Why: who runs the tests in the background has them, and all below them, ignore Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        command = subprocess.Popen(
            [sys.executable, "-m", "cli.main", *words], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
    finally:
        signal.signal(signal.SIGINT, before)
    with command:
        assert command.stdout is not None
        for line in command.stdout:
            if "Ctrl-C" in line:
                break
        assert len(living(path)) == 2  # the command itself and its node
        command.send_signal(number)
        assert command.wait(30) == 0
    assert living(path) == []


def test_a_node_that_cannot_start_is_named_with_its_last_word(tmp_path: Path) -> None:
    path = tmp_path / "net"
    assay("testnet", "up", "--dir", path, "--nodes", 1, "--detach")
    assay("testnet", "down", "--dir", path)
    (path / "v1" / "node.toml").write_text("nonsense = true\n")
    done = assay("testnet", "up", "--dir", path, "--detach", code=3)
    assert "v1 ended by itself" in done.err
    assert "nonsense" in done.err
    assert living(path) == []


def test_the_first_minute_works_twice(tmp_path: Path) -> None:
    path = tmp_path / "demo"
    try:
        first = assay("testnet", "demo", "--dir", path, "--json").json
        assert first["submitted"]["committed"] == 100
        assert first["proof"]["verified"] is True
        again = assay("testnet", "demo", "--dir", path)
        assert "up already" in again.out
        assert "verified offline" in again.out
    finally:
        assay("testnet", "down", "--dir", path)
    assert living(path) == []
