"""`DIR/testnet.json`: which nodes a network on this machine has. Scripts may read it.

Stable for scripts: `nodes`, each with `name`, `home`, `pid` (null while it does not run), `api`
(a URL) and `peer` (host:port). The file is replaced atomically, so a reader never sees half of it.
"""

import os
import tempfile
from pathlib import Path

import msgspec

from testnet.errors import NotANetwork, WrongUse
from testnet.process import ProcessId

FORMAT = 1
FILE = "testnet.json"
GENESIS_FILE = "genesis.json"


class NodeEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One node: where it lives and listens, and its process if it runs."""

    name: str
    role: str
    position: int
    """Decides its ports."""
    home: str
    api: str
    peer: str
    admin: str
    pid: int | None = None
    started: float | None = None
    ended: str = ""
    """How it ended: `exit by signal 9`, `stopped`, or `ended by itself` and its last word."""
    ended_at: float | None = None
    """When this tool ended it; None if it ended by itself, or never ran."""

    @property
    def process(self) -> ProcessId | None:
        if self.pid is None or self.started is None:
            return None
        return ProcessId(self.pid, self.started, self.home)


class ClientEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A client key that the genesis lists; `key` is its file."""

    name: str
    public_key: str
    key: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """The whole file."""

    format: int = FORMAT
    chain: str
    genesis: str
    """Digest of the genesis, hex."""
    created_ms: int
    base_port: int
    settings: dict[str, str | int | float | bool]
    """What `--set` said."""
    engine: str
    """The storage engine of every node."""
    quorum: int
    nodes: tuple[NodeEntry, ...]
    clients: tuple[ClientEntry, ...]

    def node(self, name: str) -> NodeEntry:
        """Raise `WrongUse`, listing the names, if there is no such node."""
        for entry in self.nodes:
            if entry.name == name:
                return entry
        names = " ".join(entry.name for entry in self.nodes)
        raise WrongUse(f"no node is called {name!r} here. There are: {names}")

    def with_node(self, changed: NodeEntry) -> "Manifest":
        """The same with `changed` in place of the node of its name, or added."""
        nodes = {entry.name: entry for entry in self.nodes}
        nodes[changed.name] = changed
        return msgspec.structs.replace(self, nodes=tuple(nodes.values()))


def exists(directory: Path) -> bool:
    return (directory / FILE).exists()


def load(directory: Path) -> Manifest:
    """Read the manifest of the network in `directory`. Raises `NotANetwork`."""
    path = directory / FILE
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except FileNotFoundError:
        raise NotANetwork(
            f"{directory} holds no network. Make one: assay testnet up --dir {directory} --nodes 4"
        ) from None
    except (OSError, msgspec.DecodeError) as error:
        raise NotANetwork(f"{path} cannot be read: {error}") from None
    if manifest.format != FORMAT:
        raise NotANetwork(f"{path} has format {manifest.format}; this version knows {FORMAT}")
    return manifest


def save(directory: Path, manifest: Manifest) -> None:
    """Replace the file atomically."""
    text = msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"
    write_atomically(directory / FILE, text)


def write_atomically(path: Path, content: bytes) -> None:
    """Readers see the old content or the new one, never a mixture."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).chmod(0o644)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
