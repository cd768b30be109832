"""The node file (`node.toml`): what is local to one node. What is agreed is in the genesis.

The only place that reads configuration from files or the environment.
"""

import tomllib
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

Port = Annotated[int, Meta(ge=0, le=65_535)]
Positive = Annotated[int, Meta(ge=1)]
FORMAT = 1


class ConfigError(Exception):
    """A configuration that cannot be used. The message names file and field."""


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class Listen(_Section, frozen=True, kw_only=True):
    api: str = "127.0.0.1:7101"
    admin: str = "127.0.0.1:7301"
    peer: str = "127.0.0.1:7201"


class Storage(_Section, frozen=True, kw_only=True):
    engine: str = "leveldb"
    options: dict[str, int | str | bool] = {}
    sync: bool = True
    """False: faster, and a power loss may lose what was acknowledged. Needs `lab = true`."""


class Keys(_Section, frozen=True, kw_only=True):
    store: str = "plain"
    password_file: str = ""
    """For `store = "encrypted"`: a file (0600) that holds the password."""


class Peers(_Section, frozen=True, kw_only=True):
    addresses: dict[str, str] = {}
    """Validator name -> host:port."""
    observers_open: bool = False
    """Whether nodes outside the committee may connect and follow."""
    observers: dict[str, str] = {}
    """Observer name -> channel key (hex), where `observers_open` is false."""
    transport: str = "tcp"
    options: dict[str, int] = {}
    """Limits of the transport; see `p2p/limits.py`."""


class MempoolSection(_Section, frozen=True, kw_only=True):
    count_max: Positive = 10_000
    bytes_max: Positive = 16 * 1024 * 1024
    sender_count_max: Positive = 5_000


class Batch(_Section, frozen=True, kw_only=True):
    delay_ms: Annotated[float, Meta(ge=0, le=10_000)] = 100.0
    """How long a proposal that is no full block waits for those in flight below it."""
    overdue_ms: Annotated[int, Meta(ge=100)] = 4_000
    """A transaction passed over for so long is evidence that the leader censors."""
    forward_ms: Annotated[int, Meta(ge=10)] = 500
    """A transaction that waited so long is sent to the leader again."""


class Log(_Section, frozen=True, kw_only=True):
    level: str = "info"


class NodeConfig(_Section, frozen=True, kw_only=True):
    """`node.toml`, complete."""

    format: int = FORMAT
    name: str
    role: str = "validator"
    lab: bool = False
    allow: str = ""
    """Mechanisms of other installed packages that may be loaded: names, separated by commas."""
    record: str = ""
    """A file of the home to record what validators sign, as received. Needs `lab = true`."""
    client_threads: Annotated[int, Meta(ge=1, le=64)] = 1
    """Threads that verify client signatures: cores divided by nodes on this machine."""
    listen: Listen = Listen()
    storage: Storage = Storage()
    keys: Keys = Keys()
    peers: Peers = Peers()
    mempool: MempoolSection = MempoolSection()
    batch: Batch = Batch()
    log: Log = Log()

    @property
    def allowed(self) -> tuple[str, ...]:
        return tuple(filter(None, self.allow.split(",")))


def parse(text: str, source: str = "node.toml") -> NodeConfig:
    """Read a node file. Raises `ConfigError`."""
    try:
        return _valid(msgspec.convert(tomllib.loads(text), NodeConfig))
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, ConfigError) as error:
        raise ConfigError(f"{source}: {error}") from None


def load(path: Path) -> NodeConfig:
    """Read a node file from disk. Raises `ConfigError`."""
    try:
        return parse(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from None


def render(config: NodeConfig) -> str:
    """The node file as TOML text, defaults included."""
    values = msgspec.to_builtins(config)
    lines = [f"{key} = {_toml(value)}" for key, value in values.items() if not _is_table(value)]
    for key, table in values.items():
        if _is_table(table):
            lines += ["", f"[{key}]"]
            lines += [f"{name} = {_toml(value)}" for name, value in table.items()]
    return "\n".join(lines) + "\n"


def address(text: str, field: str) -> tuple[str, int]:
    """Split `host:port`. Raises `ConfigError`."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isdigit() or int(port) > 65_535:
        raise ConfigError(f"{field}: {text!r} is not host:port")
    return host.strip("[]"), int(port)


def _valid(config: NodeConfig) -> NodeConfig:
    if config.format != FORMAT:
        raise ConfigError(f"format {config.format}; this version knows format {FORMAT}")
    if config.role not in ("validator", "observer"):
        raise ConfigError(f"role {config.role!r}: choose validator or observer")
    if not config.storage.sync and not config.lab:
        raise ConfigError("storage.sync = false loses data at a power loss; it needs lab = true")
    if config.record and not config.lab:
        raise ConfigError("record is for laboratories and grows without need; it needs lab = true")
    for field, value in msgspec.to_builtins(config.listen).items():
        address(value, f"listen.{field}")
    for name, value in config.peers.addresses.items():
        address(value, f"peers.addresses.{name}")
    return config


def _is_table(value: object) -> bool:
    return isinstance(value, dict)


def _toml(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case str():
            return _quote(value)
        case dict():
            pairs = (f"{_quote(str(key))} = {_toml(item)}" for key, item in value.items())
            return "{ " + ", ".join(pairs) + " }"
        case _:
            raise TypeError(f"{type(value).__name__} has no place in a node file")


def _quote(text: str) -> str:
    return msgspec.json.encode(text).decode()
