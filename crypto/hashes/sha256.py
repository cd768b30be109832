"""SHA-256 (FIPS 180-4), by the standard library."""

import hashlib
from dataclasses import dataclass

from crypto.interface import Digest, Hash, HashClaims

CLAIMS = HashClaims(source="FIPS 180-4", output_bytes=32, bits_classical=128, bits_quantum=85)


@dataclass(frozen=True, slots=True)
class Options:
    """None."""


@dataclass(frozen=True, slots=True)
class _Sha256:
    def digest(self, data: bytes) -> Digest:
        return Digest(hashlib.sha256(data).digest())


def create(options: Options) -> Hash:  # noqa: ARG001 - every mechanism has options
    return _Sha256()
