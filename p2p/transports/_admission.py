"""Which accepted connections may go on to a handshake. Decided before any cryptography."""

from collections import Counter
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

from p2p.interface import ChannelError
from p2p.limits import Limits


@dataclass(slots=True, eq=False)
class Slot:
    """The place of one accepted connection in the counts."""

    group: str
    pending: bool = True


class Admission:
    """Counts accepted connections, in all and by address. Pending: peer not proven yet."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._pending: Counter[str] = Counter()
        self._open: Counter[str] = Counter()

    @property
    def pending(self) -> int:
        return self._pending.total()

    @property
    def open(self) -> int:
        """Pending and established."""
        return self._open.total()

    def admit(self, address: str) -> Slot:
        """A slot, to be given back with `release`; or raise `ChannelError`."""
        limits, group = self._limits, _group(address)
        for reason, count, most in (
            ("connections_full", self.open, limits.connections_max),
            ("pending_full", self.pending, limits.pending_connections_max),
            ("address_full", self._open[group], limits.connections_per_address_max),
            ("address_pending_full", self._pending[group], limits.pending_per_address_max),
        ):
            if count >= most:
                raise ChannelError(reason)
        self._pending[group] += 1
        self._open[group] += 1
        return Slot(group)

    def establish(self, slot: Slot) -> None:
        """The peer of this connection has proven itself."""
        assert slot.pending
        slot.pending = False
        self._decrement(self._pending, slot.group)

    def release(self, slot: Slot) -> None:
        """The connection is gone."""
        if slot.pending:
            self._decrement(self._pending, slot.group)
        self._decrement(self._open, slot.group)

    @staticmethod
    def _decrement(counts: Counter[str], group: str) -> None:
        # Keys with a zero are removed: an attacker with many addresses must not leave a trace each.
        counts[group] -= 1
        if not counts[group]:
            del counts[group]


def _group(address: str) -> str:
    """The address, or the /64 network of an IPv6 address: whoever has one has all of it."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is None:
        return (parsed.packed[:8] + bytes(8)).hex()
    return address
