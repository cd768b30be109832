"""Structured logs: one JSON object per line on standard error.

Events have a stable name and fields, never sentences to be scraped; there is no line per
transaction anywhere. A field whose name looks like a secret is replaced before it is rendered,
bytes become hex, and long values are cut, so that a line stays a line whatever a peer sent.
What libraries say through `logging` comes out in the same form.

Logging is a property of the process, so `configure` is called once, by whoever owns the process.
"""

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Protocol, TextIO, cast

import structlog

LEVELS: Mapping[str, int] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}
REDACTED = "[redacted]"
VALUE_CHARACTERS_MAX = 2048
TRACE_CHARACTERS_MAX = 16 * 1024
ITEMS_MAX = 64
DEPTH_MAX = 4

_SECRET = re.compile(r"seed|secret|passw|passphrase|private|credential|token", re.I)
_LEVEL_OF_METHOD = {**LEVELS, "warn": logging.WARNING, "exception": logging.ERROR}
_LEVEL_OF_METHOD["critical"] = logging.CRITICAL


class Log(Protocol):
    """What code that logs needs: an event's stable name, and fields."""

    def debug(self, event: str, **fields: object) -> object: ...

    def info(self, event: str, **fields: object) -> object: ...

    def warning(self, event: str, **fields: object) -> object: ...

    def error(self, event: str, **fields: object) -> object: ...


class UnknownLevel(ValueError):
    """No such log level; the message lists those that exist."""


class Logs:
    """The level of this process's logs; may be changed at any time."""

    def __init__(self, level: str) -> None:
        self._level = "info"
        self._threshold = logging.INFO
        self.set_level(level)

    @property
    def level(self) -> str:
        return self._level

    def set_level(self, level: str) -> None:
        """Drop lines below `level` from now on, or raise `UnknownLevel`."""
        if level not in LEVELS:
            raise UnknownLevel(f"no log level is called {level!r}; there are {', '.join(LEVELS)}")
        self._level = level
        self._threshold = LEVELS[level]

    def lets_pass(self, level: int) -> bool:
        return level >= self._threshold

    def drop_quiet(
        self, _logger: object, method: str, event: MutableMapping[str, object]
    ) -> MutableMapping[str, object]:
        """A structlog processor; first in the chain, so that a dropped line costs little."""
        if not self.lets_pass(_LEVEL_OF_METHOD.get(method, logging.INFO)):
            raise structlog.DropEvent
        return event


def configure(level: str = "info", stream: TextIO | None = None) -> Logs:
    """Send all logs of this process to `stream` (standard error); the handle changes the level."""
    logs = Logs(level)
    structlog.configure(
        processors=[
            logs.drop_quiet,
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            structlog.processors.format_exc_info,
            redact,
            structlog.processors.JSONRenderer(sort_keys=False, default=repr),
        ],
        wrapper_class=structlog.BoundLogger,
        logger_factory=structlog.WriteLoggerFactory(stream or sys.stderr),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    for handler in tuple(root.handlers):
        if isinstance(handler, _Forward):
            root.removeHandler(handler)
    root.addHandler(_Forward())
    root.setLevel(logging.WARNING)
    return logs


def logger(**context: object) -> Log:
    """A logger whose lines all carry `context`, e.g. `logger(node="v1")`."""
    return cast(Log, structlog.get_logger(**context))


def redact(
    _logger: object, _method: str, event: MutableMapping[str, object]
) -> MutableMapping[str, object]:
    """A structlog processor: no secrets, no raw bytes, no endless values."""
    return {
        key: _clip(value, TRACE_CHARACTERS_MAX) if key == "exception" else _safe(key, value, 0)
        for key, value in event.items()
    }


def _safe(key: object, value: object, depth: int) -> object:
    if isinstance(key, str) and _SECRET.search(key):
        return REDACTED
    match value:
        case bool() | int() | float() | None:
            return value
        case str():
            return _clip(value, VALUE_CHARACTERS_MAX)
        case bytes() | bytearray() | memoryview():
            return _clip(bytes(value[: VALUE_CHARACTERS_MAX // 2 + 1]).hex(), VALUE_CHARACTERS_MAX)
    if depth >= DEPTH_MAX:
        return "..."
    match value:
        case Mapping():
            pairs = list(value.items())[:ITEMS_MAX]
            return {str(inner): _safe(inner, item, depth + 1) for inner, item in pairs}
        case list() | tuple() | set() | frozenset():
            return [_safe(None, item, depth + 1) for item in list(value)[:ITEMS_MAX]]
        case _:
            return _clip(str(value), VALUE_CHARACTERS_MAX)


def _clip(value: object, characters_max: int) -> str:
    text = str(value)
    return text if len(text) <= characters_max else text[:characters_max] + "..."


class _Forward(logging.Handler):
    """What libraries log, in our form."""

    def emit(self, record: logging.LogRecord) -> None:
        log = structlog.get_logger()
        fields = {"logger": record.name, "text": record.getMessage()}
        if record.levelno >= logging.ERROR:
            log.error("library", exc_info=record.exc_info, **fields)
        else:
            log.warning("library", **fields)
