"""`assay node fsck`: 0 clean, 1 damaged, 3 it could not look."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from storage.engines import leveldb
from storage.interface import Store
from testnet.network import Testnet
from tests.node.test_fsck import BLOCKS, PER_BLOCK, Written, opened

Assay = Callable[..., Any]


@pytest.fixture
def written(tmp_path: Path) -> Written:
    Testnet.create(tmp_path / "net", 1)
    made = opened(tmp_path / "net")
    made.append(BLOCKS)
    return made


def test_a_sound_home_is_0_and_says_what_is_in_it(assay: Assay, written: Written) -> None:
    done = assay("node", "fsck", "--home", written.home.path)
    assert (done.code, done.err) == (0, "")
    assert f"is clean: {BLOCKS} blocks, {BLOCKS * PER_BLOCK} transactions" in done.out
    found = assay("node", "fsck", "--home", written.home.path, "--json").json
    assert (found["clean"], found["height"], found["certified"]) == (True, BLOCKS, BLOCKS)


def test_a_damaged_home_is_1_and_says_where_and_what_to_do(assay: Assay, written: Written) -> None:
    def damage(store: Store) -> None:
        key, value = next(iter(store.scan(b"b/")))
        store.write({key: value[:-1]})

    written.change(damage)
    done = assay("node", "fsck", "--home", written.home.path)
    assert done.code == 1
    assert "the body of height 1 is corrupt" in done.err
    assert str(written.home.data) in done.err
    done = assay("node", "fsck", "--home", written.home.path, "--json")
    assert (done.code, done.json["clean"]) == (1, False)
    assert done.json["error"]["code"] == "damaged"


def test_a_home_in_use_is_3_with_a_sentence(assay: Assay, written: Written) -> None:
    store = leveldb.create(leveldb.Options(), written.home.data)
    done = assay("node", "fsck", "--home", written.home.path)
    store.close()
    assert done.code == 3
    assert "stop that node first" in done.err
    assert "Traceback" not in done.err
    assert assay("node", "fsck", "--home", written.home.path).code == 0
