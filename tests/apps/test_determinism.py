"""The same transactions give the same bytes in every process, whatever its hash seed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONFTEST = ROOT / "tests" / "apps" / "conftest.py"
PROGRAM = "import runpy, sys; print(runpy.run_path(sys.argv[1])['replay'](sys.argv[2], 7))"


def replayed(name: str, hash_seed: str) -> str:
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", PROGRAM, str(CONFTEST), name]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize("name", ["kv", "payments"])
def test_processes_with_different_hash_seeds_compute_the_same_state(name: str) -> None:
    digests = {replayed(name, hash_seed) for hash_seed in ("0", "1", "20261123")}
    assert len(digests) == 1
    assert len(digests.pop()) == 64
