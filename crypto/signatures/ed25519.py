"""Ed25519 (RFC 8032) by libsodium.

Verdicts on edge cases, the same for one and for many (`verify_batch` is a loop; libsodium has no
batch): refused are S at or above the group order, a public key that is no point, not canonically
encoded or of small order, and an R of small order. The equation is the cofactorless one,
R = SB - hA, compared as bytes: an R that is not canonically encoded never passes, and a public key
or R with a torsion part passes only where both parts cancel. Such a key is made on purpose by who
holds its secret; `check_public_key` refuses it. These are the verdicts of libsodium 1.0.20
(`crypto_sign_verify_detached`); a version or library with others would split a network, so the
tests pin each of them. Signing is deterministic.

Verification calls libsodium without giving up the interpreter lock. A call takes about as long as
a thread needs to get the lock back, so that giving it up for each signature made a busy node
spend three to six times the processor time on each (docs/adr/0007-verification-and-the-lock.md).
"""

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

from nacl import _sodium
from nacl.bindings import (
    crypto_core_ed25519_is_valid_point,
    crypto_sign,
    crypto_sign_seed_keypair,
)

from crypto.interface import (
    Claim,
    InvalidKey,
    InvalidSignature,
    PublicKey,
    Signature,
    SignatureClaims,
    SignatureScheme,
    SigningKey,
    Statement,
)

CLAIMS = SignatureClaims(
    source="RFC 8032",
    bits_classical=128,
    bits_quantum=0,
    public_key_bytes=32,
    signature_bytes=64,
    aggregates=False,
    deterministic=True,
)

_KEY_BYTES = 32
_SIGNATURE_BYTES = 64


@dataclass(frozen=True, slots=True)
class Options:
    """None."""


@dataclass(frozen=True, slots=True)
class _Key:
    public_key: PublicKey
    _secret: bytes = field(repr=False)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a private key is not pickled")

    def sign(self, statement: Statement) -> Signature:
        return Signature(crypto_sign(statement, self._secret)[:_SIGNATURE_BYTES])


class _Ed25519:
    seed_bytes = 32

    def key_from_seed(self, seed: bytes) -> SigningKey:
        if len(seed) != self.seed_bytes:
            raise InvalidKey(f"a seed has {self.seed_bytes} bytes, not {len(seed)}")
        public, secret = crypto_sign_seed_keypair(seed)
        return _Key(PublicKey(public), secret)

    def check_public_key(self, public_key: bytes) -> PublicKey:
        if len(public_key) != _KEY_BYTES:
            raise InvalidKey(f"a public key has {_KEY_BYTES} bytes, not {len(public_key)}")
        if not crypto_core_ed25519_is_valid_point(public_key):
            raise InvalidKey("the public key is no point of the prime-order group")
        return PublicKey(public_key)

    def verify(self, claim: Claim) -> None:
        if not _valid(claim):
            raise InvalidSignature("the signature does not match key and statement")

    def verify_batch(self, claims: Sequence[Claim]) -> Sequence[bool]:
        return [_valid(claim) for claim in claims]


def create(options: Options) -> SignatureScheme:  # noqa: ARG001 - every mechanism has options
    return _Ed25519()


def _valid(claim: Claim) -> bool:
    public_key, statement, signature = claim
    if len(signature) != _SIGNATURE_BYTES or len(public_key) != _KEY_BYTES:
        return False
    return _verify_detached(signature, statement, len(statement), public_key) == 0


def _bind() -> Callable[[bytes, bytes, int, bytes], int]:
    """Libsodium's function, called with the interpreter lock held (`PyDLL`)."""
    function = ctypes.PyDLL(_sodium.__file__).crypto_sign_verify_detached
    function.argtypes = (
        ctypes.c_char_p,
        ctypes.c_char_p,
        ctypes.c_ulonglong,
        ctypes.c_char_p,
    )
    function.restype = ctypes.c_int
    return function


_verify_detached = _bind()
