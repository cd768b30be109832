"""The journal: all or nothing, durable, and honest about damage."""

import resource
import subprocess
import sys
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


def test_a_flipped_byte_is_a_torn_end_only_in_the_last_record(tmp_path: Path) -> None:
    whole = written(tmp_path / "journal")
    last = _starts(whole)[-1]
    for position in range(len(whole)):
        path = tmp_path / "flipped"
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 0x40]) + whole[position + 1 :])
        if position >= last:
            assert reopened(path) == state_after(2), position
            continue
        with pytest.raises(Corrupted, match="assay node fsck"):
            Journal.open(path, GENESIS)


def _starts(whole: bytes) -> list[int]:
    """Where the records begin."""
    starts = [0]
    while starts[-1] < len(whole):
        length = int.from_bytes(whole[starts[-1] : starts[-1] + 4], "big")
        starts.append(starts[-1] + 8 + length)
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
        "print(journal.entries[b'a'])\n"
    )
    assert resource.RLIMIT_FSIZE is not None
    command = [sys.executable, "-c", code, str(tmp_path / "journal")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    first, second, value = done.stdout.splitlines()
    assert "Nothing is signed any more" in first
    assert "restart the node" in second
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
