"""`assay testnet`: a network of processes on this machine."""

# ruff: noqa: PLC0415 - each command imports what it needs
# ruff: noqa: D301 - \b keeps lines of examples apart

import signal
import time
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import Directory, Json, NodeName, group
from cli.output import DASH, ExitCode, Output, Stop, or_dash, paint, short

if TYPE_CHECKING:
    from testnet.network import Testnet
    from testnet.status import NetworkStatus, NodeStatus

app = group("A network of nodes on this machine: up, look, break it, down.")

NODES_DEFAULT = 4
WATCH_S = 1.0
FOLLOW_S = 0.5

Nodes = Annotated[
    int | None, typer.Option("--nodes", min=1, max=100, metavar="N", help="Validators (default 4).")
]
BasePort = Annotated[
    int | None,
    typer.Option("--base-port", metavar="P", help="API at P+1.., peers at P+101.., admin P+201.."),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="A setting of this network; repeatable."),
]
Detach = Annotated[bool, typer.Option("--detach", help="Return when ready; leave it running.")]
Timeout = Annotated[float, typer.Option("--timeout", metavar="S", min=0.1, help="Seconds to wait.")]


@app.command()
def up(
    directory: Directory,
    nodes: Nodes = None,
    base_port: BasePort = None,
    settings: Set = None,
    detach: Detach = False,
    timeout: Timeout = 60.0,
    as_json: Json = False,
) -> None:
    """Make a network (or start the one in DIR again) and wait until a quorum commits.

    Without --detach it stays in the foreground, and Ctrl-C takes the network down.

    \b
    Example:
      assay testnet up --dir demo --nodes 4 --set view_timeout_ms=500 --detach
    """
    from testnet.network import Testnet

    out = Output(as_json=as_json)
    with _interrupts_on_sigterm():
        network = prepared(directory, nodes, base_port, settings or [])
        announce(network, out)
        started = False
        try:
            seconds = network.start(timeout)
            started = True
            ready(network, seconds, out)
            if not detach:
                _follow(network, out)
        except KeyboardInterrupt:
            _take_down(network, out)
            if not started:
                raise
        assert isinstance(network, Testnet)


@app.command()
def init(
    directory: Directory,
    hosts: Annotated[
        str, typer.Option("--hosts", metavar="H1,H2,...", help="Where v1, v2, ... will run.")
    ],
    base_port: BasePort = None,
    settings: Set = None,
    as_json: Json = False,
) -> None:
    """Make keys, genesis and homes of a network that runs in containers or on other machines.

    Starts nothing. Where the network exists already, it is left as it is. Each home is carried to
    its host and run there with `assay node run`.

    \b
    Example:
      assay testnet init --dir net --hosts v1,v2,v3,v4
    """
    from crypto.genesis import digest
    from testnet import hosts as elsewhere
    from testnet.ports import BASE_PORT
    from testnet.settings import parse

    out = Output(as_json=as_json)
    named = hosts.split(",")
    made = elsewhere.make(directory, named, base_port or BASE_PORT, parse(settings or []))
    genesis = elsewhere.genesis_of(directory)
    names = [validator.name for validator in genesis.validators]
    word = "made" if made else "there already"
    out.say(f"{genesis.chain}: {len(names)} homes in {directory}, {word}")
    out.give(
        {
            "directory": str(directory),
            "chain": genesis.chain,
            "genesis": digest(genesis).hex(),
            "made": made,
            "nodes": [{"name": name, "home": str(directory / name)} for name in names],
        }
    )


@app.command()
def status(
    directory: Directory,
    watch: Annotated[bool, typer.Option("--watch", help="Again every second.")] = False,
    as_json: Json = False,
) -> None:
    """Say how every node is, whether the chain moves, and why if it does not.

    \b
    Example:
      assay testnet status --dir demo --watch
    """
    from testnet.network import Testnet

    if watch and as_json:
        text = "--watch prints more than one object; leave out --json, or call again"
        raise Stop(text, ExitCode.WRONG_USE, word="wrong_use")
    out = Output(as_json=as_json)
    network = Testnet(directory)
    while True:
        state = network.status()
        if watch:
            out.say("\x1b[H\x1b[2J" if _terminal() else "")
        show_status(state, out)
        if not watch:
            return
        time.sleep(WATCH_S)


@app.command()
def down(directory: Directory, as_json: Json = False) -> None:
    """End every node of the network. What it has stored stays.

    \b
    Example:
      assay testnet down --dir demo
    """
    from testnet.network import Testnet

    out = Output(as_json=as_json)
    network = Testnet(directory)
    killed = network.down()
    out.say(f"The network in {directory} is down.")
    if killed:
        out.say(f"Had to be killed: {', '.join(killed)}")
    out.give({"directory": str(network.directory), "down": True, "killed": killed})


@app.command()
def kill(name: NodeName, directory: Directory, as_json: Json = False) -> None:
    """Kill a node (SIGKILL): what a crash looks like.

    \b
    Example:
      assay testnet kill v1 --dir demo
    """
    network = _open(directory)
    network.kill(name)
    _done(network, name, "killed (signal 9)", as_json)


@app.command()
def start(
    name: NodeName, directory: Directory, timeout: Timeout = 30.0, as_json: Json = False
) -> None:
    """Start a node that is down, and wait until it answers.

    \b
    Example:
      assay testnet start v1 --dir demo
    """
    network = _open(directory)
    network.start_node(name)
    network.wait_answer(name, timeout)
    _done(network, name, "answers", as_json)


@app.command()
def stop(name: NodeName, directory: Directory, as_json: Json = False) -> None:
    """Stop a node cleanly (SIGTERM).

    \b
    Example:
      assay testnet stop v1 --dir demo
    """
    network = _open(directory)
    network.stop_node(name)
    _done(network, name, "stopped", as_json)


@app.command()
def pause(name: NodeName, directory: Directory, as_json: Json = False) -> None:
    """Freeze a node (SIGSTOP): it keeps its sockets and says nothing.

    \b
    Example:
      assay testnet pause v1 --dir demo
    """
    network = _open(directory)
    network.pause(name)
    _done(network, name, "paused", as_json)


@app.command()
def resume(name: NodeName, directory: Directory, as_json: Json = False) -> None:
    """Let a frozen node run on (SIGCONT).

    \b
    Example:
      assay testnet resume v1 --dir demo
    """
    network = _open(directory)
    network.resume(name)
    _done(network, name, "runs again", as_json)


@app.command()
def wipe(name: NodeName, directory: Directory, as_json: Json = False) -> None:
    """Delete what a node that is down has stored; its keys stay.

    \b
    Example:
      assay testnet wipe v1 --dir demo
    """
    network = _open(directory)
    network.wipe(name)
    _done(network, name, "wiped; it will catch up from the others when started", as_json)


@app.command()
def observer(
    name: NodeName, directory: Directory, timeout: Timeout = 30.0, as_json: Json = False
) -> None:
    """Add a node that follows without a vote, and start it.

    \b
    Example:
      assay testnet observer watcher --dir demo
    """
    network = _open(directory)
    network.add_observer(name)
    network.start_node(name)
    network.wait_answer(name, timeout)
    _done(network, name, "follows", as_json)


@app.command()
def logs(
    name: NodeName,
    directory: Directory,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, max=100_000)] = 50,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as it grows.")] = False,
    as_json: Json = False,
) -> None:
    """Show the last lines of a node's log.

    \b
    Example:
      assay testnet logs v1 --dir demo --follow
    """
    from testnet.words import tail

    if follow and as_json:
        text = "--follow has no end; leave out --json"
        raise Stop(text, ExitCode.WRONG_USE, word="wrong_use")
    out = Output(as_json=as_json)
    path = _open(directory).log_file(name)
    last = tail(path, lines)
    for line in last:
        out.say(line)
    out.give({"name": name, "file": str(path), "lines": last})
    if follow:
        _follow_file(path, out)


@app.command()
def demo(
    directory: Directory = Path("demo"),
    base_port: BasePort = None,
    as_json: Json = False,
) -> None:
    """Show what this is: a network, transactions, a proof verified offline. It stays up.

    \b
    Example:
      assay testnet demo --dir demo
    """
    from cli import demo as story

    with _interrupts_on_sigterm():
        story.tell(directory, base_port, Output(as_json=as_json))


# --- Shared with the demonstration. ---


def prepared(
    directory: Path, nodes: int | None, base_port: int | None, settings: list[str]
) -> "Testnet":
    """The network of `directory`, made if there is none; refused if it is another one."""
    from testnet import manifest
    from testnet.errors import WrongUse
    from testnet.network import Testnet
    from testnet.settings import parse

    values = parse(settings)
    if not manifest.exists(directory):
        return Testnet.create(directory, nodes or NODES_DEFAULT, base_port, values)
    network = Testnet(directory)
    found = network.manifest
    count = len(network.names("validator"))
    if nodes not in (None, count):
        raise WrongUse(f"{directory} holds a network of {count} validators; choose another --dir")
    if base_port not in (None, found.base_port):
        raise WrongUse(f"the network in {directory} has base port {found.base_port}")
    for key, value in values.items():
        if key not in found.settings or found.settings[key] != value:
            raise WrongUse(
                f"--set {key}={value}: the settings of the network in {directory} were fixed "
                "when it was made; choose another --dir"
            )
    return network


def announce(network: "Testnet", out: Output) -> None:
    """What is about to start."""
    from testnet.generate import title

    out.say(f"Genesis  {title(network.genesis_file, network.manifest.engine)}")


def ready(network: "Testnet", seconds: float, out: Output) -> None:
    """The ready line, and with `--json` the object of `up`."""
    found = network.manifest
    for entry in found.nodes:
        out.say(f"  {entry.name}  api {entry.api}   peer {entry.peer}   pid {entry.pid}")
    state = network.status()
    first = next(node for node in state.nodes if node.answers)
    attested = signatures(network, first.name, 1)
    validators = len(network.names("validator"))
    out.say(
        f"First block after {seconds:.1f} s (leader {or_dash(first.leader)}, "
        f"{or_dash(attested)} of {validators} signatures)"
    )
    out.give(
        {
            "directory": str(network.directory),
            "chain": found.chain,
            "genesis": found.genesis,
            "ready_s": round(seconds, 3),
            "height": first.height,
            "leader": first.leader,
            "signatures": attested,
            "nodes": [
                {"name": each.name, "home": each.home, "pid": each.pid}
                | {"api": each.api, "peer": each.peer}
                for each in found.nodes
            ],
        }
    )


def signatures(network: "Testnet", name: str, height: int) -> int | None:
    """How many validators signed the header of `height`, as `name` has it."""
    certificate = network.client(name).header(height).get("certificate")
    return None if certificate is None else len(certificate["votes"])


def show_status(state: "NetworkStatus", out: Output) -> None:
    heading = ["name", "state", "height", "view", "leader", "peers", "mempool", "state root", ""]
    count = len(state.nodes)
    out.table([heading, *(_cells(node, count) for node in state.nodes)])
    out.say(paint(state.summary, "green" if state.moves else "red"))
    out.give(state.json())


# --- Helpers. ---


def _cells(node: "NodeStatus", count: int) -> list[str]:
    peers = DASH if node.peers is None else f"{len(node.peers)}/{count - 1}"
    height, view = or_dash(node.height), or_dash(node.view)
    left = [node.name, node.state.value, height, view, or_dash(node.leader), peers]
    return [*left, or_dash(node.mempool), short(node.state_root), node.note]


def _open(directory: Path) -> "Testnet":
    from testnet.network import Testnet

    return Testnet(directory)


def _done(network: "Testnet", name: str, what: str, as_json: bool) -> None:
    out = Output(as_json=as_json)
    entry = network.manifest.node(name)
    out.say(f"{name} {what}")
    out.give({"name": name, "state": network.life(name).value, "pid": entry.pid})
    network.close()


def _follow(network: "Testnet", out: Output) -> None:
    """Report what changes, until interrupted."""
    out.say("The network is up. Ctrl-C takes it down.")
    before: dict[str, str] = {}
    moves = True
    while True:
        state = network.status()
        now = {node.name: f"{node.state.value} {node.note}".split(",")[0] for node in state.nodes}
        for name, word in now.items():
            if before and before.get(name) != word:
                out.say(f"{name}: {word}")
        if state.moves != moves:
            out.say(paint(state.summary, "green" if state.moves else "red"))
        before, moves = now, state.moves
        time.sleep(FOLLOW_S)


def _take_down(network: "Testnet", out: Output) -> None:
    out.progress_end()
    killed = network.down()
    out.say(f"Taken down{', by force: ' + ', '.join(killed) if killed else ''}.")


def _follow_file(path: Path, out: Output) -> None:
    with path.open(encoding="utf-8", errors="replace") as file:
        file.seek(0, 2)
        while True:
            line = file.readline()
            if line:
                out.say(line.rstrip("\n"))
            else:
                time.sleep(FOLLOW_S)


def _terminal() -> bool:
    import sys

    return sys.stdout.isatty()


class _interrupts_on_sigterm:  # noqa: N801 - reads as a statement
    """While inside, SIGTERM and SIGHUP end the command as Ctrl-C does: nothing is left behind."""

    _signals = (signal.SIGTERM, signal.SIGHUP)

    def __enter__(self) -> None:
        self._before = {each: signal.signal(each, _interrupt) for each in self._signals}

    def __exit__(self, *_details: object) -> None:
        for each, handler in self._before.items():
            signal.signal(each, handler)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
