"""What a node's log says last: for people who ask why it is not up."""

from collections.abc import Iterator
from pathlib import Path

import msgspec

TAIL_BYTES = 64 * 1024
WORDS_MAX = 300
_SEVERE = ("error", "critical")


def tail(path: Path, count: int) -> list[str]:
    """The last `count` lines; none where there is no log."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - max(TAIL_BYTES, count * 512)))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return []
    return text.splitlines()[-count:]


def last_word(path: Path) -> str:
    """What the node said last that matters: its last error, or else its last line."""
    lines = [line for line in tail(path, 200) if line.strip()]
    for line in reversed(lines):
        record = _record(line)
        if record is not None and record.get("level") in _SEVERE:
            return _sentence(record)
    if not lines:
        return ""
    record = _record(lines[-1])
    return _clip(lines[-1]) if record is None else _sentence(record)


def _record(line: str) -> dict[str, object] | None:
    try:
        return msgspec.json.decode(line, type=dict[str, object])
    except msgspec.DecodeError:
        return None


def _sentence(record: dict[str, object]) -> str:
    return _clip(" ".join(_parts(record)))


def _parts(record: dict[str, object]) -> Iterator[str]:
    yield str(record.get("event", ""))
    for key, value in record.items():
        if key not in ("event", "level", "time", "exception", "logger"):
            yield f"{key}={value}"


def _clip(text: str) -> str:
    return text if len(text) <= WORDS_MAX else text[:WORDS_MAX] + "..."
