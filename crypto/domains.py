"""Every purpose for which something is signed, in one table.

A signature is over a `Statement`: marker, domain, genesis digest, body. Two purposes, or two
networks, can therefore never confuse each other's signatures.
"""

import re
from typing import NewType

from crypto.interface import DIGEST_BYTES, Digest, Statement

Domain = NewType("Domain", str)

TRANSACTION = Domain("transaction")
"""A client's order to the ledger. Body: the transaction id."""

ATTESTATION = Domain("attestation")
"""A validator executed and stored a block. Body: the header digest."""

FIXED = (TRANSACTION, ATTESTATION)

_CONSENSUS = "consensus/"
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")
_MARKER = b"assay\x00"


def consensus(protocol: str, phase: str) -> Domain:
    """The domain of one message type of one protocol, e.g. `consensus/pbft/prepare`."""
    for part in (protocol, phase):
        if not _NAME.fullmatch(part):
            raise ValueError(f"{part!r} cannot be part of a domain")
    return Domain(f"{_CONSENSUS}{protocol}/{phase}")


def prefix(domain: Domain, genesis: Digest) -> bytes:
    """What every statement of a domain and network begins with; the body follows."""
    if len(genesis) != DIGEST_BYTES:
        raise ValueError(f"a genesis digest has {DIGEST_BYTES} bytes, not {len(genesis)}")
    name = domain.encode()
    return _MARKER + bytes([len(name)]) + name + genesis


def statement(domain: Domain, genesis: Digest, body: bytes) -> Statement:
    """What is signed: `body`, for the purpose `domain`, on the network `genesis`."""
    return Statement(prefix(domain, genesis) + body)
