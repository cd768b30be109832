"""Which node a command talks to: one of a network's directory, or one by its URL."""

from pathlib import Path

from cli.output import ExitCode, Stop
from testnet.client import Client
from testnet.network import Testnet


def client_for(directory: Path | None, url: str | None) -> tuple[Client, str]:
    """A client and the name of its node; any node of the directory that answers."""
    if (directory is None) == (url is None):
        raise Stop("give either --dir DIR or --url URL", ExitCode.WRONG_USE, word="wrong_use")
    if url is not None:
        if not url.startswith(("http://", "https://")):
            text = f"--url {url}: write it like http://127.0.0.1:7101"
            raise Stop(text, ExitCode.WRONG_USE, word="wrong_use")
        return Client(url), url
    assert directory is not None
    network = Testnet(directory)
    name = network.answering()
    return network.client(name), name
