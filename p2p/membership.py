"""Who may connect, from lists: validators and observers by their channel keys.

With `open_observers`, a key on no list is an observer too, under a name made from the key; how
many of them may be linked at once is a limit of the transport. Whoever changes a membership tells
the network (`Network.membership_changed`), which then disconnects those who are gone.
"""

from collections.abc import Mapping

from crypto.interface import NodeId
from p2p.interface import ChannelKey, Peer, Role

KEY_BYTES = 32
OPEN_OBSERVER_PREFIX = "observer-"

Keys = Mapping[NodeId, ChannelKey]


class BadMembership(ValueError):
    """The lists contradict themselves. The message says what to change."""


class StaticMembership:
    """Lists that change only when somebody calls `update`."""

    def __init__(self, validators: Keys, observers: Keys, *, open_observers: bool = False) -> None:
        self._open_observers = open_observers
        self._peers = _index(validators, observers)

    def update(self, validators: Keys, observers: Keys) -> None:
        """Replace both lists, or raise `BadMembership` and change nothing."""
        self._peers = _index(validators, observers)

    def identify(self, key: ChannelKey) -> Peer | None:
        peer = self._peers.get(key)
        if peer is not None or not self._open_observers:
            return peer
        return Peer(NodeId(OPEN_OBSERVER_PREFIX + key.hex()[:32]), Role.OBSERVER)


def _index(validators: Keys, observers: Keys) -> dict[ChannelKey, Peer]:
    peers: dict[ChannelKey, Peer] = {}
    names: set[NodeId] = set()
    for role, keys in ((Role.VALIDATOR, validators), (Role.OBSERVER, observers)):
        for name, key in keys.items():
            _check(name, key)
            if key in peers:
                raise BadMembership(f"{name} and {peers[key].name} have the same channel key")
            if name in names:
                raise BadMembership(f"{name} is listed as a validator and as an observer")
            names.add(name)
            peers[key] = Peer(name, role)
    return peers


def _check(name: NodeId, key: ChannelKey) -> None:
    if len(key) != KEY_BYTES or key == bytes(KEY_BYTES):
        raise BadMembership(f"the channel key of {name} is no key of {KEY_BYTES} bytes")
    if name.startswith(OPEN_OBSERVER_PREFIX):
        raise BadMembership(f"{name}: names of that form are kept for unlisted observers")
