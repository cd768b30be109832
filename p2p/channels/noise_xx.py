"""Noise XX: mutual authentication of peers that may learn each other's keys in the handshake.

Three messages: `-> e`, `<- e, ee, s, es`, `-> s, se`. Promises: both sides prove their static
X25519 keys; forward secrecy; static keys are hidden from listeners, the dialler's also from
whoever cannot prove the key that was dialled; a replayed handshake fails, because the listener's
ephemeral key is fresh. Does not promise: resistance against a quantum computer, hiding of sizes
and times.

The prologue binds the wire format, the network (the caller's part) and the rekey schedule: two
sides that differ in any of these fail in the handshake.

Source: Noise Protocol Framework, revision 34, `Noise_XX_25519_ChaChaPoly_SHA256` or `_BLAKE2s`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from struct import Struct
from typing import Literal

from p2p.interface import Channel, ChannelClaims, ChannelError, ChannelKey, Channels
from p2p.noise.channel import NoiseChannel
from p2p.noise.dh import KEY_BYTES, KeyPair
from p2p.noise.handshake import HandshakeState, Pattern, Setup, Token
from p2p.noise.records import RekeySchedule
from p2p.noise.symmetric import HashName

CLAIMS = ChannelClaims(
    authentication="mutual, by static X25519 keys",
    forward_secrecy=True,
    bits_classical=128,
    bits_quantum=0,
)

XX = Pattern("XX", ((Token.E,), (Token.E, Token.EE, Token.S, Token.ES), (Token.S, Token.SE)))

_SCHEDULE = Struct(">QQ")


@dataclass(frozen=True, slots=True)
class Options:
    """All peers of a network need the same; the handshake fails where they differ."""

    hash: Literal["SHA256", "BLAKE2s"] = "SHA256"
    rekey_records: int = 2**16
    rekey_bytes: int = 2**30

    def __post_init__(self) -> None:
        if self.hash not in tuple(HashName):
            raise ValueError(f"hash must be one of {', '.join(HashName)}")
        if self.rekey_records < 1 or self.rekey_bytes < 1:
            raise ValueError("rekey_records and rekey_bytes must be at least 1")


def create(
    options: Options, *, private_key: bytes, prologue: bytes, entropy: Callable[[int], bytes]
) -> Channels:
    """Channels for the node whose static key is `private_key` (32 bytes, else `InvalidKey`).

    `prologue` comes from `p2p.framing.prologue`; `entropy(n)` gives n secret random bytes.
    """
    return _NoiseXX(options, KeyPair(private_key), prologue, entropy)


def public_key(private_key: bytes) -> ChannelKey:
    """The key that peers know a node by, e.g. for the genesis file."""
    return ChannelKey(KeyPair(private_key).public)


@dataclass(frozen=True, slots=True)
class _NoiseXX:
    options: Options
    static: KeyPair
    prologue: bytes
    entropy: Callable[[int], bytes] = field(repr=False)

    @property
    def public_key(self) -> ChannelKey:
        return ChannelKey(self.static.public)

    def dial(self, expected: ChannelKey) -> Channel:
        if expected == self.static.public:
            raise ChannelError("self_dial")
        return self._channel(initiator=True, expected=expected)

    def accept(self) -> Channel:
        return self._channel(initiator=False, expected=None)

    def _channel(self, *, initiator: bool, expected: ChannelKey | None) -> Channel:
        schedule = RekeySchedule(self.options.rekey_records, self.options.rekey_bytes)
        setup = Setup(
            initiator=initiator,
            static=self.static,
            ephemeral=lambda: self.entropy(KEY_BYTES),
            prologue=self.prologue + _SCHEDULE.pack(schedule.records, schedule.bytes),
        )
        handshake = HandshakeState(XX, HashName(self.options.hash), setup)
        return NoiseChannel(handshake, own=self.public_key, expected=expected, schedule=schedule)
