"""Real folders with real mechanism files, each in a package of a name that no other test uses."""

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from mechanisms.registry import FOLDERS, Kind

GOOD = """
from dataclasses import dataclass

CLAIMS = "promises nothing"


@dataclass(frozen=True)
class Options:
    word: str = "hello"


def create(options, *parts, **named):
    return (options.word, parts, named)
"""

_count = itertools.count()


@pytest.fixture
def good() -> str:
    """The text of a mechanism file that has all parts."""
    return GOOD


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that stands for the folder of hashes."""
    name = f"made_up_{next(_count)}"
    place = tmp_path / "ours" / name
    place.mkdir(parents=True)
    (place / "__init__.py").touch()
    monkeypatch.syspath_prepend(place.parent)
    monkeypatch.setitem(FOLDERS, Kind.HASH, name)
    return place


@pytest.fixture
def distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Installs a package that offers one mechanism, and returns the name of its module."""

    def install(name: str, group: str = "assay.hash", body: str = GOOD, attribute: str = "") -> str:
        package = f"foreign_{next(_count)}"
        site = tmp_path / package
        site.mkdir()
        (site / f"{package}.py").write_text(body)
        info = site / f"{package}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {package}{attribute}\n")
        monkeypatch.syspath_prepend(site)
        return package

    return install
