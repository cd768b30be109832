"""A network of processes on this machine, under one hand.

`Testnet` starts, finds, kills, pauses and ends the nodes of one directory. All it knows is in that
directory: several commands at once, and a command long after the one that started the network,
see the same. What changes the directory holds its lock.

    with Testnet.create(directory, nodes=4) as net:
        net.start()
        net.wait_height(3)
        net.kill("v1")
"""

import fcntl
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

import msgspec

from testnet import generate, manifest, preflight, process, status, words
from testnet.client import Client
from testnet.errors import (
    AlreadyUp,
    ApiError,
    NodeDied,
    NotANetwork,
    NotInTime,
    Unreachable,
    WrongUse,
)
from testnet.manifest import Manifest, NodeEntry
from testnet.ports import check_base_port, check_free, choose_base_port
from testnet.process import Life
from testnet.settings import Value
from testnet.status import NetworkStatus, NodeStatus
from testnet.wallet import Wallet

READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 15.0
STATUS_TIMEOUT_S = 2.0
POLL_S = 0.05
LOG_FILE = "node.log"
LOCK_FILE = ".lock"
KILLED, STOPPED = "exit by signal 9", "stopped"


class Testnet:
    """The network in one directory."""

    __test__: ClassVar[bool] = False  # pytest: this is no test class

    command: Callable[[Path], list[str]] = staticmethod(process.node_command)
    """From a node's home to the command that runs it; its words must contain the home."""

    def __init__(self, directory: Path, env: Mapping[str, str] | None = None) -> None:
        self.directory = directory.resolve()
        self._env = dict(env or {})
        self._clients: dict[str, Client] = {}
        self.manifest  # noqa: B018 - raises where there is no network

    # --- Making and finding. ---

    @classmethod
    def create(
        cls,
        directory: Path,
        nodes: int = 4,
        base_port: int | None = None,
        settings: Mapping[str, Value] | None = None,
        env: Mapping[str, str] | None = None,
        clients: int = generate.CLIENTS,
    ) -> Self:
        """Make keys, genesis and homes; nothing runs yet.

        Args:
            directory: made if need be; must hold no network yet.
            nodes: how many validators, named v1 to vN.
            base_port: see `testnet.ports`; a free one is chosen if None.
            settings: what `--set` may say; see `testnet.settings`.
            env: added to the environment of every node.
            clients: how many client keys are made and listed in the genesis.

        Raises:
            WrongUse: there is a network in `directory` already, or a setting is unknown.
            Unfit: this machine could not run it.
            PortsInUse: somebody listens where a node should.
        """
        directory = directory.resolve()
        if manifest.exists(directory):
            raise WrongUse(f"{directory} holds a network already; choose another directory")
        plan = generate.plan(nodes=nodes, settings=settings or {}, clients=clients)
        preflight.check(directory, plan.engine)
        if base_port is None:
            base_port = choose_base_port(nodes)
        else:
            check_base_port(base_port)
            check_free(base_port, range(nodes))
        directory.mkdir(parents=True, exist_ok=True)
        with _lock(directory):
            manifest.save(directory, generate.write(directory, plan, base_port))
        return cls(directory, env)

    @property
    def manifest(self) -> Manifest:
        """As it is on disk now. Raises `NotANetwork`."""
        return manifest.load(self.directory)

    @property
    def genesis_file(self) -> Path:
        return self.directory / manifest.GENESIS_FILE

    def names(self, role: str | None = None) -> list[str]:
        return [each.name for each in self.manifest.nodes if role in (None, each.role)]

    def home(self, name: str) -> Path:
        return self.directory / self.manifest.node(name).name

    def log_file(self, name: str) -> Path:
        return self.home(name) / LOG_FILE

    # --- All nodes. ---

    def start(self, timeout_s: float = READY_TIMEOUT_S, *, wait: bool = True) -> float:
        """Start every node and wait until a quorum has committed; the seconds it took.

        Raises `AlreadyUp`, `PortsInUse`, or (after taking all down again) `NodeDied`, `NotInTime`.
        """
        began = time.monotonic()
        with self._changing() as change:
            running = [each.name for each in change.value.nodes if _life(each) is not Life.DOWN]
            if running:
                raise AlreadyUp(
                    f"a network is up in {self.directory} already ({', '.join(running)}). "
                    f"Look: assay testnet status --dir {self.directory}; "
                    f"end it: assay testnet down --dir {self.directory}"
                )
            positions = [each.position for each in change.value.nodes]
            check_free(change.value.base_port, positions)
            for entry in change.value.nodes:
                change.value = change.value.with_node(self._spawned(entry, {}))
        if wait:
            try:
                self.wait_ready(timeout_s)
            except BaseException:
                self.down()
                raise
        return time.monotonic() - began

    def wait_ready(self, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Wait until a quorum of validators has committed height 1 and is connected."""
        network = self.manifest
        validators = [each for each in network.nodes if each.role == "validator"]

        def is_ready() -> bool:
            for entry in self._buried().nodes:
                if entry.pid is None and entry.ended and entry.ended_at is None:
                    raise NodeDied(f"{entry.name} {entry.ended}")
            rows = [self._row(entry) for entry in validators]
            ready = [row for row in rows if row.height and len(row.peers or ()) + 1 >= quorum]
            return len(ready) >= quorum

        quorum = network.quorum
        self.wait(is_ready, "a quorum commits the first block", timeout_s)

    def down(self) -> list[str]:
        """End every node; the names of those that had to be killed for it."""
        with self._changing() as change:
            entries = [each for each in change.value.nodes if _life(each) is not Life.DOWN]
            killed = _terminate(entries)
            for entry in change.value.nodes:
                how = KILLED if entry.name in killed else STOPPED
                change.value = change.value.with_node(
                    _ended(entry, how) if entry in entries else _forgotten(entry)
                )
        self.close()
        return killed

    # --- One node. ---

    def start_node(self, name: str, env: Mapping[str, str] | None = None) -> None:
        """Start one node that is down; does not wait. Raises `WrongUse`, `PortsInUse`."""
        with self._changing() as change:
            entry = change.value.node(name)
            if _life(entry) is not Life.DOWN:
                raise WrongUse(f"{name} runs already (pid {entry.pid})")
            check_free(change.value.base_port, [entry.position])
            change.value = change.value.with_node(self._spawned(entry, env or {}))

    def stop_node(self, name: str) -> None:
        """SIGTERM, and wait for a clean end (SIGKILL after `STOP_TIMEOUT_S`)."""
        with self._changing() as change:
            entry = self._alive(change.value, name)
            how = KILLED if _terminate([entry]) else STOPPED
            change.value = change.value.with_node(_ended(entry, how))

    def kill(self, name: str) -> None:
        """SIGKILL: what a crash of the process looks like."""
        with self._changing() as change:
            entry = self._alive(change.value, name)
            assert entry.process is not None
            process.kill([entry.process])
            change.value = change.value.with_node(_ended(entry, KILLED))

    def pause(self, name: str) -> None:
        """SIGSTOP: the node keeps its memory and its sockets, and says nothing."""
        self._signal(name, signal.SIGSTOP)
        self.wait(lambda: self.life(name) is Life.PAUSED, f"{name} stands still", 5.0)

    def resume(self, name: str) -> None:
        """SIGCONT."""
        self._signal(name, signal.SIGCONT)
        self.wait(lambda: self.life(name) is Life.RUNNING, f"{name} runs again", 5.0)

    def wipe(self, name: str) -> None:
        """Delete what a node that is down has stored (ledger and journal); keep its keys."""
        with self._changing() as change:
            entry = change.value.node(name)
            if _life(entry) is not Life.DOWN:
                raise WrongUse(f"{name} runs; stop it before wiping it")
            for folder in ("data", "journal"):
                shutil.rmtree(self.directory / name / folder, ignore_errors=True)
                (self.directory / name / folder).mkdir()

    def add_observer(self, name: str) -> None:
        """Make the home of a node that follows without a vote; does not start it."""
        with self._changing() as change:
            change.value = generate.add_observer(self.directory, change.value, name)

    def life(self, name: str) -> Life:
        return _life(self.manifest.node(name))

    def wait_answer(self, name: str, timeout_s: float = 30.0) -> None:
        """Wait until a node's API answers. Raises `NodeDied`, `NotInTime`."""

        def answers() -> bool:
            entry = self.manifest.node(name)
            if _life(entry) is Life.DOWN:
                raise NodeDied(f"{name} {entry.ended or self._obituary(entry)}")
            return self._row(entry).answers

        self.wait(answers, f"{name} answers", timeout_s)

    # --- Looking. ---

    def status(self) -> NetworkStatus:
        """What every node says, and what follows from it."""
        network = self._buried()
        return status.summarise([self._row(each) for each in network.nodes], network.quorum)

    def wait(self, condition: Callable[[], bool], what: str, timeout_s: float) -> None:
        """Wait until `condition()`; raises `NotInTime` with the state of the network."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() >= deadline:
                state = self.status()
                rows = ", ".join(_brief(row) for row in state.nodes)
                raise NotInTime(f"not in {timeout_s:g} s: {what}. {state.summary} ({rows})")
            time.sleep(POLL_S)

    def wait_height(
        self, height: int, nodes: Sequence[str] | None = None, timeout_s: float = 30.0
    ) -> None:
        """Wait until each of `nodes` (all that run, if None) has stored `height`."""
        names = nodes or [each.name for each in self.manifest.nodes if _life(each) is Life.RUNNING]

        def is_there() -> bool:
            return all(
                (self._row(self.manifest.node(each)).height or 0) >= height for each in names
            )

        self.wait(is_there, f"height {height} at {', '.join(names)}", timeout_s)

    def client(self, name: str) -> Client:
        """A client of one node; kept until `close`."""
        if name not in self._clients:
            self._clients[name] = Client(self.manifest.node(name).api)
        return self._clients[name]

    def answering(self) -> str:
        """The name of the first node that answers, validators first. Raises `Unreachable`."""
        for entry in sorted(self.manifest.nodes, key=lambda each: each.role != "validator"):
            if _life(entry) is Life.RUNNING and self._row(entry).answers:
                return entry.name
        raise Unreachable(
            f"no node of {self.directory} answers. Start it: assay testnet up --dir "
            f"{self.directory} --detach"
        )

    def wallet(self, position: int = 0) -> Wallet:
        """The client key at `position` of those that were made with the network."""
        keys = self.manifest.clients
        if not 0 <= position < len(keys):
            raise WrongUse(f"there are {len(keys)} client keys in {self.directory}")
        return Wallet.load(self.genesis_file, self.directory / keys[position].key)

    # --- Belonging. ---

    def close(self) -> None:
        """Close connections; the nodes are left as they are."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.down()

    # --- Helpers. ---

    @contextmanager
    def _changing(self) -> Iterator["_Change"]:
        """The manifest, to change; saved at the end, also after an error."""
        with _lock(self.directory):
            change = _Change(self.manifest)
            before = change.value
            try:
                yield change
            finally:
                if change.value != before:
                    manifest.save(self.directory, change.value)

    def _buried(self) -> Manifest:
        """The manifest, without the process numbers of nodes that ended by themselves."""
        network = self.manifest
        if not any(each.pid is not None and _life(each) is Life.DOWN for each in network.nodes):
            return network
        with self._changing() as change:
            for entry in change.value.nodes:
                if entry.pid is not None and _life(entry) is Life.DOWN:
                    gone = msgspec.structs.replace(
                        entry, pid=None, started=None, ended=self._obituary(entry)
                    )
                    change.value = change.value.with_node(gone)
            return change.value

    def _spawned(self, entry: NodeEntry, env: Mapping[str, str]) -> NodeEntry:
        home = self.directory / entry.name
        identity = process.spawn(
            self.command(home),
            log=home / LOG_FILE,
            mark=str(home),
            env={**self._env, **env},
        )
        return msgspec.structs.replace(
            entry,
            home=str(home),
            pid=identity.pid,
            started=identity.started,
            ended="",
            ended_at=None,
        )

    def _signal(self, name: str, signal_number: signal.Signals) -> None:
        with self._changing() as change:
            entry = self._alive(change.value, name)
            assert entry.process is not None
            process.send(entry.process, signal_number)

    def _alive(self, network: Manifest, name: str) -> NodeEntry:
        entry = network.node(name)
        if _life(entry) is Life.DOWN:
            raise WrongUse(
                f"{name} is not running. Start it: assay testnet start {name} --dir "
                f"{self.directory}"
            )
        return entry

    def _row(self, entry: NodeEntry) -> NodeStatus:
        life = _life(entry)
        row = NodeStatus(
            name=entry.name,
            role=entry.role,
            state=life,
            running=life is Life.RUNNING,
            pid=entry.pid if life is not Life.DOWN else None,
            api=entry.api,
            note=self._note(entry, life),
        )
        if life is not Life.RUNNING:
            return row
        try:
            with Client(entry.api, STATUS_TIMEOUT_S) as client:
                return status.from_answer(row, client.status())
        except (Unreachable, ApiError):
            return row

    def _note(self, entry: NodeEntry, life: Life) -> str:
        match life:
            case Life.RUNNING:
                return ""
            case Life.PAUSED:
                return "paused"
            case Life.DOWN if entry.ended_at is not None:
                return f"{entry.ended}, {_ago(time.time() - entry.ended_at)} ago"
            case Life.DOWN:
                return entry.ended or "not started"

    def _obituary(self, entry: NodeEntry) -> str:
        """Why a node that nobody ended is gone."""
        how = process.exit_text(entry.process) if entry.process is not None else ""
        word = words.last_word(self.directory / entry.name / LOG_FILE)
        text = "ended by itself" + (f" ({how})" if how else "")
        return f"{text}; its last word: {word or 'nothing'}"


class _Change:
    def __init__(self, value: Manifest) -> None:
        self.value = value


@contextmanager
def _lock(directory: Path) -> Iterator[None]:
    """Held while the directory changes; a second one waits."""
    try:
        handle = os.open(directory / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise NotANetwork(f"{directory}: {error.strerror}") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _life(entry: NodeEntry) -> Life:
    return Life.DOWN if entry.process is None else process.life(entry.process)


def _terminate(entries: Sequence[NodeEntry]) -> list[str]:
    """SIGTERM to all, SIGKILL to those that do not end; the names of the latter."""
    identities = {each.process: each.name for each in entries if each.process is not None}
    for identity in identities:
        process.send(identity, signal.SIGTERM)
        process.send(identity, signal.SIGCONT)  # a paused process ends only when it runs
    left = process.wait_end(list(identities), STOP_TIMEOUT_S)
    process.kill(left)
    return [identities[each] for each in left]


def _ended(entry: NodeEntry, how: str) -> NodeEntry:
    return msgspec.structs.replace(entry, pid=None, started=None, ended=how, ended_at=time.time())


def _ago(seconds: float) -> str:
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def _forgotten(entry: NodeEntry) -> NodeEntry:
    return msgspec.structs.replace(entry, pid=None, started=None)


def _brief(row: NodeStatus) -> str:
    return f"{row.name} {row.state}" if row.height is None else f"{row.name} at {row.height}"
