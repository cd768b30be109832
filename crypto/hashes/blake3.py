"""BLAKE3 with 32 bytes of output (O'Connor, Aumasson, Neves, Wilcox-O'Hearn, 2020)."""

from dataclasses import dataclass

import blake3

from crypto.interface import Digest, Hash, HashClaims

CLAIMS = HashClaims(source="BLAKE3 (2020)", output_bytes=32, bits_classical=128, bits_quantum=85)


@dataclass(frozen=True, slots=True)
class Options:
    """None."""


@dataclass(frozen=True, slots=True)
class _Blake3:
    def digest(self, data: bytes) -> Digest:
        return Digest(blake3.blake3(data).digest())


def create(options: Options) -> Hash:  # noqa: ARG001 - every mechanism has options
    return _Blake3()
