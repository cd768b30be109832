import importlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from cli import main
from cli.output import ExitCode, Stop

Assay = Callable[..., Any]
"""Fixture `assay`: runs a command and gives its code, out, err and json."""

ROOT = Path(main.__file__).resolve().parent.parent


def leaves(app: typer.Typer, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for command in app.registered_commands:
        assert command.callback is not None
        yield (*words, command.name or command.callback.__name__)
    for group in app.registered_groups:
        assert group.typer_instance is not None
        assert group.name is not None
        yield from leaves(group.typer_instance, (*words, group.name))


COMMANDS = sorted(leaves(main.app))


def test_the_commands_are_those_that_scripts_rely_on() -> None:
    assert {
        *((("testnet", word)) for word in ("up", "status", "down", "kill", "start", "pause")),
        *((("testnet", word)) for word in ("resume", "logs", "demo", "observer", "wipe")),
        *((("node", word)) for word in ("init", "run", "show", "fsck")),
        ("keys", "new"),
        ("keys", "show"),
        *((("tx", word)) for word in ("submit", "get", "proof")),
        ("verify",),
        ("bench", "node"),
    } <= set(COMMANDS)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_explains_itself_with_an_example_and_has_json(
    words: tuple[str, ...], assay: Assay
) -> None:
    done = assay(*words, "--help")
    assert done.code == 0
    assert f"Usage: assay {' '.join(words)}" in done.out
    assert f"Example:\n    assay {' '.join(words)}" in done.out
    assert "--json" in done.out


@pytest.mark.parametrize(
    "words",
    [
        ["bogus"],
        ["testnet", "bogus"],
        ["testnet", "up"],
        ["testnet", "up", "--dir", "x", "--nodes", "four"],
        ["testnet", "up", "--dir", "x", "--nodes", "0"],
        ["testnet", "status", "--dir", "x", "--bogus"],
        ["tx", "submit"],
        ["verify", "bundle.json"],
    ],
    ids=" ".join,
)
def test_wrong_use_is_2_with_a_way_out_and_no_traceback(words: list[str], assay: Assay) -> None:
    done = assay(*words)
    assert done.code == 2
    assert done.out == ""
    assert done.err.startswith("error: ")
    assert "--help" in done.err.splitlines()[-1]
    assert "Traceback" not in done.err


def test_wrong_use_with_json_is_one_object(assay: Assay) -> None:
    done = assay("testnet", "up", "--json", "--bogus")
    assert done.code == 2
    assert done.json["error"]["code"] == "wrong_use"


def test_a_directory_without_a_network_is_3_and_says_how_to_make_one(
    assay: Assay, tmp_path: Path
) -> None:
    done = assay("testnet", "status", "--dir", tmp_path)
    assert done.code == 3
    assert done.out == ""
    assert f"assay testnet up --dir {tmp_path}" in done.err
    assert assay("testnet", "status", "--dir", tmp_path, "--json").json == {
        "error": {"code": "not_a_network", "message": done.err.removeprefix("error: ").strip()}
    }


def test_debug_shows_the_traceback(assay: Assay, tmp_path: Path) -> None:
    for words in (["--debug", "testnet", "status"], ["testnet", "status", "--debug"]):
        done = assay(*words, "--dir", tmp_path)
        assert done.code == 3
        assert "Traceback" in done.err


def test_debug_after_two_dashes_is_an_argument_like_any_other(assay: Assay) -> None:
    done = assay("verify", "--genesis", "none.json", "--", "--debug")
    assert done.code == 3
    assert "Traceback" not in done.err


def test_a_fault_of_ours_is_one_line_that_says_so(
    assay: Assay, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_words: object, **_options: object) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(main, "app", broken)
    done = assay("testnet")
    assert done.code == 3
    assert "a fault of Assay itself: ZeroDivisionError" in done.err
    assert "Traceback" not in done.err


def test_the_answer_no_is_1_with_its_facts_in_the_object(
    assay: Assay, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no(*_words: object, **_options: object) -> None:
        raise Stop("not so", ExitCode.NO, word="rejected", facts={"id": "ab"})

    monkeypatch.setattr(main, "app", no)
    done = assay("tx", "--json")
    assert done.code == 1
    assert done.json == {"id": "ab", "error": {"code": "rejected", "message": "not so"}}
    assert done.err == "error: not so\n"


def test_every_named_error_exists() -> None:
    for name in main.EXIT_CODES:
        module, _, kind = name.partition(":")
        assert issubclass(getattr(importlib.import_module(module), kind), Exception)


def test_the_command_starts_without_loading_what_it_does_not_need() -> None:
    code = (
        "import sys; from cli import main; main.run(['--help']); "
        "print([m for m in ('httpx', 'msgspec', 'psutil', 'rich', 'fastapi') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_reader_that_goes_away_is_no_traceback() -> None:
    command = f"'{sys.executable}' -m cli.main testnet up --help | true"
    done = subprocess.run(
        ["/bin/sh", "-c", command], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr


def test_the_version_is_told(assay: Assay) -> None:
    done = assay("--version")
    assert done.code == 0
    assert done.out.startswith("assay")
