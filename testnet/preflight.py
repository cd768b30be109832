"""What would stop a node from starting, found before anything is started."""

import importlib.util
import os
import shutil
import sys
from pathlib import Path

from testnet.errors import Unfit

PYTHON_MIN = (3, 11)
DISK_BYTES_MIN = 256 * 1024 * 1024
"""Less free space than this and a network is not started."""

_LEVELDB = "leveldb"


def check(directory: Path, engine: str = _LEVELDB) -> None:
    """Raise `Unfit` with the remedy if nodes could not run here."""
    check_python(sys.version_info[:2])
    check_engine(engine)
    check_disk(directory)


def check_python(version: tuple[int, int]) -> None:
    if version < PYTHON_MIN:
        found = ".".join(map(str, version))
        raise Unfit(f"Python {found} is too old: Assay needs 3.11 or newer (make setup finds one)")


def check_engine(engine: str) -> None:
    """That the storage engine's library is installed."""
    if engine == _LEVELDB and importlib.util.find_spec("plyvel") is None:
        version = ".".join(map(str, sys.version_info[:2]))
        raise Unfit(
            f"plyvel, the LevelDB library, is not installed (there is no wheel for Python "
            f"{version} beyond 3.12): use Python 3.11 or 3.12, or build it (libleveldb-dev, "
            "pip install --no-binary plyvel plyvel), or choose --set engine=sqlite"
        )


def check_disk(directory: Path) -> None:
    """That `directory` can be written and has space."""
    place = directory.resolve()
    while not place.exists():
        place = place.parent
    if not place.is_dir():
        raise Unfit(f"{place} is not a directory; choose another --dir")
    if not os.access(place, os.W_OK | os.X_OK):
        raise Unfit(f"{place} cannot be written; choose another --dir, or change its permissions")
    free = shutil.disk_usage(place).free
    if free < DISK_BYTES_MIN:
        raise Unfit(
            f"only {free // 2**20} MiB are free at {place}; a network needs "
            f"{DISK_BYTES_MIN // 2**20} MiB at least. Free some, or choose another --dir"
        )
