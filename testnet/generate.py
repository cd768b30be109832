"""Makes a network: keys, genesis, and the home of every node.

First everything is planned and checked in memory, so that a wrong setting leaves nothing behind;
then it is written. Client keys are made too, and the genesis lists them.
"""

import secrets
import time
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import msgspec

from crypto.genesis import (
    Genesis,
    InvalidGenesis,
    Limits,
    Validator,
    digest,
    from_json,
    to_json,
    validate,
)
from crypto.interface import PublicKey
from crypto.quorum import FaultModel
from mechanisms.registry import Kind, MechanismError, load, names, options
from node.config import ConfigError, NodeConfig
from node.home import Home, config_from, write_files
from node.keyfiles import write_private
from storage.journal import Journal
from testnet.errors import WrongUse
from testnet.keyring import NewKey, new_channel_key, new_signing_key
from testnet.manifest import GENESIS_FILE, ClientEntry, Manifest, NodeEntry, write_atomically
from testnet.ports import HOST, check_free, ports_of
from testnet.settings import APPLICATIONS, GENESIS_FLAGS, Known, Settings, Value, route

CLIENTS = 4
"""Client keys of a network, unless said otherwise."""

CLIENT_FOLDER = "clients"
OURS = frozenset({"name", "role", "format", "lab", "listen", "keys"})
"""Fields and tables of the node file that this tool decides."""

DEFAULTS = Genesis(chain="defaults", created_ms=0, validators=())
KINDS: Mapping[str, Kind] = {
    "consensus": Kind.CONSENSUS,
    "leader": Kind.LEADER,
    "validator_signature": Kind.SIGNATURE,
    "client_signature": Kind.SIGNATURE,
    "hash": Kind.HASH,
    "channel": Kind.CHANNEL,
    "commitment": Kind.COMMITMENT,
}
"""Fields of the genesis that name a mechanism."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A network that can be written."""

    genesis: Genesis
    node: dict[str, Value]
    """Settings of every node file, dotted."""
    validators: tuple[tuple[NewKey, NewKey], ...]
    """Signing key and channel key of each, in order."""
    clients: tuple[NewKey, ...]
    values: dict[str, Value]
    """What `--set` said."""

    @property
    def engine(self) -> str:
        return config_from("v1", "validator", self.node).storage.engine


def plan(
    *,
    nodes: int,
    settings: Mapping[str, Value],
    clients: int = CLIENTS,
    first_name: str | None = None,
) -> Plan:
    """Keys, genesis and node settings. Raises `WrongUse` for a setting that cannot be.

    Validators are named v1 to vN; `first_name` is for a network of one that wants another name.
    """
    if nodes < 1:
        raise WrongUse("a network has at least one validator")
    try:
        chosen = route(settings, known(settings))
        members = [f"v{number}" for number in range(1, nodes + 1)]
        if first_name is not None:
            members[0] = first_name
        return _plan(members, chosen, dict(settings), clients)
    except (MechanismError, ConfigError, InvalidGenesis, msgspec.ValidationError) as error:
        raise WrongUse(_for_here(str(error))) from None


def known(settings: Mapping[str, Value]) -> Known:
    """Which settings there are, given the consensus protocol."""
    name = str(settings.get("consensus", DEFAULTS.consensus.name))
    lab = settings.get("lab") is True
    protocol = load(Kind.CONSENSUS, name, lab=lab, allow=_allowed(settings))
    return Known(
        consensus=tuple(item.name for item in fields(protocol.module.Options)),
        limits=Limits.__struct_fields__,
        node=tuple(_node_fields()),
        genesis=(*KINDS, "chain"),
    )


def write(directory: Path, planned: Plan, base_port: int) -> Manifest:
    """Write keys, genesis and homes; the manifest, which the caller saves."""
    genesis = planned.genesis
    write_atomically(directory / GENESIS_FILE, to_json(genesis))
    clients = write_clients(directory, planned.clients)
    nodes = []
    for position, (signing, channel) in enumerate(planned.validators):
        entry = _entry(directory, f"v{position + 1}", "validator", position, base_port)
        home = Home(directory / entry.name)
        config = _config(entry, planned.node, genesis, base_port)
        write_files(home, config, genesis)
        write_private(home.validator_key, signing.file)
        write_private(home.channel_key, channel.file)
        begin_journal(home, genesis)
        nodes.append(entry)
    return Manifest(
        chain=genesis.chain,
        genesis=digest(genesis).hex(),
        created_ms=genesis.created_ms,
        base_port=base_port,
        settings=planned.values,
        engine=planned.engine,
        quorum=genesis.quorum,
        nodes=tuple(nodes),
        clients=clients,
    )


def add_observer(directory: Path, network: Manifest, name: str) -> Manifest:
    """Make the home of a node without a vote. Raises `WrongUse`, `PortsInUse`."""
    if any(entry.name == name for entry in network.nodes):
        raise WrongUse(f"there is a node called {name} already")
    if not name.isascii() or not name.replace("-", "").isalnum() or len(name) > 32:
        raise WrongUse(f"{name!r}: write up to 32 letters, digits and dashes")
    genesis = from_json((directory / GENESIS_FILE).read_bytes())
    position = 1 + max(entry.position for entry in network.nodes)
    check_free(network.base_port, [position])
    entry = _entry(directory, name, "observer", position, network.base_port)
    settings = route(network.settings, known(network.settings))
    home = Home(directory / name)
    node = node_settings(settings)
    write_files(home, _config(entry, node, genesis, network.base_port), genesis)
    write_private(home.channel_key, new_channel_key(genesis.channel, lab=genesis.lab).file)
    return network.with_node(entry)


def title(genesis_file: Path, engine: str) -> str:
    """One line about a network: `assay-7f3c  4 validators · pbft · ed25519 · …`."""
    genesis = from_json(genesis_file.read_bytes())
    schemes = dict.fromkeys((genesis.validator_signature.name, genesis.client_signature.name))
    protocol = genesis.consensus.name
    if genesis.fault_model is not FaultModel.BYZANTINE:
        protocol += f" (faults borne: {genesis.fault_model})"
    parts = [protocol, *schemes, genesis.channel.name, engine]
    return f"{genesis.chain}  {len(genesis.validators)} validators · {' · '.join(parts)}"


# --- Planning. ---


def _plan(members: Sequence[str], chosen: Settings, values: dict[str, Value], clients: int) -> Plan:
    agreed = _agreed(chosen)
    _check_mechanisms(agreed, _allowed(chosen.node))
    node = node_settings(chosen)
    config_from("v1", "validator", node)  # refuses what no node file may hold
    validators = tuple(
        (
            new_signing_key("validator", agreed.validator_signature, lab=agreed.lab),
            new_channel_key(agreed.channel, lab=agreed.lab),
        )
        for _ in members
    )
    keys = tuple(
        new_signing_key("client", agreed.client_signature, lab=agreed.lab) for _ in range(clients)
    )
    genesis = msgspec.structs.replace(
        agreed,
        validators=tuple(
            Validator(
                name=name,
                public_key=PublicKey(signing.public_key),
                channel_key=channel.public_key,
            )
            for name, (signing, channel) in zip(members, validators, strict=True)
        ),
        clients=tuple(PublicKey(key.public_key) for key in keys),
    )
    validate(genesis)
    return Plan(genesis, node, validators, keys, values)


def _agreed(chosen: Settings) -> Genesis:
    """The genesis without its members."""
    given: dict[str, object] = {
        name: {"name": value} for name, value in chosen.genesis.items() if name in KINDS
    }
    name = str(chosen.genesis.get("consensus", DEFAULTS.consensus.name))
    lab = chosen.genesis.get("lab") is True
    protocol = load(Kind.CONSENSUS, name, lab=lab, allow=_allowed(chosen.node))
    given["consensus"] = {"name": name, "options": chosen.consensus}
    given["fault_model"] = protocol.claims.fault_model
    if APPLICATIONS in chosen.genesis:
        listed = str(chosen.genesis[APPLICATIONS]).split(",")
        given[APPLICATIONS] = [{"name": name} for name in listed]
    for flag in GENESIS_FLAGS:
        if flag in chosen.genesis:
            given[flag] = chosen.genesis[flag]
    given["limits"] = chosen.limits
    given["chain"] = chosen.genesis.get("chain", f"assay-{secrets.token_hex(2)}")
    given["created_ms"] = time.time_ns() // 1_000_000
    given["validators"] = []
    return msgspec.convert(given, Genesis)


def _allowed(settings: Mapping[str, Value]) -> tuple[str, ...]:
    """As `NodeConfig.allowed`."""
    return tuple(filter(None, str(settings.get("allow", "")).split(",")))


def _check_mechanisms(agreed: Genesis, allow: Sequence[str]) -> None:
    """Every name and option now, not when the nodes start."""
    named = [(kind, getattr(agreed, field)) for field, kind in KINDS.items()]
    for kind, mechanism in [*named, *((Kind.APPLICATION, app) for app in agreed.applications)]:
        found = load(kind, mechanism.name, lab=agreed.lab, allow=allow)
        options(found, mechanism.options)


def node_settings(chosen: Settings, *, open_observers: bool = True) -> dict[str, Value]:
    """What a node file says besides addresses.

    Of a network on one machine, any node with a channel key may follow.
    """
    settings: dict[str, Value] = {"peers.observers_open": open_observers, **chosen.node}
    if chosen.genesis.get("lab") is True:
        settings["lab"] = True
    engine = settings.get("storage.engine")
    allow = _allowed(settings)
    if engine is not None and engine not in names(Kind.ENGINE, allow=allow):
        load(Kind.ENGINE, str(engine), lab=True, allow=allow)  # raises, with the choices
    return settings


def _node_fields() -> Iterator[str]:
    """Dotted fields of the node file that may be set."""
    for item in msgspec.structs.fields(NodeConfig):
        nested = isinstance(item.type, type) and issubclass(item.type, msgspec.Struct)
        if item.name in OURS:
            continue
        if not nested:
            yield item.name
            continue
        for inner in msgspec.structs.fields(item.type):
            dotted = f"{item.name}.{inner.name}"
            if dotted not in OURS and typing.get_origin(inner.type) is not dict:
                yield dotted


def _for_here(text: str) -> str:
    """How these messages say `lab = true` and `allow = NAME` on this command line."""
    return text.replace("lab = true", "--set lab=true").replace("allow = ", "--set allow=")


# --- Writing. ---


def _entry(directory: Path, name: str, role: str, position: int, base_port: int) -> NodeEntry:
    ports = ports_of(base_port, position)
    return NodeEntry(
        name=name,
        role=role,
        position=position,
        home=str(directory / name),
        api=f"http://{HOST}:{ports.api}",
        peer=f"{HOST}:{ports.peer}",
        admin=f"{HOST}:{ports.admin}",
    )


def _config(
    entry: NodeEntry, node: Mapping[str, Value], genesis: Genesis, base_port: int
) -> NodeConfig:
    others = {
        item.name: f"{HOST}:{ports_of(base_port, position).peer}"
        for position, item in enumerate(genesis.validators)
        if item.name != entry.name
    }
    settings: dict[str, object] = {
        **node,
        "listen.api": entry.api.removeprefix("http://"),
        "listen.peer": entry.peer,
        "listen.admin": entry.admin,
        "peers.addresses": others,
    }
    return config_from(entry.name, entry.role, settings)


def begin_journal(home: Home, genesis: Genesis) -> None:
    """Make a validator's journal together with its key.

    A validator without a journal must assume that it lost one and keep silent for a while; a new
    one has nothing to keep silent about.
    """
    Journal.open(home.journal, digest(genesis)).close()


def write_clients(directory: Path, keys: Sequence[NewKey]) -> tuple[ClientEntry, ...]:
    """Write the key files c1.json to cN.json into `directory/clients`."""
    folder = directory / CLIENT_FOLDER
    folder.mkdir(mode=0o700)
    entries = []
    for number, key in enumerate(keys, start=1):
        path = folder / f"c{number}.json"
        write_private(path, key.file)
        entries.append(
            ClientEntry(
                name=path.stem,
                public_key=key.public_key.hex(),
                key=str(path.relative_to(directory)),
            )
        )
    return tuple(entries)
