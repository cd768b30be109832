"""Runs the steps of `make check`, `make test` or `make test-all`, and says how long each took.

A step that passes is one line; one that fails shows what it printed, and the rest still runs.
Long steps print as they go. Each has a limit: a test that hangs is a failure, not a wait.
Exit code 0 if all passed, else 1. Uses the standard library only.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
UNIT = "not process and not container and not slow and not exhaustive"
CODE = (
    "mechanisms", "crypto", "consensus", "p2p", "storage", "apps", "node", "testnet", "cli",
    "benchmarks", "simulation", "tests", "deploy/health.py", ".ci/steps.py",
)  # fmt: skip


@dataclass(frozen=True)
class Step:
    name: str
    command: Sequence[str]
    limit_s: int = 300
    live: bool = False
    """Whether what it prints is shown at once."""
    optional: bool = False
    """Whether there may be no such tests."""


def pytest(*arguments: str) -> Sequence[str]:
    return (str(BIN / "python"), "-m", "pytest", "-q", *arguments)


CHECK = (
    Step("format", (str(BIN / "ruff"), "format", "--check", *CODE)),
    Step("lint", (str(BIN / "ruff"), "check", *CODE)),
    Step("types", (str(BIN / "mypy"), "--strict")),
    Step("imports", (str(BIN / "lint-imports"), "--no-logo")),
    Step("tidy", pytest("tests/test_tidy.py")),
    Step("unit", pytest("-n", "auto", "-m", UNIT, "--ignore", "tests/test_tidy.py")),
)
TEST = (
    *CHECK,
    Step(
        "slow",
        pytest("-n", "auto", "-m", "slow and not process and not container"),
        400,
        True,
        True,
    ),
    Step(
        "processes", pytest("-m", "process and not container and not exhaustive"), 1000, live=True
    ),
    Step("containers", pytest("-m", "container and not exhaustive"), 600, live=True),
)
ALL = (
    *TEST,
    Step("exhaustive", pytest("-m", "exhaustive"), 8 * 3600, True, True),
    Step("coverage", pytest("-m", UNIT, "--cov", "--cov-report=term"), 900, live=True),
)
PLANS = {"check": CHECK, "test": TEST, "test-all": ALL}
NO_TESTS = 5
"""Exit code of pytest when nothing was selected."""


def main(plan: str) -> int:
    os.chdir(ROOT)
    os.environ["PATH"] = f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}"
    started, failed = time.monotonic(), []
    for step in PLANS[plan]:
        print(f"{step.name:<11}", end="\n" if step.live else "", flush=True)
        before = time.monotonic()
        code, output = run(step)
        seconds = time.monotonic() - before
        word = verdict(step, code)
        print(f"{step.name + ' ' if step.live else ''}{word:<6} {seconds:7.1f} s", flush=True)
        if word != "ok":
            failed.append(step.name)
            print(output, flush=True)
    seconds = time.monotonic() - started
    print(f"{plan}: {'failed: ' + ', '.join(failed) if failed else 'ok'}, {seconds:.0f} s in all")
    return 1 if failed else 0


def run(step: Step) -> tuple[int | None, str]:
    """Exit code (None: it was ended at its limit) and what it printed, unless that was shown."""
    process = subprocess.Popen(  # noqa: S603 - the commands are the ones above
        step.command,
        stdout=None if step.live else subprocess.PIPE,
        stderr=None if step.live else subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=step.limit_s)
    except subprocess.TimeoutExpired:
        end(process)
        output, _ = process.communicate()
        return None, f"{output or ''}\nended after its limit of {step.limit_s} s"
    except KeyboardInterrupt:
        end(process)
        raise
    return process.returncode, output or ""


def end(process: "subprocess.Popen[str]") -> None:
    """SIGINT first, so that pytest takes down what its tests have started."""
    for sign in (signal.SIGINT, signal.SIGKILL):
        try:
            os.killpg(process.pid, sign)
            process.wait(timeout=20)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue
        return


def verdict(step: Step, code: int | None) -> str:
    if code is None:
        return "LIMIT"
    if code == 0 or (code == NO_TESTS and step.optional):
        return "ok"
    return "FAILED"


if __name__ == "__main__":
    if sys.argv[1:] not in [[plan] for plan in PLANS]:
        sys.exit(f"usage: steps.py {' | '.join(PLANS)}")
    try:
        sys.exit(main(sys.argv[1]))
    except KeyboardInterrupt:
        sys.exit(130)
