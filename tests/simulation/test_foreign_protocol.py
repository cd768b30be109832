"""A protocol in a file of somebody else's package goes through the kit as ours do."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from consensus.protocols import solo
from testnet.ports import choose_base_port


def conformance(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "cli.main", "conformance", "consensus", *words, "--json"]
    return subprocess.run(
        [*command, "--seeds", "2", "--failures", str(folder / "failures")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), os.getcwd()])},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def theirs(tmp_path: Path) -> Path:
    """A folder with somebody's installed package."""
    shutil.copyfile(solo.__file__, tmp_path / "my_protocol.py")
    about = tmp_path / "theirs-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[assay.consensus]\nmine = my_protocol\n")
    return tmp_path


@pytest.mark.process
def test_a_real_network_runs_on_it_once_it_is_allowed(
    theirs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(theirs), os.getcwd()]))

    def assay(*words: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "cli.main", *words]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    net = str(theirs / "net")
    up = ("testnet", "up", "--dir", net, "--set", "consensus=mine", "--detach")
    refused = assay(*up)
    assert refused.returncode == 2
    assert "--set allow=mine" in refused.stderr
    started = assay(*up, "--set", "allow=mine", "--base-port", str(choose_base_port(4)))
    try:
        assert started.returncode == 0, started.stderr
        submitted = assay("tx", "submit", "--dir", net, "--wait", "kv.set", "colour", "blue")
        assert "committed" in submitted.stdout, submitted.stderr
    finally:
        assert assay("testnet", "down", "--dir", net).returncode == 0


def test_it_is_found_by_its_entry_point_once_it_is_allowed(theirs: Path) -> None:
    refused = conformance(theirs, "mine")
    assert refused.returncode == 2
    assert "has to be allowed by name" in refused.stderr + refused.stdout
    allowed = conformance(theirs, "mine", "--allow")
    assert allowed.returncode == 0, allowed.stderr
    assert json.loads(allowed.stdout)["conforms"] is True
