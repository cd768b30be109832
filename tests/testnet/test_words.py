import json
from pathlib import Path

from testnet.words import WORDS_MAX, last_word, tail


def write(path: Path, *records: object) -> Path:
    lines = [item if isinstance(item, str) else json.dumps(item) for item in records]
    path.write_text("\n".join(lines) + "\n")
    return path


def test_the_last_error_is_what_matters(tmp_path: Path) -> None:
    log = write(
        tmp_path / "node.log",
        {"event": "started", "level": "info"},
        {"event": "stopped", "level": "error", "time": "now", "reason": "port in use"},
        {"event": "closing", "level": "info"},
    )
    assert last_word(log) == "stopped reason=port in use"


def test_without_an_error_the_last_line_counts(tmp_path: Path) -> None:
    log = write(tmp_path / "node.log", {"event": "started", "level": "info"}, "Killed")
    assert last_word(log) == "Killed"


def test_no_log_is_no_word(tmp_path: Path) -> None:
    assert last_word(tmp_path / "none") == ""
    assert tail(tmp_path / "none", 5) == []


def test_a_long_word_is_cut(tmp_path: Path) -> None:
    log = write(tmp_path / "node.log", "x" * 10_000)
    assert len(last_word(log)) == WORDS_MAX + 3


def test_the_tail_has_so_many_lines(tmp_path: Path) -> None:
    log = write(tmp_path / "node.log", *map(str, range(1000)))
    assert tail(log, 3) == ["997", "998", "999"]
