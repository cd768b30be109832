"""Every `assay` and `make` command in a document exists, and those of the README work."""

import os
import random
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import typer.main

from cli import main
from testnet.errors import PortsInUse
from testnet.ports import check_free

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
FENCE = re.compile(r"^```\w*\n(.*?)^```$", re.M | re.S)
COMMAND = re.compile(r"^(?:\$ )?(?:\.venv/bin/)?((?:assay|make)\b.*)$")
SHELL = {"|", "||", "&", "&&", ";", ">", ">>", "<"}
"""What ends a command and begins something that is the shell's."""

NODES = 4
TIMEOUT_S = 120


@dataclass(frozen=True, slots=True)
class Command:
    """A line of a document; `words` begin with the program."""

    document: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.document}: {shlex.join(self.words)}"


def commands(text: str, document: str = "") -> Iterator[Command]:
    """Lines of code blocks that begin with `assay` or `make`, with or without a prompt."""
    for block in FENCE.findall(text):
        for line in block.splitlines():
            if found := COMMAND.match(line):
                words = shlex.split(found[1], comments=True)
                end = next((at for at, word in enumerate(words) if word in SHELL), len(words))
                yield Command(document, tuple(words[:end]))


def all_commands() -> list[Command]:
    found: list[Command] = []
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        found += commands(text, path.relative_to(ROOT).as_posix())
    return found


def parse(words: Sequence[str]) -> None:
    """Raise unless `assay` has this command with these options; runs nothing."""
    left = list(words)
    command = typer.main.get_command(main.app)
    path = ["assay"]
    while isinstance(command, typer.core.TyperGroup):
        if not left or left[0] not in command.commands:
            raise LookupError(f"`{' '.join(path)}` has no command `{' '.join(left[:1])}`")
        path.append(left.pop(0))
        command = command.commands[path[-1]]
    command.make_context(" ".join(path), left)


def targets() -> set[str]:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z-]+):", text, re.M))


# --- Fast: they exist. --------------------------------------------------------------------------


@pytest.mark.parametrize("command", all_commands(), ids=str)
def test_every_command_in_a_document_exists(command: Command) -> None:
    program, *words = command.words
    if program == "make":
        assert set(words) <= targets()
    else:
        parse(words)


def test_the_commands_of_all_documents_are_found() -> None:
    found = all_commands()
    assert {each.document for each in found} >= {
        "README.md",
        "CONTRIBUTING.md",
        "docs/containers.md",
    }
    # By counting another way: whatever names the program behind a prompt.
    text = "".join(path.read_text(encoding="utf-8") for path in DOCUMENTS)
    behind = re.findall(r"^\$ (?:\.venv/bin/)?(?:assay|make)\b", text, re.M)
    assert len(found) >= len(behind) > 10


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("$ make test", ("make", "test")),
        ("assay testnet up --dir d", ("assay", "testnet", "up", "--dir", "d")),
        ("$ .venv/bin/assay keys new -o 'my key'", ("assay", "keys", "new", "-o", "my key")),
        ("$ assay tx get ID --dir d | jq .id  # an id", ("assay", "tx", "get", "ID", "--dir", "d")),
    ],
)
def test_a_command_is_read_as_a_shell_would(line: str, words: tuple[str, ...]) -> None:
    [command] = commands(f"# T\n\n```console\n{line}\n```\n")
    assert command.words == words


@pytest.mark.parametrize("line", ["docker compose up", "making of", "  the assay command"])
def test_other_lines_are_no_commands_of_ours(line: str) -> None:
    assert not list(commands(f"# T\n\n```text\n{line}\n```\n\nassay bogus\n"))


@pytest.mark.parametrize(
    "words",
    [
        "bogus",
        "",
        "testnet",
        "testnet bogus --dir d",
        "testnet up",
        "testnet up --dir d --bogus",
        "testnet up --dir d --nodes four",
        "tx submit --dir d --wait",
        "verify bundle.json",
        "verify bundle.json more --genesis g.json",
    ],
)
def test_a_command_that_would_not_work_is_found(words: str) -> None:
    with pytest.raises(Exception):  # noqa: B017, PT011 - the parser's errors have no public names
        parse(shlex.split(words))


def test_no_target_is_taken_for_granted() -> None:
    assert {"testnet", "test", "check"} <= targets()
    assert "bogus" not in targets()


# --- For real. ----------------------------------------------------------------------------------


def section(title: str) -> list[list[tuple[str, ...]]]:
    """The commands of the README below this heading, by code block."""
    text = README.read_text(encoding="utf-8")
    found = re.search(rf"^## {re.escape(title)}\n(.*?)^## ", text, re.M | re.S)
    assert found is not None
    blocks = [f"```\n{block}```\n" for block in FENCE.findall(found[1])]
    stories = [[command.words for command in commands(block)] for block in blocks]
    return [story for story in stories if story]


def free_base_port() -> int:
    draw = random.SystemRandom()
    for _ in range(100):
        base = draw.randrange(10_000, 31_000, 400)
        try:
            check_free(base, range(NODES))
        except PortsInUse:
            continue
        return base
    raise PortsInUse("no free ports for a test")


def run(folder: Path, *words: str) -> str:
    """What the command prints; run in `folder`, and it must succeed."""
    done = subprocess.run(
        words,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, f"{shlex.join(words)}\n{done.stdout}{done.stderr}"
    return done.stdout


def assay(folder: Path, *words: str) -> str:
    return run(folder, sys.executable, "-m", "cli.main", *words)


def living(folder: Path) -> list[int]:
    """Processes whose command line names something in `folder`."""
    return [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if any(str(folder) in word for word in process.info["cmdline"] or [])
    ]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where the commands run; whatever they started is down at the end."""
    yield tmp_path
    for manifest in tmp_path.glob("*/testnet.json") if living(tmp_path) else ():
        assay(tmp_path, "testnet", "down", "--dir", str(manifest.parent))
    assert living(tmp_path) == []


@pytest.mark.process
def test_the_first_minute_of_the_readme_works_as_it_stands(folder: Path) -> None:
    demo = folder / "demo"
    # What `make testnet` runs, on ports that are free now.
    port = str(free_base_port())
    assay(folder, "testnet", "up", "--dir", str(demo), "--base-port", port, "--detach")
    programs = str(Path(sys.executable).parent)
    assert "verified offline" in run(folder, str(ROOT / ".ci" / "testnet"), programs, str(demo))
    (*first, down), other, simulated = section("The first minute")
    said = {words: assay(folder, *words[1:]) for words in first}
    # What the story claims.
    submits = [text for words, text in said.items() if words[1:3] == ("tx", "submit")]
    assert len(submits) == 2
    assert all("committed" in text for text in submits)
    assert next(words for words in first if "kill" in words)[3] == "v1"
    [verdict] = [text for words, text in said.items() if words[1] == "verify"]
    assert verdict.startswith("Verified: ")
    # And the proof of a transaction of our own, fetched before it is over.
    identity = re.search(r"\b[0-9a-f]{64}\b", submits[-1])
    assert identity is not None, submits[-1]
    assay(folder, "tx", "proof", identity[0], "--dir", "demo", "-o", "own.json")
    proven = assay(folder, "verify", "own.json", "--genesis", "demo/genesis.json")
    assert proven.startswith("Verified: kv.set colour green")
    assert len(living(folder)) == NODES
    assert down[1:3] == ("testnet", "down")
    assay(folder, *down[1:])
    assert living(folder) == []
    # Another network, with other parts.
    up, *rest = other
    assert up[1:3] == ("testnet", "up")
    assay(folder, *up[1:], "--base-port", str(free_base_port()))
    assert len(living(folder)) == NODES
    for words in rest:
        assay(folder, *words[1:])
    assert living(folder) == []
    # No network at all.
    for words in simulated:
        assert words[1] == "sim"
        assay(folder, *words[1:])
