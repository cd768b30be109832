"""Where and with what a result was measured: enough for somebody else to judge it."""

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
FSYNCS = 50
FSYNC_BYTES = 4096


def provenance(cores: list[int], directory: Path) -> dict[str, object]:
    """Everything about machine and code that belongs to a result."""
    return {
        "time_utc": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "commit": _git("rev-parse", "HEAD"),
        "dirty": bool(_git("status", "--porcelain") or ""),
        "python": sys.version.split()[0],
        "packages": packages(),
        "cpu_model": cpu_model(),
        "cores_used": cores,
        "cores_machine": os.cpu_count(),
        "memory_mib": psutil.virtual_memory().total // 2**20,
        "governor": _read(f"/sys/devices/system/cpu/cpu{cores[0]}/cpufreq/scaling_governor"),
        "kernel": platform.release(),
        "system": platform.system(),
        "architecture": platform.machine(),
        "clock": time.get_clock_info("perf_counter").implementation,
        "fsync_p50_ms": round(fsync_p50_ms(directory), 4),
    }


def packages() -> dict[str, str]:
    """Names and versions of all that is installed."""
    found = {
        each.metadata["Name"].lower(): each.version
        for each in importlib.metadata.distributions()
        if each.metadata["Name"]
    }
    return dict(sorted(found.items()))


def cpu_model() -> str:
    for line in (_read("/proc/cpuinfo") or "").splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "Model"):
            return value.strip()
    return platform.processor() or "unknown"


def fsync_p50_ms(directory: Path) -> float:
    """Median time of appending 4 KiB and making it durable, where the nodes store."""
    path = directory / ".fsync-probe"
    times = []
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        for _ in range(FSYNCS):
            began = time.perf_counter()
            os.write(handle, b"\0" * FSYNC_BYTES)
            os.fsync(handle)
            times.append(time.perf_counter() - began)
    finally:
        os.close(handle)
        path.unlink()
    return sorted(times)[len(times) // 2] * 1000


def _git(*words: str) -> str | None:
    git = shutil.which("git")
    if git is None:
        return None
    done = subprocess.run(  # noqa: S603 - fixed words
        [git, "-C", str(ROOT), *words], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() if done.returncode == 0 else None


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError:
        return None
