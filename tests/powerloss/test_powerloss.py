"""The disk that loses its power, and what of journal and engines survives on it."""

import os
import random
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from crypto.interface import Digest
from mechanisms.registry import Kind, create, load, names
from storage.engines import leveldb
from storage.interface import Store
from storage.journal import Journal
from tests.powerloss.powerloss import Disk
from tests.storage.test_ledger import opened as ledger_in

GENESIS = Digest(b"g" * 32)
ENGINES = [name for name in names(Kind.ENGINE) if load(Kind.ENGINE, name, lab=False).claims.durable]
KINDS = ["journal", *ENGINES]
VALUE_BYTES = 20_000

WRITER = """
import sys
from pathlib import Path
from tests.powerloss.test_powerloss import opened, value
kind, path, pattern = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
store = opened(kind, path, sync="s" in pattern)
for n in range(100_000):
    sync = pattern[n % len(pattern)] == "s"
    if kind == "journal":
        store.write({b"k%d" % n: value(n)})
    else:
        store.write({b"k%d" % n: value(n)}, sync=sync)
    print(n, sync, flush=True)
"""

LEDGER = """
import sys
from pathlib import Path
from storage.engines import leveldb
from tests.storage.test_ledger import Chain
chain = Chain(leveldb.create(leveldb.Options(write_buffer_bytes=65536), Path(sys.argv[1])))
for n in range(100_000):
    chain.grow(8, certificate_bytes=20_000)
    print(n + 1, flush=True)
"""


def value(number: int) -> bytes:
    return (b"%d." % number) * (VALUE_BYTES // 5)


def opened(kind: str, path: Path, *, sync: bool = True) -> "Store | Journal":
    if kind == "journal":
        return Journal.open(path / "journal", GENESIS, sync=sync)
    made: Store = create(Kind.ENGINE, kind, {}, path, lab=False)
    return made


def stored(kind: str, path: Path) -> Mapping[bytes, bytes]:
    store = opened(kind, path)
    try:
        return dict(store.entries if isinstance(store, Journal) else store.scan(b""))
    finally:
        store.close()


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shim")
    return Disk.under(folder, folder).library


@pytest.fixture
def disk(library: Path, tmp_path: Path) -> Disk:
    (tmp_path / "root").mkdir()
    return Disk((tmp_path / "root").resolve(), (tmp_path / "images").resolve(), library)


def python(disk: Disk, code: str, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, **disk.environment()},
        stdout=subprocess.PIPE,
        text=True,
    )


def written_until_the_power_fails(
    disk: Disk, kind: str, pattern: str, count: int
) -> tuple[int, list[int]]:
    """Kill the writer after `count` writes; the last acknowledged one, and all synced ones."""
    path = disk.root / "data"
    path.mkdir(exist_ok=True)
    with python(disk, WRITER, kind, str(path), pattern) as writer:
        assert writer.stdout is not None
        lines = [writer.stdout.readline() for _ in range(count)]
        writer.kill()
        lines += writer.stdout.read().splitlines(keepends=True)
    told = [line.split() for line in lines if line.endswith("\n")]
    disk.lose_power([path])
    return int(told[-1][0]), [int(number) for number, sync in told if sync == "True"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(2))
def test_what_was_synced_survives(disk: Disk, kind: str, seed: int) -> None:
    count = random.Random(f"{kind}{seed}").randrange(30, 400)
    last, synced = written_until_the_power_fails(disk, kind, "s", count)
    found = stored(kind, disk.root / "data")
    assert synced == list(range(last + 1))
    assert last >= count - 1
    for number in synced:
        assert found.get(b"k%d" % number) == value(number), f"{number} of {last}"


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_not_synced_is_lost(disk: Disk, kind: str) -> None:
    """The positive control: the disk does lose, so surviving on it means something."""
    last, _ = written_until_the_power_fails(disk, kind, "-", 60)
    found = stored(kind, disk.root / "data")
    assert found.get(b"k%d" % last) is None


@pytest.mark.parametrize("kind", ENGINES)
@pytest.mark.parametrize("count", [230, 330])
def test_what_was_synced_survives_among_writes_that_were_not(
    disk: Disk, kind: str, count: int
) -> None:
    """Certificates are not synced, blocks are; log rotations and checkpoints fall into both."""
    last, synced = written_until_the_power_fails(disk, kind, "---s", count)
    found = stored(kind, disk.root / "data")
    assert len(synced) >= count // 4
    for number in synced:
        assert found.get(b"k%d" % number) == value(number), f"{number} of {last}"


@pytest.mark.parametrize("count", [37, 43, 47, 53])
def test_a_ledger_never_counts_a_certificate_that_the_power_loss_took(
    disk: Disk, count: int
) -> None:
    """With a write buffer so small that logs are changed often."""
    path = disk.root / "data"
    path.mkdir()
    with python(disk, LEDGER, str(path)) as writer:
        assert writer.stdout is not None
        last = [int(writer.stdout.readline()) for _ in range(count)][-1]
        writer.kill()
    disk.lose_power([path])
    store = leveldb.create(leveldb.Options(), path)
    ledger, _ = ledger_in(store)
    assert ledger.height >= last
    assert ledger.certified >= last - 1
    for height in range(1, ledger.height + 1):
        assert ledger.block(height).header.height == height
        assert height > ledger.certified or ledger.certificate(height) is not None, height
    store.close()


def test_a_journal_that_rewrites_itself_survives(disk: Disk) -> None:
    code = (
        "import signal, sys\n"
        "from pathlib import Path\n"
        "import storage.journal\n"
        "storage.journal.COMPACT_BYTES_MIN = 2_000\n"
        "path, wait = Path(sys.argv[1]) / 'journal', int(sys.argv[2])\n"
        "journal = storage.journal.Journal.open(path, b'g' * 32)\n"
        "size = 0\n"
        "for n in range(100_000):\n"
        "    journal.write({b'k%d' % (n % 3): b'%d' % n})\n"
        "    print(n, flush=True)\n"
        "    before, size = size, path.stat().st_size\n"
        "    if size < before and n >= wait:\n"
        "        print('rewritten', flush=True)\n"
        "        signal.pause()\n"
    )
    path = disk.root / "data"
    for wait in (0, 100, 200):
        path.mkdir(exist_ok=True)
        with python(disk, code, str(path), str(wait)) as writer:
            assert writer.stdout is not None
            lines = iter(writer.stdout.readline, "rewritten\n")
            last = [int(line) for line in lines][-1]
            writer.kill()  # before anything more is written
        disk.lose_power([path])
        found = stored("journal", path)
        assert max(map(int, found.values())) >= last
        assert len(found) == 3


def test_a_synced_file_survives_with_its_overwritten_and_cut_bytes_and_its_new_name(
    disk: Disk,
) -> None:
    code = (
        "import os, sys\n"
        "os.chdir(sys.argv[1])\n"
        "f = os.open('a', os.O_RDWR | os.O_CREAT)\n"
        "os.write(f, b'abcdefgh' * 1000); os.fsync(f)\n"
        "os.pwrite(f, b'XYZ', 3); os.ftruncate(f, 4000); os.fdatasync(f)\n"
        "os.pwrite(f, b'lost', 100); os.write(f, b'lost')\n"
        "os.rename('a', os.path.abspath('a2'))\n"
        "g = os.open('b', os.O_RDWR | os.O_CREAT); os.write(g, b'gone')\n"
        "h = os.open('c', os.O_RDWR | os.O_CREAT); os.write(h, b'old'); os.fsync(h)\n"
        "h = os.open('c', os.O_RDWR | os.O_TRUNC); os.write(h, b'newer'); os.fsync(h)\n"
        "h = os.open('d', os.O_RDWR | os.O_CREAT); os.write(h, b'd'); os.fsync(h)\n"
        "os.unlink(os.path.abspath('d'))\n"
        "print('done', flush=True); os.kill(os.getpid(), 9)\n"
    ).replace("'a', os.path", "os.path.abspath('a'), os.path")
    with python(disk, code, str(disk.root)) as process:
        assert process.stdout is not None
        assert process.stdout.read() == "done\n"
    survivors = Path(disk.shadow)
    assert sorted(path.name for path in survivors.iterdir()) == ["a2", "c"]
    expected = bytearray(b"abcdefgh" * 500)
    expected[3:6] = b"XYZ"
    assert (survivors / "a2").read_bytes() == expected
    assert (survivors / "c").read_bytes() == b"newer"
