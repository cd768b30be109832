import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from testnet import process
from testnet.process import Life, ProcessId

SLEEPER = "import sys, time; print('up', flush=True); time.sleep(60)"


@pytest.fixture
def spawn(tmp_path: Path) -> Iterator[Callable[[str], ProcessId]]:
    started: list[ProcessId] = []

    def start(code: str) -> ProcessId:
        mark = str(tmp_path / f"home-{len(started)}")
        command = [sys.executable, "-c", code, mark]
        identity = process.spawn(command, log=tmp_path / "log", mark=mark, env={"MARK": "seen"})
        started.append(identity)
        return identity

    yield start
    process.kill(started)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_started_process_runs_and_is_down_after_a_kill(
    spawn: Callable[[str], ProcessId],
) -> None:
    identity = spawn(SLEEPER)
    assert process.life(identity) is Life.RUNNING
    process.kill([identity])
    assert process.life(identity) is Life.DOWN
    assert process.exit_text(identity) == "signal 9"


def test_a_paused_process_is_seen_as_paused_and_runs_on(
    spawn: Callable[[str], ProcessId],
) -> None:
    identity = spawn(SLEEPER)
    assert process.send(identity, signal.SIGSTOP)
    until(lambda: process.life(identity) is Life.PAUSED)
    assert process.send(identity, signal.SIGCONT)
    until(lambda: process.life(identity) is Life.RUNNING)


def test_a_number_that_belongs_to_another_process_is_never_signalled(
    spawn: Callable[[str], ProcessId],
) -> None:
    identity = spawn(SLEEPER)
    recycled = replace(identity, started=identity.started - 3600)
    assert process.find(recycled) is None
    assert not process.send(recycled, signal.SIGKILL)
    assert process.life(identity) is Life.RUNNING


def test_a_process_that_does_something_else_is_not_ours() -> None:
    started = psutil.Process(os.getpid()).create_time()
    stranger = ProcessId(os.getpid(), started, "/no/such/home")
    assert process.find(stranger) is None
    assert process.life(stranger) is Life.DOWN


def test_output_and_environment_reach_the_log(
    spawn: Callable[[str], ProcessId], tmp_path: Path
) -> None:
    identity = spawn("import os, sys; sys.stderr.write(os.environ['MARK']); sys.exit(3)")
    assert process.wait_end([identity], 10) == []
    assert (tmp_path / "log").read_text() == "seen"
    assert process.exit_text(identity) == "exit status 3"


def test_waiting_for_a_process_that_goes_on_names_it(
    spawn: Callable[[str], ProcessId],
) -> None:
    identity = spawn(SLEEPER)
    assert process.wait_end([identity], 0.05) == [identity]


def test_a_node_runs_in_a_session_of_its_own(spawn: Callable[[str], ProcessId]) -> None:
    identity = spawn(SLEEPER)
    assert os.getsid(identity.pid) == identity.pid != os.getsid(0)
