"""The Noise HandshakeState: plays one pattern, message by message.

Source: Noise Protocol Framework, revision 34, section 5.3. Works for every interactive pattern
whose only pre-message may be the responder's static key (XX, IX, NK, IK and the like); a channel
mechanism is a `Pattern` and little else. Randomness comes from the caller, one ephemeral key per
handshake.

After any `ChannelError` the state is spent: the caller drops it together with the connection.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from p2p.interface import ChannelError
from p2p.noise.cipher import TAG_BYTES, CipherState
from p2p.noise.dh import KEY_BYTES, KeyPair
from p2p.noise.symmetric import HashName, SymmetricState


class Token(StrEnum):
    E = "e"
    S = "s"
    EE = "ee"
    ES = "es"
    SE = "se"
    SS = "ss"


@dataclass(frozen=True, slots=True)
class Pattern:
    """A row of the specification's tables; the initiator sends `messages[0]`."""

    name: str
    messages: tuple[tuple[Token, ...], ...]
    responder_known: bool = False
    """Whether the initiator must know the responder's static key beforehand (`<- s`)."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What one side brings along."""

    initiator: bool
    static: KeyPair
    ephemeral: Callable[[], bytes]
    """Gives the 32 secret random bytes of a fresh ephemeral key; called once, when needed."""
    prologue: bytes = b""
    remote_static: bytes | None = None
    """Of the responder, where the pattern says that the initiator knows it."""


class HandshakeState:
    """One side of one handshake. `write_message` and `read_message` take turns."""

    def __init__(self, pattern: Pattern, hash_name: HashName, setup: Setup) -> None:
        name = f"Noise_{pattern.name}_25519_ChaChaPoly_{hash_name}"
        self._symmetric = SymmetricState(name.encode(), hash_name)
        self._symmetric.mix_hash(setup.prologue)
        self._messages = pattern.messages
        self._turn = 0
        self._setup = setup
        self._ephemeral: KeyPair | None = None
        self._remote_ephemeral = b""
        self._remote_static = setup.remote_static
        if pattern.responder_known:
            known = setup.remote_static if setup.initiator else setup.static.public
            assert known is not None, f"{pattern.name} needs the responder's static key"
            self._symmetric.mix_hash(known)

    @property
    def complete(self) -> bool:
        return self._turn == len(self._messages)

    @property
    def my_turn(self) -> bool:
        """Whether this side writes the next message."""
        return not self.complete and self._setup.initiator == (self._turn % 2 == 0)

    @property
    def remote_static(self) -> bytes | None:
        """The peer's static key as far as known; proven only when `complete`."""
        return self._remote_static

    @property
    def handshake_hash(self) -> bytes:
        """Names this session uniquely, once `complete`."""
        return self._symmetric.handshake_hash

    def split(self) -> tuple[CipherState, CipherState]:
        """The ciphers of the finished handshake: to send with, to receive with."""
        assert self.complete
        first, second = self._symmetric.split()
        return (first, second) if self._setup.initiator else (second, first)

    def expected_bytes(self, payload_bytes: int = 0) -> int:
        """The only length that the next message can have with a payload of that size."""
        tag = self._symmetric.tag_bytes
        size = payload_bytes
        for token in self._messages[self._turn]:
            match token:
                case Token.E:
                    size += KEY_BYTES
                case Token.S:
                    size += KEY_BYTES + tag
                case Token.EE | Token.ES | Token.SE | Token.SS:
                    tag = TAG_BYTES
        return size + tag

    def write_message(self, payload: bytes = b"") -> bytes:
        assert self.my_turn
        parts: list[bytes] = []
        for token in self._messages[self._turn]:
            match token:
                case Token.E:
                    parts.append(self._write_ephemeral())
                case Token.S:
                    parts.append(self._symmetric.encrypt_and_hash(self._setup.static.public))
                case Token.EE | Token.ES | Token.SE | Token.SS:
                    self._symmetric.mix_key(self._exchange(token))
        parts.append(self._symmetric.encrypt_and_hash(payload))
        self._turn += 1
        return b"".join(parts)

    def read_message(self, message: bytes) -> bytes:
        """The payload. Raises `ChannelError` if the message is not the peer's honest next one."""
        assert not self.complete
        assert not self.my_turn
        rest = message
        for token in self._messages[self._turn]:
            match token:
                case Token.E:
                    self._remote_ephemeral, rest = _cut(rest, KEY_BYTES)
                    self._symmetric.mix_hash(self._remote_ephemeral)
                case Token.S:
                    sealed, rest = _cut(rest, KEY_BYTES + self._symmetric.tag_bytes)
                    self._remote_static = self._symmetric.decrypt_and_hash(sealed)
                case Token.EE | Token.ES | Token.SE | Token.SS:
                    self._symmetric.mix_key(self._exchange(token))
        payload = self._symmetric.decrypt_and_hash(rest)
        self._turn += 1
        return payload

    def _write_ephemeral(self) -> bytes:
        self._ephemeral = KeyPair(self._setup.ephemeral())
        self._symmetric.mix_hash(self._ephemeral.public)
        return self._ephemeral.public

    def _exchange(self, token: Token) -> bytes:
        """One Diffie-Hellman; the first letter of the token is the initiator's key."""
        mine, theirs = token[0], token[1]
        if not self._setup.initiator:
            mine, theirs = theirs, mine
        pair = self._ephemeral if mine == Token.E else self._setup.static
        public = self._remote_ephemeral if theirs == Token.E else self._remote_static
        assert pair is not None, f"{token} before its keys"
        assert public is not None, f"{token} before its keys"
        return pair.exchange(public)


def _cut(data: bytes, size: int) -> tuple[bytes, bytes]:
    if len(data) < size:
        raise ChannelError("short_handshake_message")
    return data[:size], data[size:]
