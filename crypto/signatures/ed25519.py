"""Ed25519 (RFC 8032) by libsodium.

Verdicts on edge cases, the same for one and for many: S at or above the group order, a
non-canonical or small-order public key, and a small-order R are refused (libsodium's
`crypto_sign_verify_detached`, cofactorless). Signing is deterministic.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from nacl import exceptions
from nacl.bindings import (
    crypto_core_ed25519_is_valid_point,
    crypto_sign,
    crypto_sign_open,
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
    try:
        crypto_sign_open(signature + statement, public_key)
    except exceptions.BadSignatureError:
        return False
    return True
