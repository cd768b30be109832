"""`assay node`: one node: make its home, run it, show it, check what it stored."""

# ruff: noqa: PLC0415 - each command imports what it needs
# ruff: noqa: D301 - \b keeps lines of examples apart

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import Home, Json, group
from cli.output import ExitCode, Output, Stop

if TYPE_CHECKING:
    from crypto.genesis import Genesis

app = group("One node: make its home, run it, show it, check what it has stored.")


@app.command()
def init(
    home: Home,
    observer: Annotated[bool, typer.Option("--observer", help="A node without a vote.")] = False,
    name: Annotated[str | None, typer.Option("--name", help="v1 or observer if not given.")] = None,
    genesis: Annotated[
        Path | None,
        typer.Option("--genesis", metavar="FILE", help="Join this network, instead of a new one."),
    ] = None,
    validator_key: Annotated[
        Path | None, typer.Option("--validator-key", metavar="FILE", help="From `keys new`.")
    ] = None,
    channel_key: Annotated[
        Path | None, typer.Option("--channel-key", metavar="FILE", help="From `keys new`.")
    ] = None,
    api: Annotated[str, typer.Option("--api", help="HOST:PORT")] = "127.0.0.1:7101",
    peer: Annotated[str, typer.Option("--peer", help="HOST:PORT")] = "127.0.0.1:7201",
    admin: Annotated[str, typer.Option("--admin", help="HOST:PORT")] = "127.0.0.1:7301",
    peers: Annotated[
        list[str] | None,
        typer.Option("--peers", metavar="NAME=HOST:PORT", help="A validator; repeatable."),
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Of the node file.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a node's home: keys, genesis and node file.

    Without --genesis, a network of this one validator is made, with a client key in HOME/clients.

    \b
    Example:
      assay node init --home solo && assay node run --home solo
      assay node init --observer --home watcher --genesis demo/genesis.json --name watcher \\
        --api 127.0.0.1:7150 --peer 127.0.0.1:7250 --admin 127.0.0.1:7350 \\
        --peers v1=127.0.0.1:7201 --peers v2=127.0.0.1:7202
    """
    from testnet import homes
    from testnet.settings import parse

    out = Output(as_json=as_json)
    wanted = homes.Wanted(
        home=home,
        name=name or ("observer" if observer else "v1"),
        role="observer" if observer else "validator",
        listen={"api": api, "peer": peer, "admin": admin},
        peers={key: str(value) for key, value in parse(peers or []).items()},
        settings=parse(settings or []),
    )
    if genesis is None:
        if observer or validator_key or channel_key:
            text = "name the network with --genesis FILE"
            raise Stop(text, ExitCode.WRONG_USE, word="wrong_use")
        homes.make_alone(wanted)
    else:
        homes.make(wanted, genesis, validator_key, channel_key)
    _show(home, out)


@app.command()
def run(home: Home, as_json: Json = False) -> None:
    """Run a node in the foreground; logs go to standard error. Ctrl-C stops it cleanly.

    \b
    Example:
      assay node run --home demo/v1
    """
    import node.run

    code = node.run.run(home)
    Output(as_json=as_json).give({"home": str(home), "exit": code})
    raise typer.Exit(code)


@app.command()
def show(home: Home, as_json: Json = False) -> None:
    """Show who a node is: network, role, addresses, public keys.

    \b
    Example:
      assay node show --home demo/v1
    """
    _show(home, Output(as_json=as_json))


@app.command()
def fsck(home: Home, as_json: Json = False) -> None:
    """Check all that a node that is down has stored, from genesis on. Exit code 1: damaged.

    \b
    Example:
      assay node fsck --home demo/v1
    """
    from cli.check import check

    check(home, Output(as_json=as_json))


def _show(path: Path, out: Output) -> None:
    from crypto.genesis import digest
    from node.home import Home as NodeHome
    from testnet.keyring import read

    home = NodeHome(path)
    config, genesis = home.read()
    keys = {
        key.purpose: key.public_key.hex()
        for key in map(read, filter(Path.exists, (home.validator_key, home.channel_key)))
    }
    facts = {
        "home": str(path),
        "name": config.name,
        "role": config.role,
        "chain": genesis.chain,
        "genesis": digest(genesis).hex(),
        "api": f"http://{config.listen.api}",
        "peer": config.listen.peer,
        "admin": config.listen.admin,
        "engine": config.storage.engine,
        "validators": [item.name for item in genesis.validators],
        "mechanisms": _mechanisms(genesis),
        "keys": keys,
    }
    for name, value in facts.items():
        out.say(f"{name:<11} {_words(value)}")
    out.give(facts)


def _mechanisms(genesis: "Genesis") -> dict[str, str]:
    from testnet.generate import KINDS

    return {name: getattr(genesis, name).name for name in KINDS}


def _words(value: object) -> str:
    match value:
        case list():
            return " ".join(map(str, value))
        case dict():
            return ", ".join(f"{key} {item}" for key, item in value.items())
        case _:
            return str(value)
