"""What the rest of the system may ask of cryptography.

Signing and verifying take a `Statement` (see `crypto.domains`), never free bytes: what is signed
is always bound to one purpose and to one network.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, NewType, Protocol

Digest = NewType("Digest", bytes)
"""32 bytes, made by the hash that the genesis file names."""

NodeId = NewType("NodeId", str)
"""The name of a validator or an observer, as in the genesis file: `v1`."""

PublicKey = NewType("PublicKey", bytes)
Signature = NewType("Signature", bytes)

Statement = NewType("Statement", bytes)
"""Bytes that are bound to a domain and to a genesis; made by `crypto.domains.statement` only."""

DIGEST_BYTES = 32


class CryptoError(Exception):
    """The root of everything this folder raises on bad input. The message is for a person."""


class InvalidSignature(CryptoError):
    """The signature does not match the key and the statement."""


class InvalidKey(CryptoError):
    """The bytes are no usable key of this scheme: length, encoding, or a small-order point."""


@dataclass(frozen=True, slots=True)
class HashClaims:
    """What a hash promises. Printed in every table."""

    source: str
    output_bytes: int
    bits_classical: int
    """Against collisions."""
    bits_quantum: int


@dataclass(frozen=True, slots=True)
class SignatureClaims:
    """What a signature scheme promises. Printed in every table."""

    source: str
    bits_classical: int
    bits_quantum: int
    public_key_bytes: int
    signature_bytes: int
    aggregates: bool
    deterministic: bool


class Claim(NamedTuple):
    """That `public_key` signed `statement`: true or false, to be found out."""

    public_key: PublicKey
    statement: Statement
    signature: Signature


class SigningKey(Protocol):
    """A private key. Has no `repr` of its secret and does not pickle."""

    @property
    def public_key(self) -> PublicKey: ...

    def sign(self, statement: Statement) -> Signature: ...


class SignatureScheme(Protocol):
    """One signature algorithm; pure computation, safe to call from several threads."""

    @property
    def seed_bytes(self) -> int:
        """Length of the secret seed that `key_from_seed` takes."""
        ...

    def key_from_seed(self, seed: bytes) -> SigningKey: ...

    def check_public_key(self, public_key: bytes) -> PublicKey:
        """The key itself, or raise `InvalidKey`."""
        ...

    def verify(self, claim: Claim) -> None:
        """Return silently, or raise `InvalidSignature`; there is no boolean to ignore."""
        ...

    def verify_batch(self, claims: Sequence[Claim]) -> Sequence[bool]:
        """The verdict on each claim, in order; the same verdicts as `verify`, one by one."""
        ...


class Hash(Protocol):
    """One hash function with 32 bytes of output."""

    def digest(self, data: bytes) -> Digest: ...
