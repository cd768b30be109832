"""Every engine in the folder keeps the contract of `storage.interface.Store`."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

from mechanisms.registry import Kind, load, names, options
from storage.engines import leveldb
from storage.interface import Corrupted, Locked, StorageError, Store

Open: TypeAlias = Callable[[], Store]
DURABLE = [name for name in names(Kind.ENGINE) if load(Kind.ENGINE, name, lab=False).claims.durable]


def opened(name: str, path: Path) -> Store:
    engine = load(Kind.ENGINE, name, lab=False)
    store: Store = engine.create(options(engine, {}), path)
    return store


@pytest.fixture(params=names(Kind.ENGINE))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    made = opened(request.param, tmp_path / "data")
    yield made
    made.close()


def test_what_is_written_is_read_and_what_is_deleted_is_gone(store: Store) -> None:
    store.write({b"a": b"1", b"b": b"2"})
    store.write({b"a": None, b"b": b"3", b"c": b""})
    assert store.get_many([b"c", b"a", b"b", b"d"]) == [b"", None, b"3", None]
    assert store.get(b"b") == b"3"
    assert store.get(b"a") is None


def test_a_scan_is_ordered_and_stays_below_its_prefix(store: Store) -> None:
    keys = [b"a", b"p/", b"p/\x00", b"p/a", b"p/b", b"p/\xff", b"p/\xff\xff", b"p0", b"q", b"\xff"]
    store.write({key: key for key in reversed(keys)})
    assert [key for key, _ in store.scan(b"p/")] == keys[1:7]
    assert [key for key, _ in store.scan(b"p/", start=b"b")] == keys[4:7]
    assert [key for key, _ in store.scan(b"\xff")] == [b"\xff"]
    assert [key for key, _ in store.scan(b"")] == sorted(keys)
    assert list(store.scan(b"zzz")) == []


def test_a_scan_of_many_keys_gives_each_once(store: Store) -> None:
    expected = {b"k" + n.to_bytes(4, "big"): str(n).encode() for n in range(1_000)}
    store.write(expected)
    assert dict(store.scan(b"k")) == expected


@pytest.mark.parametrize("name", DURABLE)
def test_what_was_written_is_there_after_a_reopening(name: str, tmp_path: Path) -> None:
    first = opened(name, tmp_path / "data")
    first.write({b"k": b"v"})
    first.close()
    second = opened(name, tmp_path / "data")
    assert second.get(b"k") == b"v"
    second.close()


@pytest.mark.parametrize("name", DURABLE)
def test_a_second_process_is_refused_with_a_sentence(name: str, tmp_path: Path) -> None:
    first = opened(name, tmp_path / "data")
    code = (
        "import sys; from pathlib import Path; from tests.storage.test_engines import opened\n"
        "from storage.interface import Locked\n"
        "try: opened(sys.argv[1], Path(sys.argv[2]))\n"
        "except Locked as error: print(error); sys.exit(7)\n"
    )
    command = [sys.executable, "-c", code, name, str(tmp_path / "data")]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 7, done.stderr
    assert "stop that node first" in done.stdout
    first.close()
    opened(name, tmp_path / "data").close()


@pytest.mark.parametrize("name", DURABLE)
def test_a_kill_between_writes_leaves_whole_batches(name: str, tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.storage.test_engines import opened\n"
        "store = opened(sys.argv[1], Path(sys.argv[2]))\n"
        "for n in range(100_000):\n"
        "    value = str(n).encode()\n"
        "    store.write({b'a': value, b'b': value, b'n%d' % (n % 50): value * 50})\n"
        "    print(n, flush=True)\n"
    )
    command = [sys.executable, "-c", code, name, str(tmp_path / "data")]
    for _ in range(4):
        with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            for _ in range(60):
                acknowledged = int(writer.stdout.readline())
            os.kill(writer.pid, signal.SIGKILL)
            rest = writer.stdout.read().split(b"\n")[:-1]
        acknowledged = max([acknowledged, *map(int, rest)])
        store = opened(name, tmp_path / "data")
        first, second = store.get_many([b"a", b"b"])
        assert first == second
        assert first is not None
        assert int(first) >= acknowledged
        store.close()


def test_many_values_are_read_from_one_point_in_time(store: Store) -> None:
    keys = [b"k%d" % number for number in range(20)]
    store.write(dict.fromkeys(keys, b"0"))
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            store.write(dict.fromkeys(keys, str(number).encode()), sync=False)

    writer = threading.Thread(target=write)
    writer.start()
    seen: set[tuple[bytes | None, ...]] = set()
    deadline = time.monotonic() + 20
    try:
        while len(seen) < 100 and time.monotonic() < deadline:
            seen.add(tuple(store.get_many(keys)))
    finally:
        stop.set()
        writer.join()
    assert all(len(set(values)) == 1 for values in seen)
    assert len(seen) == 100


@pytest.mark.parametrize("name", DURABLE)
def test_after_a_failed_write_the_rest_is_refused_and_what_was_before_is_there(
    name: str, tmp_path: Path
) -> None:
    code = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from storage.interface import StorageError\n"
        "from tests.storage.test_engines import opened\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "store = opened(sys.argv[1], Path(sys.argv[2]))\n"
        "store.write({b'a': b'1'})\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))\n"
        "try: store.write({b'a': b'x' * 300_000, b'b': b'2'})\n"
        "except StorageError as error: print(error)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)\n"
        "try: store.write({b'c': b'3'})\n"
        "except StorageError as error: print(error)\n"
        "print(store.get(b'a'), store.get(b'c'))\n"
    )
    command = [sys.executable, "-c", code, name, str(tmp_path / "data")]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    first, second, values = done.stdout.splitlines()
    assert str(tmp_path) in first
    assert "restart the node" in second
    assert values == "b'1' None"
    again = opened(name, tmp_path / "data")
    assert again.get_many([b"a", b"b", b"c"]) == [b"1", None, None]
    again.write({b"c": b"4"})
    again.close()
    assert dict(opened(name, tmp_path / "data").scan(b"")) == {b"a": b"1", b"c": b"4"}


@pytest.mark.parametrize("name", DURABLE)
def test_a_path_that_cannot_be_a_directory_is_refused_in_a_sentence(
    name: str, tmp_path: Path
) -> None:
    (tmp_path / "blocks").write_text("a file")  # "lock" is in its name
    for path in (tmp_path / "blocks", tmp_path / "blocks" / "below"):
        with pytest.raises(StorageError, match="blocks") as caught:
            opened(name, path)
        assert not isinstance(caught.value, Locked)


@pytest.mark.parametrize("seed", range(40))
def test_leveldb_never_answers_from_a_block_with_a_flipped_bit(seed: int, tmp_path: Path) -> None:
    """SQLite has no checksums: there it is the ledger that notices."""
    rng = random.Random(seed)
    expected = {b"k%04d" % number: rng.randbytes(400) for number in range(400)}
    options_ = leveldb.Options(write_buffer_bytes=64 * 1024)
    first = leveldb.create(options_, tmp_path / "data")
    for key, value in expected.items():
        first.write({key: value}, sync=False)
    first.close()
    tables = sorted((tmp_path / "data").glob("*.ldb"))
    assert tables
    table = rng.choice(tables)
    raw = bytearray(table.read_bytes())
    raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
    table.write_bytes(raw)
    try:
        store = leveldb.create(options_, tmp_path / "data")
    except StorageError:
        return
    wrong = 0
    for key, value in expected.items():
        try:
            wrong += store.get(key) not in (value, None)
            wrong += store.get_many([key])[0] not in (value, None)
        except StorageError:
            continue
    try:
        wrong += any(expected[key] != value for key, value in store.scan(b""))
    except StorageError:
        pass
    finally:
        store.close()
    assert wrong == 0


def test_leveldb_without_its_current_file_is_refused_and_not_begun_anew(tmp_path: Path) -> None:
    store = leveldb.create(leveldb.Options(), tmp_path / "data")
    store.write({b"k": b"v"})
    store.close()
    leveldb.create(leveldb.Options(), tmp_path / "data").close()  # moves the log into a table
    current = (tmp_path / "data" / "CURRENT").read_bytes()
    (tmp_path / "data" / "CURRENT").unlink()
    with pytest.raises(Corrupted, match="CURRENT is missing"):
        leveldb.create(leveldb.Options(), tmp_path / "data")
    (tmp_path / "data" / "CURRENT").write_bytes(current)
    store = leveldb.create(leveldb.Options(), tmp_path / "data")
    assert store.get(b"k") == b"v"
    store.close()


def test_leveldb_names_a_table_that_was_cut_short_when_it_is_scanned(tmp_path: Path) -> None:
    path = tmp_path / "data"
    for number in (1, 2):  # opening and closing makes tables of the log
        store = opened("leveldb", path)
        store.write({b"k%d" % number: b"v" * 1000})
        store.close()
    opened("leveldb", path).close()
    whole = opened("leveldb", path)
    assert len(list(whole.scan(b"k"))) == 2
    whole.close()
    for table in path.glob("*.ldb"):
        os.truncate(table, table.stat().st_size // 2)
    cut = opened("leveldb", path)
    with pytest.raises(Corrupted, match="assay node fsck"):
        list(cut.scan(b"k"))
    cut.close()
