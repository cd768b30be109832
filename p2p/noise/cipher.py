"""The Noise CipherState: one key, one counter, one direction.

Source: Noise Protocol Framework, revision 34, sections 5.1 and 4.2 (`REKEY`), 12.3 (ChaChaPoly).
The counter moves only after success, so a forged message never puts the two sides out of step.
"""

from struct import Struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from p2p.interface import ChannelError

TAG_BYTES = 16
NONCE_MAX = 2**64 - 1
"""Reserved for `rekey`; a message is never sealed under it."""

_NONCE = Struct("<4xQ")
_REKEY_NONCE = _NONCE.pack(NONCE_MAX)
_ZEROS = bytes(32)


class CipherState:
    """Authenticated encryption with counted nonces. Without a key it passes data through."""

    __slots__ = ("_aead", "_nonce")

    def __init__(self, key: bytes | None = None, nonce: int = 0) -> None:
        self._aead = None if key is None else ChaCha20Poly1305(key)
        self._nonce = nonce

    @property
    def has_key(self) -> bool:
        return self._aead is not None

    @property
    def nonce(self) -> int:
        """How many messages this key and its successors have sealed or opened."""
        return self._nonce

    def encrypt(self, associated: bytes, plaintext: bytes | memoryview) -> bytes:
        """Seal one message. Raises `ChannelError` when the nonces are used up."""
        if self._aead is None:
            return bytes(plaintext)
        sealed = self._aead.encrypt(self._next_nonce(), plaintext, associated)
        self._nonce += 1
        return sealed

    def decrypt(self, associated: bytes, ciphertext: bytes | bytearray) -> bytes:
        """Open one message. Raises `ChannelError` if it was not sealed by the peer, as next."""
        if self._aead is None:
            return bytes(ciphertext)
        try:
            plaintext = self._aead.decrypt(self._next_nonce(), ciphertext, associated)
        except InvalidTag:
            raise ChannelError("bad_ciphertext") from None
        self._nonce += 1
        return plaintext

    def rekey(self) -> None:
        """Replace the key by a one-way function of itself. The counter goes on."""
        assert self._aead is not None, "rekey before the handshake"
        self._aead = ChaCha20Poly1305(self._aead.encrypt(_REKEY_NONCE, _ZEROS, b"")[:32])

    def _next_nonce(self) -> bytes:
        if self._nonce >= NONCE_MAX:
            raise ChannelError("nonces_exhausted")
        return _NONCE.pack(self._nonce)
