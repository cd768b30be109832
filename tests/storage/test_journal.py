"""The journal: all or nothing, durable, and honest about damage."""

import fcntl
import os
import random
import resource
import shutil
import subprocess
import sys
import time
import zlib
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crypto.interface import Digest
from storage import journal as journal_file
from storage.interface import Corrupted, Locked, StorageError
from storage.journal import Journal

GENESIS = Digest(b"g" * 32)
OTHER = Digest(b"o" * 32)
WRITES: list[dict[bytes, bytes | None]] = [
    {b"a": b"1"},
    {b"b": b"2" * 40, b"c": b"3"},
    {b"a": None, b"b": b"4"},
]


def state_after(count: int) -> dict[bytes, bytes]:
    entries: dict[bytes, bytes] = {}
    for changes in WRITES[:count]:
        for key, value in changes.items():
            entries.pop(key, None)
            if value is not None:
                entries[key] = value
    return entries


def written(path: Path) -> bytes:
    journal = Journal.open(path, GENESIS)
    for changes in WRITES:
        journal.write(changes)
    journal.close()
    return path.read_bytes()


def reopened(path: Path) -> dict[bytes, bytes]:
    journal = Journal.open(path, GENESIS)
    entries = dict(journal.entries)
    journal.close()
    return entries


def test_what_was_written_is_there_after_a_reopening(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    first = Journal.open(path, GENESIS)
    assert first.fresh
    first.close()
    written(path)
    again = Journal.open(path, GENESIS)
    assert not again.fresh
    assert dict(again.entries) == state_after(3)
    again.close()


def test_cut_at_every_byte_it_gives_whole_records_and_says_what_was_cut(tmp_path: Path) -> None:
    whole = written(tmp_path / "journal")
    boundaries = {0, *_starts(whole)}
    seen = set()
    for size in range(len(whole)):
        path = tmp_path / "cut"
        path.write_bytes(whole[:size])
        journal = Journal.open(path, GENESIS)
        entries = dict(journal.entries)
        counts = [count for count in range(4) if state_after(count) == entries]
        assert counts, f"cut at {size}: {entries}"
        seen.add(counts[0])
        assert (journal.cut_bytes == 0) == (size in boundaries), size
        journal.close()
        assert reopened(path) == entries
    assert seen == {0, 1, 2}


def test_a_flipped_byte_anywhere_is_damage_and_nothing_is_cut(tmp_path: Path) -> None:
    """In the last record too: it may have been acknowledged, and a torn one looks otherwise."""
    whole = written(tmp_path / "journal")
    for position in range(len(whole)):
        path = tmp_path / "flipped"
        damaged = whole[:position] + bytes([whole[position] ^ 0x40]) + whole[position + 1 :]
        path.write_bytes(damaged)
        with pytest.raises(Corrupted, match="assay node fsck"):
            Journal.open(path, GENESIS)
        assert path.read_bytes() == damaged


def test_a_damaged_record_before_a_torn_one_is_not_forgotten(tmp_path: Path) -> None:
    whole = written(tmp_path / "journal")
    *_, former, last = _starts(whole)
    for size in range(last + 1, len(whole)):
        for position in range(former, last):
            path = tmp_path / "both"
            damaged = whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 : size]
            path.write_bytes(damaged)
            with pytest.raises(Corrupted):
                Journal.open(path, GENESIS)
            assert path.read_bytes() == damaged


@pytest.mark.parametrize("seed", range(20))
def test_sectors_that_never_reached_the_disk_are_a_torn_end(tmp_path: Path, seed: int) -> None:
    """Whichever of the last record's there are: its bytes are zeros, or the file ends."""
    rng = random.Random(seed)
    path = tmp_path / "journal"
    journal = Journal.open(path, GENESIS)
    journal.write({b"before": rng.randbytes(rng.randrange(1500))})
    start = path.stat().st_size
    journal.write({b"last": rng.randbytes(rng.randrange(3000))})
    journal.close()
    raw = bytearray(path.read_bytes())
    bounds = [start, *(at for at in range(0, len(raw), 512) if at > start), len(raw)]
    sectors = list(pairwise(bounds))
    for begin, end in rng.sample(sectors, rng.randrange(1, len(sectors) + 1)):
        raw[begin:end] = bytes(end - begin)
    path.write_bytes(raw)
    journal = Journal.open(path, GENESIS)
    assert list(journal.entries) == [b"before"]
    assert journal.cut_bytes == len(raw) - start
    journal.write({b"last": b"again"})
    journal.close()
    assert list(reopened(path)) == [b"before", b"last"]


def test_nothing_within_a_body_is_taken_for_a_record(tmp_path: Path) -> None:
    """A client chooses much of a body: whole records of other journals, and very large ones."""
    path, other = tmp_path / "journal", written(tmp_path / "other")
    journal = Journal.open(path, GENESIS)
    journal.write({b"before": b"1"})
    start = path.stat().st_size
    content = other + (b"\x00\x00\x10\x00" * 500_000) + other
    journal.write({b"payload": content})
    journal.close()
    size = path.stat().st_size
    for cut in (start + 1, start + 500, size // 2, size - 1):
        copy = tmp_path / "torn"
        shutil.copyfile(path, copy)
        os.truncate(copy, cut)
        began = time.process_time()
        assert reopened(copy) == {b"before": b"1"}
        assert time.process_time() - began < 5  # a search for heads at each byte takes minutes
    assert reopened(path) == {b"before": b"1", b"payload": content}


def test_records_of_another_journal_or_in_another_order_are_damage(tmp_path: Path) -> None:
    whole, other = written(tmp_path / "journal"), written(tmp_path / "other")
    starts = [*_starts(whole), len(whole)]
    opening, *records = (whole[begin:end] for begin, end in pairwise(starts))
    for wrong in (
        opening + records[1],
        opening + records[0] + records[0],
        opening + records[0] + records[2],
        whole[: starts[-2]] + other[starts[-2] :],
        other[: starts[1]] + whole[starts[1] :],
    ):
        (tmp_path / "wrong").write_bytes(wrong)
        with pytest.raises(Corrupted):
            Journal.open(tmp_path / "wrong", GENESIS)


def test_a_journal_of_another_format_is_refused(tmp_path: Path) -> None:
    raw = written(tmp_path / "journal").replace(b"journal 2", b"journal 9")
    opening = raw[:56]
    (tmp_path / "journal").write_bytes(opening + zlib.crc32(opening).to_bytes(4) + raw[60:])
    with pytest.raises(StorageError, match="another release"):
        Journal.open(tmp_path / "journal", GENESIS)


def _starts(whole: bytes) -> list[int]:
    """Where the opening and the records begin."""
    starts = [0, 60]
    while starts[-1] < len(whole):
        length = int.from_bytes(whole[starts[-1] + 16 : starts[-1] + 20])
        starts.append(starts[-1] + 28 + length)
    return starts[:-1]


def test_the_journal_of_another_network_is_refused(tmp_path: Path) -> None:
    written(tmp_path / "journal")
    with pytest.raises(StorageError, match="another network"):
        Journal.open(tmp_path / "journal", OTHER)


def test_a_second_opening_is_refused_while_the_first_lasts(tmp_path: Path) -> None:
    first = Journal.open(tmp_path / "journal", GENESIS)
    with pytest.raises(Locked, match="stop that node first"):
        Journal.open(tmp_path / "journal", GENESIS)
    first.close()
    Journal.open(tmp_path / "journal", GENESIS).close()


def test_it_rewrites_itself_and_keeps_what_is_live(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_file, "COMPACT_BYTES_MIN", 10_000)
    path = tmp_path / "journal"
    journal = Journal.open(path, GENESIS)
    for number in range(300):
        journal.write({b"k%d" % (number % 3): bytes(100) + str(number).encode()})
        assert path.stat().st_size < 12_000
    journal.close()
    expected = {b"k%d" % (n % 3): bytes(100) + str(n).encode() for n in (297, 298, 299)}
    assert reopened(path) == expected


def test_what_a_crash_in_mid_rewrite_left_is_swept_away(tmp_path: Path) -> None:
    written(tmp_path / "journal")
    (tmp_path / "journal.new").write_bytes(b"half")
    assert reopened(tmp_path / "journal") == state_after(3)
    assert not (tmp_path / "journal.new").exists()


def test_who_comes_second_leaves_the_owner_s_unfinished_rewrite_alone(tmp_path: Path) -> None:
    owner = Journal.open(tmp_path / "journal", GENESIS)
    (tmp_path / "journal.new").write_bytes(b"in the making")
    with pytest.raises(Locked):
        Journal.open(tmp_path / "journal", GENESIS)
    assert (tmp_path / "journal.new").exists()
    owner.close()


def test_a_journal_that_was_rewritten_between_opening_and_locking_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise the votes would go into a file that has no name any more."""
    written(tmp_path / "journal")
    flock = fcntl.flock

    def rewritten_meanwhile(handle: int, operation: int) -> None:
        shutil.copyfile(tmp_path / "journal", tmp_path / "other")
        (tmp_path / "other").replace(tmp_path / "journal")
        flock(handle, operation)

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", rewritten_meanwhile)
        with pytest.raises(Locked):
            Journal.open(tmp_path / "journal", GENESIS)
    assert reopened(tmp_path / "journal") == state_after(3)


def test_a_rewrite_is_synced_once_not_for_each_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_file, "COMPACT_BYTES_MIN", 10_000)
    synced: list[float] = []
    journal = Journal.open(tmp_path / "journal", GENESIS, wrote=synced.append)
    for number in range(300):
        journal.write({b"k%d" % (number % 10): bytes(100)})
    journal.close()
    assert (tmp_path / "journal").stat().st_size < 12_000
    assert len(synced) == 301  # and the header's


def test_a_crash_at_any_point_of_a_rewrite_leaves_the_old_or_the_new_journal(
    tmp_path: Path,
) -> None:
    """A rewrite is a new file and a rename: whatever of the new file there is, the old one counts.

    After the rename it is the new one, which has all of it.
    """
    whole = written(tmp_path / "journal")
    for size in range(0, len(whole), 7):
        (tmp_path / "journal").write_bytes(whole)
        (tmp_path / "journal.new").write_bytes(whole[:size])
        assert reopened(tmp_path / "journal") == state_after(3)
    code = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "import storage.journal as journal_file\n"
        "journal_file.COMPACT_BYTES_MIN = 3_000\n"
        "journal = journal_file.Journal.open(Path(sys.argv[1]), b'g' * 32)\n"
        "for n in range(10_000):\n"
        "    journal.write({b'k%d' % (n % 20): b'%d' % n})\n"
        "    print(n, flush=True)\n"
    )
    (tmp_path / "killed").mkdir()
    for count in range(200, 206):
        path = tmp_path / "killed" / "journal"
        command = [sys.executable, "-c", code, str(path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            last = [int(writer.stdout.readline()) for _ in range(count)][-1]
            writer.kill()
        assert path.stat().st_size < 4_000
        assert max(map(int, reopened(path).values())) >= last


def test_a_journal_that_cannot_be_opened_is_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "journal").mkdir()
    with pytest.raises(StorageError, match="journal"):
        Journal.open(tmp_path / "journal", GENESIS)


def test_after_a_failed_write_nothing_is_written_any_more(tmp_path: Path) -> None:
    code = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from storage.interface import StorageError\n"
        "from storage.journal import Journal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "journal = Journal.open(Path(sys.argv[1]), b'g' * 32)\n"
        "journal.write({b'a': b'1'})\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (400, resource.RLIM_INFINITY))\n"
        "for value in (b'x' * 1000, b'2'):\n"
        "    try: journal.write({b'a': value})\n"
        "    except StorageError as error: print(error)\n"
        "    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)\n"
        "print(journal.entries[b'a'])\n"
    )
    assert resource.RLIMIT_FSIZE is not None
    command = [sys.executable, "-c", code, str(tmp_path / "journal")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    first, second, value = done.stdout.splitlines()
    assert "Nothing is signed any more" in first
    assert "an earlier write failed; restart the node" in second
    assert value == "b'1'"
    assert reopened(tmp_path / "journal") == {b"a": b"1"}


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.dictionaries(st.binary(max_size=4), st.none() | st.binary(max_size=20), max_size=4),
        max_size=12,
    )
)
def test_it_agrees_with_a_dictionary(
    tmp_path: Path, writes: list[dict[bytes, bytes | None]]
) -> None:
    path = tmp_path / "model"
    path.unlink(missing_ok=True)
    model: dict[bytes, bytes] = {}
    journal = Journal.open(path, GENESIS, sync=False)
    for changes in writes:
        journal.write(changes)
        for key, value in changes.items():
            model.pop(key, None)
            if value is not None:
                model[key] = value
        assert dict(journal.entries) == model
    journal.close()
    assert reopened(path) == model
