"""Attestations of a header, and the certificate that a quorum of them makes.

The same for every consensus protocol: a validator attests a header once, after it executed and
stored the block. Proofs, light clients and catch-up rest on this alone.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated

from msgspec import Meta

from crypto.encoding import Codec, Record
from crypto.header import DigestField, attestation_statement
from crypto.interface import Claim, CryptoError, Digest, PublicKey, Signature, SignatureScheme
from crypto.transaction import Count

VALIDATORS_MAX = 1024

Index = Annotated[int, Meta(ge=0, lt=VALIDATORS_MAX)]
SignatureField = Annotated[Signature, Meta(max_length=64 * 1024)]


class InvalidCertificate(CryptoError):
    """The certificate proves nothing. The message says why."""


class Attestation(Record, frozen=True):
    """That the validator of that index executed and stored the block with this header."""

    height: Count
    header: DigestField
    validator: Index
    """Index in the committee's agreed order."""
    signature: SignatureField


class Vote(Record, frozen=True):
    validator: Index
    signature: SignatureField


class Certificate(Record, frozen=True):
    """Attestations of one header by at least a quorum, in order of validator."""

    height: Count
    header: DigestField
    votes: Annotated[tuple[Vote, ...], Meta(max_length=VALIDATORS_MAX)]


certificates: Codec[Certificate] = Codec(Certificate, bytes_max=4 * 1024 * 1024)


def attestation_claim(
    header: Digest, vote: Vote, keys: Sequence[PublicKey], genesis: Digest
) -> Claim:
    """What has to hold for one vote. The index must be in range."""
    statement = attestation_statement(header, genesis)
    return Claim(keys[vote.validator], statement, vote.signature)


def check_subject(certificate: Certificate, height: int, header: Digest) -> None:
    """That it is for this header at this height. Raises `InvalidCertificate`."""
    if certificate.height != height:
        raise InvalidCertificate(
            f"the certificate is for another height: {certificate.height}, not {height}"
        )
    if certificate.header != header:
        raise InvalidCertificate("the certificate is for another header")


def verify_certificate(
    certificate: Certificate,
    keys: Sequence[PublicKey],
    quorum: int,
    genesis: Digest,
    scheme: SignatureScheme,
) -> None:
    """Every vote is verified, not only a quorum of them. Raises `InvalidCertificate`.

    What the certificate is for is `check_subject`'s to check: the signatures are over the header
    digest alone, which covers the height only for who has the header.
    """
    assert quorum >= 1, "a quorum of nobody would certify anything"
    indexes = [vote.validator for vote in certificate.votes]
    if any(index >= len(keys) for index in indexes):
        raise InvalidCertificate("a signer is not in the committee")
    if any(left == right for left, right in pairwise(indexes)):
        raise InvalidCertificate("a signer is counted twice")
    if sorted(set(indexes)) != indexes:
        raise InvalidCertificate("the signers are not in order")
    if len(indexes) < quorum:
        raise InvalidCertificate(f"{len(indexes)} signers; a quorum has {quorum}")
    claims = [
        attestation_claim(certificate.header, vote, keys, genesis) for vote in certificate.votes
    ]
    for vote, valid in zip(certificate.votes, scheme.verify_batch(claims), strict=True):
        if not valid:
            raise InvalidCertificate(f"the signature of validator {vote.validator} is invalid")
