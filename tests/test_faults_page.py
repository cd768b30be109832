"""Every test that docs/faults.md names exists, and every row names one."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "faults.md"
COLUMNS = 4
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def rows(text: str) -> list[list[str]]:
    """The cells of each numbered row."""
    lines = [line for line in text.splitlines() if re.match(r"\| \d+ \|", line)]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


ROWS = rows(PAGE.read_text(encoding="utf-8"))


@cache
def names_in(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return frozenset(node.name for node in tree.body if isinstance(node, functions))


def missing(cell: str) -> list[str]:
    """What of the tests in a cell does not exist; a cell without any is missing one."""
    named = NAMED.findall(cell)
    if not named or NAMED.sub("", cell).strip(", "):
        return [f"{cell!r} is no list of tests"]
    return [
        f"{file}::{name}"
        for file, name in named
        if not name.startswith("test_")
        or not (ROOT / file).is_file()
        or name not in names_in(ROOT / file)
    ]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"fault {row[0]}")
def test_every_test_of_the_row_exists(row: list[str]) -> None:
    assert len(row) == COLUMNS
    assert all(row)
    assert missing(row[-1]) == []


def test_no_case_stands_twice_and_they_are_in_order() -> None:
    numbers = [int(row[0]) for row in ROWS]
    assert numbers == sorted(set(numbers))
    assert len(numbers) > 50


@pytest.mark.parametrize(
    "cell",
    [
        "",
        "somewhere",
        "`tests/test_nowhere.py::test_x`",
        "`tests/test_faults_page.py::test_x`",
        "`tests/test_faults_page.py::missing`",
        "`tests/test_faults_page.py`",
    ],
)
def test_a_test_that_does_not_exist_is_found(cell: str) -> None:
    assert missing(cell)
    real = "`tests/test_faults_page.py::test_a_test_that_does_not_exist_is_found`"
    assert missing(real) == []
    assert missing(f"{real}, {cell}") != [] or not cell
