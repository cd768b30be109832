"""Every engine in the folder keeps the contract of `storage.interface.Store`."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

from mechanisms.registry import Kind, load, names, options
from storage.interface import Store

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
