"""Runs a node and counts what its processor time goes to; for `assay bench node --profile`.

A thread looks at all other threads fifty times a second. The processor time that a thread has
used since the last look (as the kernel counts it, so waiting costs nothing) goes to the part whose
code is innermost on its stack. The event loop's own code cannot be told from waiting; what it uses
is spread over the rest. The sums are written to HOME/profile.json once a second.

Source of the times: Linux /proc/PID/task/TID/schedstat, first field, in nanoseconds.
"""

import json
import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import TypeAlias

from node.run import run
from testnet.manifest import write_atomically

FILE = "profile.json"
INTERVAL_S = 0.02
WRITE_S = 1.0
DEPTH_MAX = 60

PARTS: tuple[tuple[str, str], ...] = (
    ("crypto/signatures", "signatures"),
    ("crypto/hashes", "hashing"),
    ("crypto/merkle", "hashing"),
    ("crypto/encoding", "encoding"),
    ("storage/commitments", "hashing"),
    ("storage/journal", "journal"),
    ("storage", "storage"),
    ("p2p", "peer channel"),
    ("consensus", "consensus"),
    ("apps", "execution"),
    ("node/executor", "execution"),
    ("node/chain", "execution"),
    ("node/api", "HTTP"),
    ("uvicorn", "HTTP"),
    ("fastapi", "HTTP"),
    ("starlette", "HTTP"),
    ("node/mempool", "mempool and ingress"),
    ("node/ingress", "mempool and ingress"),
    ("node/validity", "mempool and ingress"),
    ("node/payloads", "proposals"),
    ("node/proposals", "proposals"),
    ("node", "host"),
    ("benchmarks/profiled", "profiler"),
)
"""Folder or file to part; the first that fits."""

OTHER = "event loop and interpreter"
IDLE = frozenset({OTHER, "node/run.py:run"})
"""Where a thread is seen that waits: the event loop's own code, or a worker's queue."""

UNSEEN = ""
"""Stands for the place while nothing but waiting was seen."""

Used: TypeAlias = dict[str, dict[str, float]]
"""Thread -> place -> processor seconds."""

_ROOT = str(Path(__file__).resolve().parent.parent)


def place_of(stack: Iterable[tuple[str, str]]) -> str:
    """The innermost function that belongs to a part, as `file:function`.

    `stack`: source file and function, innermost first.
    """
    for path, function in stack:
        local = path.removeprefix(_ROOT + "/").partition("site-packages/")
        name = local[2] or local[0]
        if part_of(name) != OTHER:
            return f"{name}:{function}"
    return OTHER


def part_of(place: str) -> str:
    """The part that a place (or a file) belongs to."""
    for prefix, part in PARTS:
        if place.startswith((prefix + "/", prefix + ".")):
            return part
    return OTHER


class Profile:
    """Processor seconds by thread and place. Bounded by the threads a node ever has."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._threads: dict[int, _Thread] = {}

    def run(self) -> None:
        """In a thread of its own, for as long as the process lives."""
        written = time.monotonic()
        while True:
            time.sleep(INTERVAL_S)
            self.look()
            if time.monotonic() - written >= WRITE_S:
                written = time.monotonic()
                write_atomically(self._file, json.dumps(self.used()).encode())

    def look(self) -> None:
        frames = sys._current_frames()
        for thread in threading.enumerate():
            if thread.native_id is None or thread.ident is None:
                continue
            seen = self._threads.get(thread.native_id)
            if seen is None:
                seen = self._threads[thread.native_id] = _Thread(thread.native_id)
            seen.look(place_of(_stack(frames.get(thread.ident))))

    def used(self) -> Used:
        return {str(native_id): thread.used for native_id, thread in self._threads.items()}


class _Thread:
    """What one thread was seen doing, and what it used meanwhile."""

    def __init__(self, native_id: int) -> None:
        self._handle = os.open(f"/proc/self/task/{native_id}/schedstat", os.O_RDONLY)
        self._used_ns = 0
        self._used_ns = self._read_ns()
        self.used: dict[str, float] = {}

    def look(self, place: str) -> None:
        used = self._read_ns()
        spent, self._used_ns = (used - self._used_ns) / 1e9, used
        key = UNSEEN if place in IDLE else place
        if spent > 0:
            self.used[key] = self.used.get(key, 0.0) + spent

    def _read_ns(self) -> int:
        try:
            return int(os.pread(self._handle, 64, 0).split()[0])
        except (OSError, IndexError, ValueError):
            return self._used_ns  # it has just ended


def command(home: Path) -> list[str]:
    """The command that runs the node in `home` with a profile."""
    return [sys.executable, "-m", "benchmarks.profiled", str(home)]


def snapshot(homes: Sequence[Path]) -> Used:
    """What all threads of all nodes used so far; empty where none is profiled."""
    found: Used = {}
    for home in homes:
        path = home / FILE
        if path.exists():
            threads = json.loads(path.read_bytes())
            found.update({f"{home.name}/{thread}": used for thread, used in threads.items()})
    return found


def difference(before: Used, after: Used) -> dict[str, float]:
    """What was spent between two snapshots, by place, largest first.

    A thread that worked between two looks and waits at the second was not seen working. What it
    used then is spread over the places where it was seen, in their proportion.
    """
    total: dict[str, float] = {}
    for thread, used in after.items():
        former = before.get(thread, {})
        spent = {place: value - former.get(place, 0.0) for place, value in used.items()}
        unseen = spent.pop(UNSEEN, 0.0)
        seen = sum(spent.values())
        if seen <= 0:
            total[OTHER] = total.get(OTHER, 0.0) + unseen
            continue
        for place, value in spent.items():
            total[place] = total.get(place, 0.0) + value * (1 + unseen / seen)
    return dict(sorted(total.items(), key=lambda item: -item[1]))


def by_part(places: Mapping[str, float]) -> dict[str, float]:
    """The sums of the parts, largest first."""
    total: dict[str, float] = {}
    for place, seconds in places.items():
        total[part_of(place)] = total.get(part_of(place), 0.0) + seconds
    return dict(sorted(total.items(), key=lambda item: -item[1]))


def _stack(frame: FrameType | None) -> Iterator[tuple[str, str]]:
    depth = 0
    while frame is not None and depth < DEPTH_MAX:
        yield frame.f_code.co_filename, frame.f_code.co_qualname
        frame = frame.f_back
        depth += 1


def main(home: Path) -> int:
    """Run the node in `home` until it is told to stop."""
    profile = Profile(home / FILE)
    threading.Thread(target=profile.run, daemon=True, name="profile").start()
    return run(home)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
