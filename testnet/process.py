"""A node's operating-system process: started, found again, signalled, ended.

A process is known by its number *and* by when it started and what it runs, so that a number which
the system gave to somebody else is never signalled. A process of which only the exit status is
left to be read counts as ended.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
"""The folder that holds the packages; a node is started from here."""

START_TOLERANCE_S = 2.0
"""How far two readings of one start time may differ when the wall clock is corrected."""

KILL_WAIT_S = 10.0
POLL_S = 0.01


class Life(StrEnum):
    RUNNING = "running"
    PAUSED = "paused"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class ProcessId:
    """What identifies a process beyond its own lifetime."""

    pid: int
    started: float
    """Seconds since 1970."""
    mark: str
    """A word of its command line: the node's home."""


def node_command(home: Path) -> list[str]:
    """The command that runs a node, with this interpreter and this code."""
    return [sys.executable, "-m", "cli.main", "node", "run", "--home", str(home)]


def spawn(command: Sequence[str], *, log: Path, mark: str, env: Mapping[str, str]) -> ProcessId:
    """Start a process in a session of its own, so that Ctrl-C here does not reach it.

    Its output is appended to `log`. `env` is added to this process's environment.
    """
    with log.open("ab") as sink:
        child = subprocess.Popen(  # noqa: S603 - our own command
            command,
            cwd=ROOT,
            env={**os.environ, **env},
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    _children[child.pid] = child
    try:
        started = psutil.Process(child.pid).create_time()
    except psutil.Error:
        started = time.time()
    return ProcessId(child.pid, started, mark)


_children: dict[int, "subprocess.Popen[bytes]"] = {}
"""Our own children: they have to be waited for, or they stay as zombies."""


def find(identity: ProcessId) -> psutil.Process | None:
    """The living process, or None if it ended or its number belongs to another one now."""
    child = _children.get(identity.pid)
    if child is not None and child.poll() is not None:
        return None
    try:
        process = psutil.Process(identity.pid)
        if abs(process.create_time() - identity.started) > START_TOLERANCE_S:
            return None
        if child is not None:
            return process
        if process.status() == psutil.STATUS_ZOMBIE:
            # Why: while another thread still ends (it may wait for the disk), files stay locked
            # and ports taken, though the process looks like a zombie already.
            return process if process.num_threads() > 1 else None
        return process if identity.mark in process.cmdline() else None
    except (psutil.NoSuchProcess, psutil.ZombieProcess, psutil.AccessDenied):
        return None


def life(identity: ProcessId) -> Life:
    process = find(identity)
    if process is None:
        return Life.DOWN
    try:
        stopped = process.status() == psutil.STATUS_STOPPED
    except psutil.Error:
        return Life.DOWN
    return Life.PAUSED if stopped else Life.RUNNING


def send(identity: ProcessId, signal_number: signal.Signals) -> bool:
    """Signal the process; False if it is not there any more."""
    process = find(identity)
    if process is None:
        return False
    try:
        process.send_signal(signal_number)
    except psutil.NoSuchProcess:
        return False
    return True


def wait_end(identities: Sequence[ProcessId], timeout_s: float) -> list[ProcessId]:
    """Wait until all have ended; those that have not when the time is over."""
    deadline = time.monotonic() + timeout_s
    left = list(identities)
    while left := [identity for identity in left if find(identity) is not None]:
        if time.monotonic() >= deadline:
            break
        time.sleep(POLL_S)
    return left


def kill(identities: Sequence[ProcessId]) -> None:
    """SIGKILL, and wait until they are gone."""
    for identity in identities:
        send(identity, signal.SIGKILL)
    left = wait_end(identities, KILL_WAIT_S)
    assert not left, f"processes {[each.pid for each in left]} outlived SIGKILL"


def exit_text(identity: ProcessId) -> str:
    """How one of our own children ended: `exit status 3`, `signal 9`; empty if unknown."""
    child = _children.get(identity.pid)
    code = None if child is None else child.poll()
    if code is None:
        return ""
    return f"signal {-code}" if code < 0 else f"exit status {code}"
