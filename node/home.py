"""A node's home directory: its layout, how it is made, and how it is read.

HOME/node.toml           what is local (0644)
HOME/genesis.json        what is agreed (0644)
HOME/keys/validator.json the signing key (0600); absent for observers
HOME/keys/channel.json   the peer channel's static key (0600)
HOME/data/               the ledger's store
HOME/journal/            what was signed and promised
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from crypto.genesis import Genesis, InvalidGenesis, from_json, to_json
from node import config as node_file
from node.config import ConfigError, NodeConfig


class HomeError(Exception):
    """The home directory cannot be used. The message says what to do."""


@dataclass(frozen=True, slots=True)
class Home:
    """Paths of one home."""

    path: Path

    @property
    def config(self) -> Path:
        return self.path / "node.toml"

    @property
    def genesis(self) -> Path:
        return self.path / "genesis.json"

    @property
    def validator_key(self) -> Path:
        return self.path / "keys" / "validator.json"

    @property
    def channel_key(self) -> Path:
        return self.path / "keys" / "channel.json"

    @property
    def data(self) -> Path:
        return self.path / "data"

    @property
    def journal(self) -> Path:
        return self.path / "journal" / "journal"

    def read(self) -> tuple[NodeConfig, Genesis]:
        """The node file and the genesis file. Raises `HomeError` or `ConfigError`."""
        if not self.path.is_dir():
            raise HomeError(f"{self.path}: no such directory; make it with `assay node init`")
        try:
            genesis = from_json(self.genesis.read_bytes())
        except OSError as error:
            raise HomeError(f"{self.genesis}: {error.strerror}; copy the network's here") from None
        except InvalidGenesis as error:
            raise HomeError(f"{self.genesis}: {error}") from None
        return node_file.load(self.config), genesis


def config_from(name: str, role: str, settings: Mapping[str, object]) -> NodeConfig:
    """A node file from dotted settings (`storage.engine`). Raises `ConfigError`."""
    tree: dict[str, object] = {"name": name, "role": role}
    for key, value in settings.items():
        *parents, last = key.split(".")
        place = tree
        for parent in parents:
            inner = place.setdefault(parent, {})
            if not isinstance(inner, dict):
                raise ConfigError(f"{key}: {parent} is not a table")
            place = inner
        place[last] = value
    try:
        return node_file.parse(node_file.render(msgspec.convert(tree, NodeConfig)), "settings")
    except msgspec.ValidationError as error:
        raise ConfigError(str(error)) from None


def write_files(home: Home, config: NodeConfig, genesis: Genesis) -> None:
    """Make the directory with node file and genesis file; keys are written by the caller.

    Raises `HomeError` where something is there already.
    """
    if home.config.exists() or home.genesis.exists():
        raise HomeError(f"{home.path} is a home already; choose another directory or remove it")
    for folder in (home.path, home.data, home.journal.parent, home.channel_key.parent):
        folder.mkdir(parents=True, exist_ok=True)
    home.channel_key.parent.chmod(0o700)
    home.genesis.write_bytes(to_json(genesis))
    home.config.write_text(node_file.render(config), encoding="utf-8")
