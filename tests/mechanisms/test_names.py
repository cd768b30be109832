"""Which mechanisms there are."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mechanisms.registry import FOLDERS, TITLES, Kind, MechanismError, load, names


def test_every_kind_has_a_folder_that_exists_and_a_title() -> None:
    assert set(FOLDERS) == set(Kind) == set(TITLES)
    for package in FOLDERS.values():
        importlib.import_module(package)


def test_mechanisms_that_are_part_of_assay_are_found() -> None:
    assert {"blake3", "sha256"} <= set(names(Kind.HASH))
    assert "ed25519" in names(Kind.SIGNATURE)
    assert {"plain", "encrypted"} <= set(names(Kind.KEY_STORE))


def test_a_file_is_a_mechanism_unless_its_name_is_reserved(folder: Path, good: str) -> None:
    for name in ("zeta", "alpha", "interface", "_helper", "Upper", "a" * 65):
        (folder / f"{name}.py").write_text(good)
    (folder / "package").mkdir()
    (folder / "package" / "__init__.py").touch()
    (folder / "note.md").touch()
    assert names(Kind.HASH) == ["alpha", "zeta"]


@pytest.mark.parametrize("name", ["interface", "_helper", "package"])
def test_what_is_reserved_cannot_be_loaded(folder: Path, good: str, name: str) -> None:
    (folder / "package").mkdir()
    for path in ("interface.py", "_helper.py", "package/__init__.py"):
        (folder / path).write_text(good)
    with pytest.raises(MechanismError, match=r"no hash function is called .*\nThere are: none"):
        load(Kind.HASH, name, lab=False)


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "..secret", "sub.inner", "../secret", "/etc/passwd", "a\x00b", "a\n", "os"],
)
def test_a_name_cannot_reach_outside_its_folder(folder: Path, name: str) -> None:
    trap = "raise AssertionError('this was imported')\n"
    (folder.parent / "secret.py").write_text(trap)
    (folder / "sub").mkdir()
    (folder / "sub" / "__init__.py").touch()
    (folder / "sub" / "inner.py").write_text(trap)
    with pytest.raises(MechanismError, match="no hash function is called"):
        load(Kind.HASH, name, lab=True)


def test_listing_imports_no_mechanism(folder: Path) -> None:
    (folder / "trap.py").write_text("raise AssertionError('this was imported')\n")
    assert names(Kind.HASH) == ["trap"]
    assert f"{folder.name}.trap" not in sys.modules


def test_loading_one_imports_no_other(folder: Path, good: str) -> None:
    (folder / "chosen.py").write_text(good)
    (folder / "trap.py").write_text("raise AssertionError('this was imported')\n")
    load(Kind.HASH, "chosen", lab=False)
    assert f"{folder.name}.chosen" in sys.modules
    assert f"{folder.name}.trap" not in sys.modules


def test_a_foreign_mechanism_exists_only_where_it_is_allowed(
    distribution: Callable[..., str],
) -> None:
    package = distribution("keccak")
    assert "keccak" not in names(Kind.HASH)
    assert "keccak" in names(Kind.HASH, allow=["keccak"])
    assert "keccak" not in names(Kind.SIGNATURE, allow=["keccak"])
    assert package not in sys.modules
