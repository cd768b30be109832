"""A certificate holds for a quorum of distinct members of this committee, all of them right.

Covers a bad signature among good ones, a signer twice, too few, and a foreign committee: each is
refused with its own reason.
"""

import msgspec
import pytest

from crypto import domains
from crypto.certificate import (
    VALIDATORS_MAX,
    Attestation,
    Certificate,
    InvalidCertificate,
    Vote,
    attestation_claim,
    certificates,
    check_subject,
    verify_certificate,
)
from crypto.encoding import Malformed, encode
from crypto.header import attestation_statement
from crypto.interface import Digest, PublicKey, Signature, SignatureScheme, SigningKey
from crypto.quorum import FaultModel, quorum

GENESIS, OTHER_GENESIS = Digest(b"g" * 32), Digest(b"o" * 32)
HEADER, OTHER_HEADER = Digest(b"h" * 32), Digest(b"i" * 32)
MEMBERS = 4
QUORUM = quorum(MEMBERS, FaultModel.BYZANTINE)


@pytest.fixture(scope="module")
def signers(scheme: SignatureScheme) -> list[SigningKey]:
    return [scheme.key_from_seed(bytes([n]) * 32) for n in range(MEMBERS + 1)]


@pytest.fixture(scope="module")
def keys(signers: list[SigningKey]) -> list[PublicKey]:
    """Those of the committee; the last signer is a stranger."""
    return [signer.public_key for signer in signers[:MEMBERS]]


@pytest.fixture(scope="module")
def votes(signers: list[SigningKey]) -> list[Vote]:
    statement = attestation_statement(HEADER, GENESIS)
    return [Vote(index, signer.sign(statement)) for index, signer in enumerate(signers)]


def of(*votes: Vote, header: Digest = HEADER) -> Certificate:
    return Certificate(3, header, votes)


def refusal(
    certificate: Certificate,
    keys: list[PublicKey],
    scheme: SignatureScheme,
    genesis: Digest = GENESIS,
    needed: int = QUORUM,
) -> str:
    with pytest.raises(InvalidCertificate) as found:
        verify_certificate(certificate, keys, needed, genesis, scheme)
    return str(found.value)


@pytest.mark.parametrize("chosen", [(0, 1, 2), (1, 2, 3), (0, 2, 3), (0, 1, 2, 3)])
def test_any_quorum_in_order_holds(
    chosen: tuple[int, ...],
    votes: list[Vote],
    keys: list[PublicKey],
    scheme: SignatureScheme,
) -> None:
    certificate = of(*(votes[index] for index in chosen))
    assert certificates.decode(encode(certificate)) == certificate
    verify_certificate(certificate, keys, QUORUM, GENESIS, scheme)


@pytest.mark.parametrize("bad", range(MEMBERS))
def test_one_bad_signature_spoils_it_even_above_a_quorum(
    bad: int, votes: list[Vote], keys: list[PublicKey], scheme: SignatureScheme
) -> None:
    # All four vote, three would do: still refused, or two nodes could count differently.
    for signature in (
        votes[(bad + 1) % MEMBERS].signature,
        Signature(bytes(64)),
        Signature(votes[bad].signature[:-1]),
        Signature(votes[bad].signature + b"\x00"),
        Signature(b""),
    ):
        changed = list(votes[:MEMBERS])
        changed[bad] = Vote(bad, signature)
        assert refusal(of(*changed), keys, scheme) == (
            f"the signature of validator {bad} is invalid"
        )


@pytest.mark.parametrize("chosen", [(), (0,), (0, 1), (2, 3)])
def test_less_than_a_quorum_is_refused(
    chosen: tuple[int, ...],
    votes: list[Vote],
    keys: list[PublicKey],
    scheme: SignatureScheme,
) -> None:
    reason = refusal(of(*(votes[index] for index in chosen)), keys, scheme)
    assert reason == f"{len(chosen)} signers; a quorum has 3"


@pytest.mark.parametrize("chosen", [(0, 0, 0), (0, 0, 1), (0, 1, 1), (0, 1, 2, 2)])
def test_a_signer_counted_twice_is_refused(
    chosen: tuple[int, ...],
    votes: list[Vote],
    keys: list[PublicKey],
    scheme: SignatureScheme,
) -> None:
    reason = refusal(of(*(votes[index] for index in chosen)), keys, scheme)
    assert reason == "a signer is counted twice"


@pytest.mark.parametrize("chosen", [(1, 0, 2), (2, 1, 0), (0, 2, 1, 3), (0, 1, 0), (0, 1, 2, 0)])
def test_signers_out_of_order_are_refused(
    chosen: tuple[int, ...],
    votes: list[Vote],
    keys: list[PublicKey],
    scheme: SignatureScheme,
) -> None:
    # One certificate has one encoding; a repetition further apart is out of order as well.
    reason = refusal(of(*(votes[index] for index in chosen)), keys, scheme)
    assert "order" in reason or "twice" in reason


@pytest.mark.parametrize("index", [MEMBERS, MEMBERS + 1, VALIDATORS_MAX - 1])
def test_a_signer_outside_of_the_committee_is_refused(
    index: int, votes: list[Vote], keys: list[PublicKey], scheme: SignatureScheme
) -> None:
    stranger = Vote(index, votes[MEMBERS].signature)
    reason = refusal(of(*votes[:3], stranger), keys, scheme)
    assert reason == "a signer is not in the committee"


def test_a_stranger_does_not_pass_as_a_member(
    votes: list[Vote], keys: list[PublicKey], scheme: SignatureScheme
) -> None:
    impostor = Vote(2, votes[MEMBERS].signature)
    assert "validator 2" in refusal(of(*votes[:2], impostor), keys, scheme)


def test_the_committee_must_be_this_one_in_this_order(
    votes: list[Vote],
    keys: list[PublicKey],
    signers: list[SigningKey],
    scheme: SignatureScheme,
) -> None:
    certificate = of(*votes[:3])
    for others in ([keys[1], keys[0], *keys[2:]], [signers[4].public_key, *keys[1:]]):
        assert "validator 0" in refusal(certificate, others, scheme)
    assert "not in the committee" in refusal(certificate, keys[:2], scheme)
    assert "not in the committee" in refusal(certificate, [], scheme)


def test_the_signatures_are_of_this_header_this_network_and_this_purpose(
    votes: list[Vote],
    keys: list[PublicKey],
    signers: list[SigningKey],
    scheme: SignatureScheme,
) -> None:
    assert "invalid" in refusal(of(*votes[:3], header=OTHER_HEADER), keys, scheme)
    assert "invalid" in refusal(of(*votes[:3]), keys, scheme, OTHER_GENESIS)
    other = domains.statement(domains.TRANSACTION, GENESIS, HEADER)
    wrong = [Vote(index, signer.sign(other)) for index, signer in enumerate(signers[:3])]
    assert "invalid" in refusal(of(*wrong), keys, scheme)


@pytest.mark.parametrize(("height", "header"), [(2, HEADER), (4, HEADER), (3, OTHER_HEADER)])
def test_the_subject_is_the_header_at_its_height(
    height: int, header: Digest, votes: list[Vote]
) -> None:
    check_subject(of(*votes[:3]), 3, HEADER)
    with pytest.raises(InvalidCertificate, match="another"):
        check_subject(of(*votes[:3]), height, header)


def test_a_quorum_of_nobody_is_our_fault(keys: list[PublicKey], scheme: SignatureScheme) -> None:
    with pytest.raises(AssertionError):
        verify_certificate(of(), keys, 0, GENESIS, scheme)


def test_a_committee_of_one_certifies_alone(
    votes: list[Vote], keys: list[PublicKey], scheme: SignatureScheme
) -> None:
    verify_certificate(of(votes[0]), keys[:1], 1, GENESIS, scheme)
    assert "0 signers" in refusal(of(), keys[:1], scheme, needed=1)


def test_the_claim_of_a_vote_is_the_signers_on_the_header(
    votes: list[Vote], keys: list[PublicKey]
) -> None:
    claim = attestation_claim(HEADER, votes[2], keys, GENESIS)
    assert claim == (keys[2], attestation_statement(HEADER, GENESIS), votes[2].signature)


@pytest.mark.parametrize("index", [-1, VALIDATORS_MAX, 2**63])
def test_an_index_that_no_committee_has_is_malformed(index: int, votes: list[Vote]) -> None:
    for kind in (votes[0], Attestation(3, HEADER, 0, votes[0].signature)):
        wrong = msgspec.structs.replace(kind, validator=index)
        assert isinstance(wrong, Vote | Attestation)
    with pytest.raises(Malformed):
        certificates.decode(encode(of(Vote(index, Signature(b"")))))


def test_more_votes_than_validators_are_malformed() -> None:
    vote = Vote(0, Signature(b""))
    assert certificates.decode(encode(of(*[vote] * VALIDATORS_MAX)))
    with pytest.raises(Malformed):
        certificates.decode(encode(of(*[vote] * (VALIDATORS_MAX + 1))))
