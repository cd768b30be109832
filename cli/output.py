"""What a command says, and with which exit code it ends.

With `--json` a command prints exactly one JSON object on standard output and nothing else there.
Without it, people read lines. Progress goes to standard error and only to a terminal; colour only
to a terminal, and not where `NO_COLOR` is set.
"""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import TextIO

DASH = "\u2013"
"""Stands where there is nothing to say."""


class ExitCode(IntEnum):
    DONE = 0
    NO = 1
    """The command worked, and the answer is no."""
    WRONG_USE = 2
    FAILED = 3
    """It could not be done."""


class Stop(Exception):
    """Ends a command with a message and an exit code.

    With `--json`, `facts` are part of the object that is printed.
    """

    def __init__(
        self,
        message: str,
        code: ExitCode = ExitCode.FAILED,
        *,
        word: str = "failed",
        facts: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.word = word
        self.facts = dict(facts or {})


class Output:
    """Where one command writes."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json

    def say(self, line: str = "") -> None:
        """A line for a person; silent with `--json`."""
        if not self.as_json:
            print(line, flush=True)

    def give(self, value: Mapping[str, object]) -> None:
        """The one object of `--json`; silent without."""
        if self.as_json:
            print(json.dumps(value, ensure_ascii=False), flush=True)

    def table(self, rows: Sequence[Sequence[str]]) -> None:
        """Aligned columns; the first row is the heading."""
        for line in columns(rows):
            self.say(line)

    def progress(self, line: str) -> None:
        """Overwrites itself; only on a terminal."""
        if not self.as_json and sys.stderr.isatty():
            print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)

    def progress_end(self) -> None:
        self.progress("")


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """The rows as lines, each column as wide as its widest cell."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def paint(text: str, colour: str, stream: TextIO | None = None) -> str:
    """`text` in colour, where colour is welcome."""
    stream = stream or sys.stdout
    if not stream.isatty() or os.environ.get("NO_COLOR"):
        return text
    codes = {"red": 31, "green": 32, "yellow": 33}
    return f"\x1b[{codes[colour]}m{text}\x1b[0m"


def short(digest: str | None) -> str:
    """A hash for a screen: `9c1f…a2`."""
    if digest is None:
        return DASH
    return digest if len(digest) <= 8 else f"{digest[:4]}…{digest[-2:]}"


def or_dash(value: object) -> str:
    return DASH if value is None else str(value)
