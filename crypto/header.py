"""The header of a block: a function of the decided sequence, the same on all honest nodes."""

from typing import Annotated

from msgspec import Meta

from crypto import domains
from crypto.encoding import Codec, Record, encode
from crypto.interface import DIGEST_BYTES, Digest, Hash, Statement
from crypto.transaction import Count

DigestField = Annotated[Digest, Meta(min_length=DIGEST_BYTES, max_length=DIGEST_BYTES)]

ZERO = Digest(bytes(DIGEST_BYTES))
"""The parent of height 1."""


class Header(Record, frozen=True):
    """What validators attest after they executed and stored the block."""

    height: Count
    parent: DigestField
    """Digest of the header below; `ZERO` at height 1."""
    epoch: Count
    committee: DigestField
    """Digest of the committee that attests this header."""
    payload: DigestField
    """Digest of the decided payload's encoding."""
    time_ms: Count
    """The proposer's claim, in ms since 1970, never below the parent's; advisory."""
    block_size: Count
    """Transactions in this block."""
    ledger_size: Count
    """Transactions in the ledger after this block."""
    ledger_root: DigestField
    """RFC 6962 root over all signed transactions up to and with this block."""
    receipts_root: DigestField
    """RFC 6962 root over the encoded receipts of this block."""
    state_root: DigestField
    """The state commitment after this block."""


headers: Codec[Header] = Codec(Header, bytes_max=1024)


def header_digest(header: Header, hash_: Hash) -> Digest:
    return hash_.digest(encode(header))


def attestation_statement(digest: Digest, genesis: Digest) -> Statement:
    """What a validator signs of a header."""
    return domains.statement(domains.ATTESTATION, genesis, digest)
