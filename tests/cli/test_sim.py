"""`assay sim`: runs, pages, searches; 0 passed, 1 failed, 2 wrong words, 3 could not be done."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Assay = Callable[..., Any]
STUCK = """
name = "stuck"
calm_ms = 500
progress_within_ms = 5000
[[byzantine]]
node = "v1"
behaviour = "silent"
[[byzantine]]
node = "v2"
behaviour = "silent"
"""


def test_a_shipped_scenario_runs_by_name_with_another_protocol(assay: Assay) -> None:
    done = assay("sim", "run", "silent_leader")
    assert (done.code, done.err) == (0, "")
    assert "silent leader: pbft, 4 members, seed 0: pass" in done.out
    found = assay("sim", "run", "silent_leader", "--protocol", "tendermint", "--json").json
    assert found["verdict"] == "pass"
    assert found["height"] > 1


def test_another_seed_is_another_run_and_the_same_is_the_same(assay: Assay) -> None:
    traces = [
        assay("sim", "run", "normal", "--seed", seed, "--json").json["trace"] for seed in (1, 2, 1)
    ]
    assert traces[0] == traces[2] != traces[1]


def test_the_same_scenario_runs_with_whole_nodes(assay: Assay) -> None:
    done = assay("sim", "run", "normal", "--depth", "whole", "--json")
    assert done.json["verdict"] == "pass"
    refused = assay("sim", "run", "equivocation", "--depth", "whole")
    assert (refused.code, "do not lie" in refused.err) == (2, True)
    assert assay("sim", "run", "normal", "--depth", "deep").code == 2
    assert assay("sim", "run", "normal", "--depth", "whole", "--transcript").code == 2


def test_a_transcript_is_shown(assay: Assay) -> None:
    out = assay("sim", "run", "normal", "--transcript").out
    assert "PrePrepare view=0 height=1" in out
    assert "execute  h2" in out


def test_a_run_that_fails_is_1_with_the_verdict_and_can_be_replayed(
    assay: Assay, tmp_path: Path
) -> None:
    path = tmp_path / "stuck.toml"
    path.write_text(STUCK)
    done = assay("sim", "run", path)
    assert done.code == 1
    assert "no progress" in done.out
    again = assay("sim", "replay", path, "--json")
    assert (again.code, again.json["verdict"]) == (1, "no progress")


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["run", "nowhere"], "silent_leader"),
        (["run", "normal", "--protocol", "pbtf"], "pbft"),
        (["explore", "--seeds", "5..5"], "A..B"),
        (["explore", "--strategy", "guess"], "byzzfuzz"),
        (["explore", "--byzantine", "4"], "4 Byzantine members of 4"),
    ],
)
def test_wrong_words_are_2_with_the_choices(assay: Assay, words: list[str], hint: str) -> None:
    done = assay("sim", *words)
    assert done.code == 2
    assert hint in done.err
    assert "Traceback" not in done.err


def test_a_file_that_is_no_scenario_is_2_and_names_the_field(assay: Assay, tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text("nodes = 4\nmembers = 4\n")
    done = assay("sim", "run", path)
    assert done.code == 2
    assert "members" in done.err
    assert str(path) in done.err


def test_a_page_is_written(assay: Assay, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    done = assay("sim", "show", "equivocation", "-o", page, "--json")
    assert done.json["verdict"] == "pass"
    assert page.read_text().startswith("<!doctype html>")
    assert assay("sim", "show", "normal", "-o", tmp_path / "none" / "page.html").code == 3


def test_a_search_says_how_it_went_and_goes_on_where_it_stopped(
    assay: Assay, tmp_path: Path
) -> None:
    state = tmp_path / "state.json"
    call = ["sim", "explore", "--processes", 2, "--state", state, "--json"]
    first = assay(*call, "--seeds", "0..30").json
    assert (first["seeds"], first["verdicts"], first["failures"]) == (30, {"pass": 30}, [])
    assert first["seeds_per_minute"] > 0
    assert json.loads(state.read_text())["next_seed"] == 30
    more = assay(*call, "--seeds", "0..50").json
    assert (more["seeds"], more["verdicts"]) == (50, {"pass": 50})
    other = assay(*call, "--seeds", "0..50", "--strategy", "twins")
    assert other.code == 2
    assert "another search" in other.err


def test_the_list_of_behaviours_has_them_all(assay: Assay) -> None:
    found = assay("sim", "behaviours", "--json").json
    assert {"silent", "equivocate", "amnesia"} <= set(found["behaviours"])
    assert set(found["strategies"]) == {"random", "twins", "byzzfuzz", "liars"}


def test_a_protocol_is_put_through_the_kit(assay: Assay, tmp_path: Path) -> None:
    failures = tmp_path / "failures"
    done = assay("conformance", "consensus", "qbft", "--seeds", 2, "--failures", failures)
    assert (done.code, done.err) == (0, "")
    assert "ok" in done.out
    assert "contradicts nothing after a crash at any output" in done.out
    assert not failures.exists()
    assert assay("conformance", "consensus", "qtbf").code == 2


def test_how_far_long_searches_have_come_is_listed(assay: Assay, tmp_path: Path) -> None:
    state = tmp_path / "states" / "pbft.json"
    words = ["sim", "explore", "--seeds", "0..3", "--state", state, "--failures", tmp_path / "f"]
    assert assay(*words).code == 0
    listed = assay("sim", "explored", state.parent, "--json")
    assert listed.code == 0
    assert [each["seeds"] for each in listed.json["searches"]] == [3]
    assert "3 pass" in assay("sim", "explored", state.parent).out
    broken = json.loads(state.read_text())
    state.write_text(json.dumps({**broken, "failures": ["x.json"]}))
    assert assay("sim", "explored", state.parent).code == 1
    assert assay("sim", "explored", tmp_path / "nowhere").code == 3
    (state.parent / "other.json").write_text("{}")
    assert assay("sim", "explored", state.parent).code == 2
