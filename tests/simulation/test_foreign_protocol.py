"""A protocol in a file of somebody else's package goes through the kit as ours do."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from consensus.protocols import solo


def conformance(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "cli.main", "conformance", "consensus", *words, "--json"]
    return subprocess.run(
        [*command, "--seeds", "2", "--failures", str(folder / "failures")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), os.getcwd()])},
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_is_found_by_its_entry_point_once_it_is_allowed(tmp_path: Path) -> None:
    shutil.copyfile(solo.__file__, tmp_path / "my_protocol.py")
    about = tmp_path / "theirs-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[assay.consensus]\nmine = my_protocol\n")
    refused = conformance(tmp_path, "mine")
    assert refused.returncode == 2
    assert "has to be allowed by name" in refused.stderr + refused.stdout
    allowed = conformance(tmp_path, "mine", "--allow")
    assert allowed.returncode == 0, allowed.stderr
    assert json.loads(allowed.stdout)["conforms"] is True
