"""One home at a time: of a node that joins a network, or of a network of one."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from crypto.genesis import Genesis, from_json
from crypto.keys import InvalidKeyFile
from node.config import NodeConfig
from node.home import Home, config_from, write_files
from node.keyfiles import read_private, write_private
from testnet import generate
from testnet.errors import WrongUse
from testnet.keyring import new_channel_key, open_signing_key, read
from testnet.settings import Value, route


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a home is to be."""

    home: Path
    name: str
    role: str
    listen: Mapping[str, str]
    """`api`, `peer`, `admin` -> host:port."""
    peers: Mapping[str, str]
    """Validator -> host:port."""
    settings: Mapping[str, Value]


def make_alone(wanted: Wanted) -> None:
    """A network of one validator, in its own home, with a client key beside."""
    planned = generate.plan(nodes=1, settings=wanted.settings, clients=1, first_name=wanted.name)
    home = Home(wanted.home)
    write_files(home, _config(wanted, planned.node), planned.genesis)
    signing, channel = planned.validators[0]
    write_private(home.validator_key, signing.file)
    write_private(home.channel_key, channel.file)
    generate.begin_journal(home, planned.genesis)
    generate.write_clients(wanted.home, planned.clients)


def make(
    wanted: Wanted, genesis_file: Path, validator_key: Path | None, channel_key: Path | None
) -> None:
    """A node of an existing network.

    A validator brings the keys that the genesis lists; an observer gets a channel key if it brings
    none. Raises `WrongUse`, or what key files raise, before anything is written.
    """
    genesis = from_json(genesis_file.read_bytes())
    chosen = route(wanted.settings, generate.known({}))
    if chosen.genesis.keys() - {"lab"} or chosen.consensus or chosen.limits:
        raise WrongUse("--set: with --genesis, only what is local to a node can be set")
    node = generate.node_settings(chosen, open_observers=False)
    config = _config(wanted, node)
    channel = _channel_file(wanted, genesis, channel_key)
    signing = _signing_file(wanted, genesis, validator_key)
    home = Home(wanted.home)
    write_files(home, config, genesis)
    write_private(home.channel_key, channel)
    if signing is not None:
        # No journal is begun: this key may have signed elsewhere before.
        write_private(home.validator_key, signing)


def _config(wanted: Wanted, node: Mapping[str, Value]) -> NodeConfig:
    settings: dict[str, object] = {
        **node,
        **{f"listen.{name}": address for name, address in wanted.listen.items()},
        "peers.addresses": dict(wanted.peers),
    }
    return config_from(wanted.name, wanted.role, settings)


def _channel_file(wanted: Wanted, genesis: Genesis, path: Path | None) -> bytes:
    if path is None:
        if wanted.role == "validator":
            raise WrongUse(
                "a validator brings the channel key that the genesis lists: --channel-key"
            )
        return new_channel_key(genesis.channel, lab=genesis.lab).file
    key = read(path)
    if key.purpose != "channel":
        raise InvalidKeyFile(f"{path} is a {key.purpose} key, not a channel key")
    listed = {item.name: item.channel_key for item in genesis.validators}
    if wanted.role == "validator" and listed.get(wanted.name) != key.public_key:
        raise WrongUse(f"{path}: the genesis lists another channel key for {wanted.name}")
    return read_private(path)


def _signing_file(wanted: Wanted, genesis: Genesis, path: Path | None) -> bytes | None:
    if wanted.role != "validator":
        return None
    listed = {item.name: item.public_key for item in genesis.validators}
    if wanted.name not in listed:
        raise WrongUse(
            f"the genesis lists no validator {wanted.name}; there are {' '.join(listed)}"
        )
    if path is None:
        raise WrongUse("a validator brings the key that the genesis lists: --validator-key")
    key = open_signing_key(path, genesis.validator_signature, lab=genesis.lab)
    if key.public_key != listed[wanted.name]:
        raise WrongUse(f"{path}: the genesis lists another key for {wanted.name}")
    return read_private(path)
