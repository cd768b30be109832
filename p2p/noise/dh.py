"""X25519 for Noise: key pairs, and an exchange that refuses points of low order.

Source: RFC 7748; Noise Protocol Framework, revision 34, sections 4.1 and 12.1. Noise leaves it
open whether an all-zero result is refused; here it is, because it would let a peer without any
secret make a session whose keys anybody can compute.
"""

import hmac
from typing import NoReturn

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from crypto.interface import InvalidKey
from p2p.interface import ChannelError

KEY_BYTES = 32

_ZEROS = bytes(KEY_BYTES)


class KeyPair:
    """A private key and its public key. Shows no secret and does not pickle."""

    __slots__ = ("_private", "public")

    def __init__(self, private_key: bytes) -> None:
        """Raises `InvalidKey` unless `private_key` is 32 bytes."""
        if len(private_key) != KEY_BYTES:
            raise InvalidKey(f"an X25519 private key has {KEY_BYTES} bytes, not {len(private_key)}")
        self._private = X25519PrivateKey.from_private_bytes(private_key)
        self.public = self._private.public_key().public_bytes_raw()

    def __repr__(self) -> str:
        return f"KeyPair(public={self.public.hex()})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a private key is not pickled")

    def exchange(self, public: bytes) -> bytes:
        """The shared secret with `public`, or raise `ChannelError` for a low-order point."""
        try:
            shared = self._private.exchange(X25519PublicKey.from_public_bytes(public))
        except ValueError:  # what the library says to an all-zero result
            raise ChannelError("low_order_point") from None
        if hmac.compare_digest(shared, _ZEROS):
            raise ChannelError("low_order_point")
        return shared
