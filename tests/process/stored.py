"""What nodes that are down have on disk, read with the ledger's own checks."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module

from crypto.genesis import digest
from crypto.interface import Digest
from node.home import Home
from storage.interface import Store
from storage.ledger import Ledger
from testnet.chosen import hash_of
from testnet.network import Testnet
from tests.process.load import Acknowledged


@contextmanager
def ledger(net: Testnet, name: str) -> Iterator[Ledger]:
    """The ledger of a node that is down."""
    home = Home(net.home(name))
    config, genesis = home.read()
    engine = import_module(f"storage.engines.{config.storage.engine}")
    store: Store = engine.create(engine.Options(), home.data)
    try:
        hash_ = hash_of(genesis)
        commitment = import_module(f"storage.commitments.{genesis.commitment.name}")
        made = commitment.create(commitment.Options(), hash_)
        yield Ledger.open(store, digest(genesis), hash_, made)
    finally:
        store.close()


def digests(net: Testnet, name: str) -> list[Digest]:
    """Of all headers that a node that is down has, from height 1."""
    with ledger(net, name) as opened:
        return [opened.header_digest(at) for at in range(1, opened.height + 1)]


def assert_one_chain(net: Testnet, names: Sequence[str] | None = None) -> int:
    """All nodes (which are down) have the same blocks as far as each goes; the common height."""
    chains = {name: digests(net, name) for name in names or net.names()}
    longest = max(chains.values(), key=len)
    for name, chain in chains.items():
        assert chain == longest[: len(chain)], f"{name} has another chain"
    return min(map(len, chains.values()))


def assert_nothing_lost(
    net: Testnet, told: Sequence[Acknowledged], names: Sequence[str] | None = None
) -> None:
    """Every acknowledged transaction is on every node's disk, where clients were told."""
    assert told
    for name in names or net.names():
        with ledger(net, name) as opened:
            places = opened.find_many([Digest(bytes.fromhex(each.id)) for each in told])
            for each, place in zip(told, places, strict=True):
                assert place is not None, f"{name} lacks {each}"
                at, position = place
                header = opened.header(at)
                index = header.ledger_size - header.block_size + position
                assert (at, index) == (each.height, each.index), f"{name}: {place}, not {each}"
                assert opened.receipts(at)[position].code == each.code
