"""`--set KEY=VALUE`: what may be set, and whether it is agreed (genesis) or local (node file).

Keys of the genesis are written bare (`hash=blake3`), options of the consensus protocol too
(`view_timeout_ms=500`), fields of the node file by section and field (`batch.delay_ms=5`) or by
one of the short names below.
"""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from testnet.errors import WrongUse

Value: TypeAlias = str | int | float | bool

SHORT: Mapping[str, str] = {
    "engine": "storage.engine",
    "sync": "storage.sync",
    "batch_delay_ms": "batch.delay_ms",
    "overdue_ms": "batch.overdue_ms",
    "forward_ms": "batch.forward_ms",
    "log_level": "log.level",
    "transport": "peers.transport",
}
"""Short names of node-file fields."""

GENESIS_WORDS = (
    "consensus",
    "leader",
    "hash",
    "validator_signature",
    "client_signature",
    "channel",
    "commitment",
    "certificate",
)
"""Names of mechanisms that all nodes share."""

GENESIS_FLAGS = ("lab", "open_lab")
APPLICATIONS = "applications"
"""Names, separated by commas: `applications=kv,payments`."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Checked and sorted by where they go."""

    genesis: dict[str, Value] = field(default_factory=dict)
    """Fields of the genesis: words, flags, and `applications` as one comma-separated word."""
    consensus: dict[str, Value] = field(default_factory=dict)
    """Options of the consensus protocol."""
    limits: dict[str, int] = field(default_factory=dict)
    """Fields of the genesis' limits."""
    node: dict[str, Value] = field(default_factory=dict)
    """Dotted fields of the node file."""


@dataclass(frozen=True, slots=True)
class Known:
    """Which keys exist besides the fixed ones; asked of the parts themselves."""

    consensus: tuple[str, ...]
    limits: tuple[str, ...]
    node: tuple[str, ...]
    genesis: tuple[str, ...] = GENESIS_WORDS

    def keys(self) -> list[str]:
        fixed = (*self.genesis, *GENESIS_FLAGS, APPLICATIONS, *SHORT)
        return sorted({*fixed, *self.consensus, *self.limits, *self.node})


def parse(pairs: Iterable[str]) -> dict[str, Value]:
    """`KEY=VALUE` words to a mapping. Raises `WrongUse`."""
    values: dict[str, Value] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise WrongUse(f"--set {pair!r} is not KEY=VALUE, as in --set hash=blake3")
        if key in values:
            raise WrongUse(f"--set {key} is given twice")
        values[key] = value_of(text)
    return values


def value_of(text: str) -> Value:
    """`true`, `false`, a whole number, a decimal, or else the word itself."""
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def route(values: Mapping[str, Value], known: Known) -> Settings:
    """Sort by where each goes. Raises `WrongUse` for a key that does not exist."""
    settings = Settings()
    for key, value in values.items():
        if key in known.genesis or key == APPLICATIONS:
            settings.genesis[key] = _word(key, value)
        elif key in GENESIS_FLAGS:
            settings.genesis[key] = _flag(key, value)
        elif key in known.consensus:
            settings.consensus[key] = value
        elif key in known.limits:
            settings.limits[key] = _whole(key, value)
        elif (dotted := SHORT.get(key, key)) in known.node:
            settings.node[dotted] = value
        else:
            raise WrongUse(_unknown(key, known.keys()))
    return settings


def _unknown(key: str, keys: list[str]) -> str:
    near = difflib.get_close_matches(key, keys, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    return f"--set {key}: there is no such setting.{hint}\nThere are: {' '.join(keys)}"


def _word(key: str, value: Value) -> str:
    if not isinstance(value, str):
        raise WrongUse(f"--set {key}={value}: a name is expected")
    return value


def _flag(key: str, value: Value) -> bool:
    if not isinstance(value, bool):
        raise WrongUse(f"--set {key}={value}: true or false is expected")
    return value


def _whole(key: str, value: Value) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise WrongUse(f"--set {key}={value}: a whole number is expected")
    return value
