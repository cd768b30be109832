"""The Noise SymmetricState: chaining key, transcript hash, and the cipher of the handshake.

Source: Noise Protocol Framework, revision 34, sections 4.3 (`HKDF`) and 5.2. For the two hash
functions with 32 bytes of output, SHA256 and BLAKE2s.
"""

import hashlib
import hmac
from enum import StrEnum

from p2p.noise.cipher import TAG_BYTES, CipherState

HASH_BYTES = 32


class HashName(StrEnum):
    """The names of the Noise specification."""

    SHA256 = "SHA256"
    BLAKE2S = "BLAKE2s"


class SymmetricState:
    """Everything that the two sides have agreed on so far, in two 32-byte values and a key."""

    __slots__ = ("_algorithm", "_chaining_key", "_cipher", "_hash")

    def __init__(self, protocol_name: bytes, hash_name: HashName) -> None:
        self._algorithm = hash_name.value.lower()
        if len(protocol_name) <= HASH_BYTES:
            self._hash = protocol_name.ljust(HASH_BYTES, b"\x00")
        else:
            self._hash = self._digest(protocol_name)
        self._chaining_key = self._hash
        self._cipher = CipherState()

    @property
    def handshake_hash(self) -> bytes:
        """The hash of the whole transcript so far."""
        return self._hash

    @property
    def tag_bytes(self) -> int:
        """By how much encryption lengthens a part of the next message."""
        return TAG_BYTES if self._cipher.has_key else 0

    def mix_key(self, material: bytes) -> None:
        self._chaining_key, key = self._hkdf(material)
        self._cipher = CipherState(key)

    def mix_hash(self, data: bytes) -> None:
        self._hash = self._digest(self._hash + data)

    def encrypt_and_hash(self, plaintext: bytes) -> bytes:
        ciphertext = self._cipher.encrypt(self._hash, plaintext)
        self.mix_hash(ciphertext)
        return ciphertext

    def decrypt_and_hash(self, ciphertext: bytes) -> bytes:
        """Raises `ChannelError`, and changes nothing, if the transcripts differ."""
        plaintext = self._cipher.decrypt(self._hash, ciphertext)
        self.mix_hash(ciphertext)
        return plaintext

    def split(self) -> tuple[CipherState, CipherState]:
        """The ciphers of the session: from initiator to responder, and back."""
        first, second = self._hkdf(b"")
        return CipherState(first), CipherState(second)

    def _digest(self, data: bytes) -> bytes:
        return hashlib.new(self._algorithm, data).digest()

    def _hmac(self, key: bytes, data: bytes) -> bytes:
        return hmac.digest(key, data, self._algorithm)

    def _hkdf(self, material: bytes) -> tuple[bytes, bytes]:
        secret = self._hmac(self._chaining_key, material)
        first = self._hmac(secret, b"\x01")
        return first, self._hmac(secret, first + b"\x02")
