import importlib.util
import shutil
from pathlib import Path
from typing import Any

import pytest

from testnet import preflight
from testnet.errors import Unfit


def test_this_machine_is_fit(tmp_path: Path) -> None:
    preflight.check(tmp_path / "new" / "network")


def test_an_old_python_is_named_with_the_remedy() -> None:
    with pytest.raises(Unfit, match=r"Python 3\.10 is too old.*make setup"):
        preflight.check_python((3, 10))
    preflight.check_python((3, 13))


def test_a_missing_leveldb_library_is_named_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def find_spec(name: str, package: str | None = None) -> Any:
        return None

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)
    with pytest.raises(Unfit, match=r"plyvel.*engine=sqlite"):
        preflight.check_engine("leveldb")
    preflight.check_engine("sqlite")


def test_a_full_disk_is_found_before_the_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(Unfit, match="MiB are free"):
        preflight.check_disk(tmp_path)


def test_a_file_where_the_directory_should_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unfit, match="not a directory"):
        preflight.check_disk(tmp_path / "file")
