"""A network whose nodes run on hosts of their own: containers, or other machines.

Makes keys, genesis and one home for each validator, to be carried where it runs; starts nothing.
What a directory made by this has: `genesis.json`, `clients/`, and the homes `v1` to `vN`. There is
no `testnet.json`, because no process of this machine belongs to it. Whoever makes all homes in one
place has seen all keys: it is for trying, and for one operator.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from crypto.genesis import Genesis, digest, from_json, to_json
from node.config import NodeConfig
from node.home import Home, HomeError, config_from, write_files
from node.keyfiles import write_private
from testnet import generate
from testnet.errors import WrongUse
from testnet.manifest import GENESIS_FILE, exists, write_atomically
from testnet.ports import HOST, check_base_port, ports_of
from testnet.settings import Value

EVERYWHERE = "0.0.0.0"  # noqa: S104 - the host's network decides who reaches it
NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")


def make(
    directory: Path, hosts: Sequence[str], base_port: int, settings: Mapping[str, Value]
) -> bool:
    """Make the homes of validators v1 to vN that find one another at `hosts`, in this order.

    False: they are there already, and were left as they are. The genesis is written last, so a
    directory that has one is complete. The API and the peer port listen on all addresses, the
    admin plane on loopback.

    Raises:
        WrongUse: the hosts or a setting cannot be, or another network is there.
        HomeError: a former attempt was cut off, or a home is missing.
    """
    _check(hosts)
    check_base_port(base_port)
    if exists(directory):
        raise WrongUse(f"{directory} holds a network of this machine; choose another directory")
    if (directory / GENESIS_FILE).exists():
        _check_complete(directory, len(hosts))
        return False
    planned = generate.plan(nodes=len(hosts), settings=settings)
    directory.mkdir(parents=True, exist_ok=True)
    names = [validator.name for validator in planned.genesis.validators]
    for position, (signing, channel) in enumerate(planned.validators):
        home = Home(directory / names[position])
        config = _config(names, hosts, position, base_port, planned.node, settings)
        write_files(home, config, planned.genesis)
        write_private(home.validator_key, signing.file)
        write_private(home.channel_key, channel.file)
        generate.begin_journal(home, planned.genesis)
    generate.write_clients(directory, planned.clients)
    write_atomically(directory / GENESIS_FILE, to_json(planned.genesis))
    return True


def genesis_of(directory: Path) -> Genesis:
    """The genesis of a directory made by this."""
    return from_json((directory / GENESIS_FILE).read_bytes())


def _config(
    names: Sequence[str],
    hosts: Sequence[str],
    position: int,
    base_port: int,
    node: Mapping[str, Value],
    given: Mapping[str, Value],
) -> NodeConfig:
    ports = ports_of(base_port, position)
    peers = {
        name: f"{host}:{ports_of(base_port, other).peer}"
        for other, (name, host) in enumerate(zip(names, hosts, strict=True))
        if other != position
    }
    settings: dict[str, object] = {
        **node,
        "peers.observers_open": given.get("peers.observers_open", False),
        "listen.api": f"{EVERYWHERE}:{ports.api}",
        "listen.peer": f"{EVERYWHERE}:{ports.peer}",
        "listen.admin": f"{HOST}:{ports.admin}",
        "peers.addresses": peers,
    }
    return config_from(names[position], "validator", settings)


def _check(hosts: Sequence[str]) -> None:
    for host in hosts:
        if not NAME.fullmatch(host):
            raise WrongUse(f"--hosts: {host!r} is no host name; write them like v1,v2,v3,v4")
    if len(set(hosts)) != len(hosts):
        raise WrongUse("--hosts: a host is named twice; each validator has its own")


def _check_complete(directory: Path, count: int) -> None:
    agreed = genesis_of(directory)
    if len(agreed.validators) != count:
        raise WrongUse(
            f"{directory} holds a network of {len(agreed.validators)} validators, not {count}; "
            "choose another directory"
        )
    for validator in agreed.validators:
        home = Home(directory / validator.name)
        _, genesis = home.read()
        if digest(genesis) != digest(agreed):
            raise HomeError(f"{home.path} belongs to another network than {directory}")
        for key in (home.validator_key, home.channel_key):
            if not key.exists():
                raise HomeError(f"{key} is missing; bring it back, or make the network anew")
