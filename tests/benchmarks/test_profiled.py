import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from benchmarks import profiled
from benchmarks.profiled import (
    OTHER,
    PARTS,
    UNSEEN,
    Profile,
    by_part,
    difference,
    part_of,
    place_of,
)
from crypto.encoding import encode

PLACE = "crypto/encoding.py:encode"
ROOT = Path(profiled.__file__).resolve().parent.parent


def test_time_goes_to_the_innermost_function_of_a_part() -> None:
    stack = [
        ("/usr/lib/python3/json/encoder.py", "encode"),
        (f"{ROOT}/crypto/encoding.py", "encode"),
        (f"{ROOT}/node/validity.py", "Validity.check"),
    ]
    assert place_of(stack) == "crypto/encoding.py:encode"
    assert part_of(place_of(stack)) == "encoding"
    assert part_of(place_of(stack[2:])) == "mempool and ingress"
    assert place_of(stack[:1]) == part_of(OTHER) == OTHER


def test_packages_are_found_by_their_folder() -> None:
    assert place_of([("/x/site-packages/uvicorn/main.py", "run")]) == "uvicorn/main.py:run"
    assert part_of("uvicorn/main.py:run") == "HTTP"


def test_the_more_special_part_comes_first() -> None:
    assert part_of("storage/journal.py:x") == "journal"
    assert part_of("storage/ledger.py:x") == "storage"
    for position, (prefix, _part) in enumerate(PARTS):
        shadowed = [other for other, _ in PARTS[:position] if prefix.startswith(other + "/")]
        assert shadowed == [], prefix


def test_every_part_that_is_ours_exists() -> None:
    foreign = {"uvicorn", "fastapi", "starlette"}
    for prefix, _part in PARTS:
        there = (ROOT / prefix).is_dir() or (ROOT / f"{prefix}.py").is_file()
        assert there or prefix in foreign, prefix


def test_sums_are_kept_and_ordered() -> None:
    before = {"v1/1": {"a": 1.0}}
    after = {"v1/1": {"a": 1.5, "p2p/x.py:f": 2.0}, "v2/1": {"a": 0.25}}
    spent = difference(before, after)
    assert list(spent.items()) == [("p2p/x.py:f", 2.0), ("a", 0.75)]
    assert list(by_part(spent)) == ["peer channel", OTHER]


def test_what_was_used_unseen_is_spread_over_what_that_thread_was_seen_doing() -> None:
    before = {"v1/1": {UNSEEN: 5.0, "apps/start.py:f": 7.0}}
    after = {
        "v1/1": {UNSEEN: 13.0, "apps/start.py:f": 7.0, "p2p/x.py:f": 3.0, "consensus/y.py:g": 1.0},
        "v1/2": {UNSEEN: 0.5},
    }
    spent = difference(before, after)
    assert spent["p2p/x.py:f"] == pytest.approx(9.0)
    assert spent["consensus/y.py:g"] == pytest.approx(3.0)
    assert spent["apps/start.py:f"] == 0.0
    assert spent[OTHER] == 0.5


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's count is Linux's")
def test_a_thread_that_waits_costs_nothing_and_one_that_works_is_seen(tmp_path: Path) -> None:
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            encode([1] * 1000)

    threads = [threading.Thread(target=work), threading.Thread(target=stop.wait)]
    for thread in threads:
        thread.start()
    profile = Profile(tmp_path / "profile.json")

    deadline = time.monotonic() + 10
    while sum(places.get(PLACE, 0.0) for places in profile.used().values()) < 0.05:
        assert time.monotonic() < deadline
        profile.look()
        time.sleep(0.005)
    stop.set()
    for thread in threads:
        thread.join()
    profile.look()
    waited = [places for places in profile.used().values() if not set(places) - {UNSEEN}]
    assert all(sum(places.values()) < 0.05 for places in waited)


def test_the_program_explains_nothing_but_runs_a_node(tmp_path: Path) -> None:
    done = subprocess.run(
        profiled.command(tmp_path / "none"), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 3
    assert "assay node init" in done.stderr
