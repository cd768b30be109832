"""Ed25519: the vectors of RFC 8032, the edge cases on which libraries differ, and other libraries.

Statements are bytes; the vectors sign bytes that are no statement, which only a test may do.
"""

import pickle
from collections.abc import Sequence
from copy import copy, deepcopy
from hashlib import sha512

import pytest
from cryptography import exceptions
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st
from nacl import bindings
from nacl.exceptions import BadSignatureError

from crypto.interface import (
    Claim,
    InvalidKey,
    InvalidSignature,
    PublicKey,
    Signature,
    SignatureScheme,
    Statement,
)
from crypto.signatures.ed25519 import CLAIMS

ORDER = 2**252 + 27742317777372353535851937790883648493
"""L of RFC 8032, section 5.1."""
P = 2**255 - 19

# RFC 8032, section 7.1: secret key, public key, message, signature.
# TEST 1, TEST 2, TEST 3, and TEST SHA(abc).
RFC_8032 = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46b"
        "d25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c"
        "387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc659"
        "4a7c15e9716ed28dc027beceea1ec40a",
    ),
    (
        "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd"
        "454d4423643ce80e2a9ac94fa54ca49f",
        "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e030"
        "3dca179c138ac17ad9bef1177331a704",
    ),
]


def encoded(y: int, sign: int = 0) -> bytes:
    """A point by its y and the sign of its x; y may be at or above p: then it is not canonical."""
    return (y | sign << 255).to_bytes(32, "little")


# The 8 points of small order of edwards25519: order 1, 2, 4 (two) and 8 (four). The y of those of
# order 8 are +-sqrt of a root of unity; see the list in libsodium's ge25519_has_small_order.
Y8 = int.from_bytes(
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), "little"
)
SMALL = {
    "order 1": encoded(1),
    "order 2": encoded(P - 1),
    "order 4, x even": encoded(0),
    "order 4, x odd": encoded(0, 1),
    "order 8, first": encoded(Y8),
    "order 8, second": encoded(Y8, 1),
    "order 8, third": encoded(P - Y8),
    "order 8, fourth": encoded(P - Y8, 1),
}
NON_CANONICAL_SMALL = {
    "order 1 with y + p": encoded(1 + P),
    "order 1 with a sign": encoded(1, 1),
    "order 1 with both": encoded(1 + P, 1),
    "order 2 with a sign": encoded(P - 1, 1),
    "order 4 with y + p": encoded(P),
    "order 4 with y + p, x odd": encoded(P, 1),
}
NO_POINT = {
    "y of no x": encoded(2),
    "y = p + 2": encoded(P + 2),
    "all ones": b"\xff" * 32,
}

SEED = bytes(range(32))
MESSAGE = Statement(b"what was said")


def reduced(number: int) -> bytes:
    return (number % ORDER).to_bytes(32, "little")


def challenge(r: bytes, key: bytes, message: bytes) -> int:
    return int.from_bytes(sha512(r + key + message).digest(), "little") % ORDER


def scalar_of(seed: bytes) -> int:
    """RFC 8032, section 5.1.5."""
    raw = bytearray(sha512(seed).digest()[:32])
    raw[0] &= 248
    raw[31] = raw[31] & 127 | 64
    return int.from_bytes(raw, "little")


def honest(scheme: SignatureScheme, message: Statement = MESSAGE, seed: bytes = SEED) -> Claim:
    key = scheme.key_from_seed(seed)
    return Claim(key.public_key, message, key.sign(message))


def hostile(key: bytes, signature: bytes, message: bytes = MESSAGE) -> Claim:
    return Claim(PublicKey(key), Statement(message), Signature(signature))


def sodium_says(claim: Claim) -> bool:
    """The same question to `crypto_sign_open`, through PyNaCl."""
    try:
        bindings.crypto_sign_open(claim.signature + claim.statement, claim.public_key)
    except (BadSignatureError, ValueError, TypeError):
        return False
    return True


def verdict(scheme: SignatureScheme, claim: Claim) -> bool:
    """What `verify` says, after it was made sure that `verify_batch` says the same."""
    try:
        scheme.verify(claim)
    except InvalidSignature:
        alone = False
    else:
        alone = True
    good = honest(scheme)
    assert scheme.verify_batch([claim]) == [alone]
    assert scheme.verify_batch([good, claim, good]) == [True, alone, True]
    assert sodium_says(claim) == alone
    return alone


# --- Vectors. --------------------------------------------------------------------------------


@pytest.mark.parametrize("vector", RFC_8032, ids=["1", "2", "3", "SHA(abc)"])
def test_the_vectors_of_rfc_8032_come_out(vector: Sequence[str], scheme: SignatureScheme) -> None:
    seed, public, message, signature = (bytes.fromhex(text) for text in vector)
    key = scheme.key_from_seed(seed)
    assert key.public_key == public == scheme.check_public_key(public)
    assert key.sign(Statement(message)) == signature
    assert verdict(scheme, hostile(public, signature, message))
    assert not verdict(scheme, hostile(public, signature, message + b"\x00"))


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=200))
def test_an_independent_library_signs_and_accepts_the_same(
    scheme: SignatureScheme, seed: bytes, message: bytes
) -> None:
    claim = honest(scheme, Statement(message), seed)
    other = Ed25519PrivateKey.from_private_bytes(seed)
    assert claim.public_key == other.public_key().public_bytes_raw()
    assert claim.signature == other.sign(message)
    assert verdict(scheme, claim)
    Ed25519PublicKey.from_public_bytes(claim.public_key).verify(claim.signature, message)


@given(st.integers(0, 511), st.sampled_from(["key", "statement", "signature"]))
def test_one_changed_bit_anywhere_is_refused_by_all(
    scheme: SignatureScheme, bit: int, part: str
) -> None:
    parts = dict(zip(("key", "statement", "signature"), honest(scheme), strict=True))
    changed = bytearray(parts[part])
    changed[bit // 8 % len(changed)] ^= 1 << bit % 8
    parts[part] = bytes(changed)
    claim = hostile(parts["key"], parts["signature"], parts["statement"])
    assert not verdict(scheme, claim)
    with pytest.raises((exceptions.InvalidSignature, ValueError)):
        Ed25519PublicKey.from_public_bytes(parts["key"]).verify(
            parts["signature"], parts["statement"]
        )


def test_signing_is_deterministic_as_claimed(scheme: SignatureScheme) -> None:
    assert CLAIMS.deterministic
    assert honest(scheme) == honest(scheme)
    claim = honest(scheme)
    assert len(claim.public_key) == CLAIMS.public_key_bytes
    assert len(claim.signature) == CLAIMS.signature_bytes


# --- Edge cases. -----------------------------------------------------------------------------


@pytest.mark.parametrize("times", range(1, 15))
def test_a_signature_with_the_order_added_to_s_is_refused(
    times: int, scheme: SignatureScheme
) -> None:
    claim = honest(scheme)
    s = int.from_bytes(claim.signature[32:], "little") + times * ORDER
    if s < 2**256:
        malleated = claim.signature[:32] + s.to_bytes(32, "little")
        assert not verdict(scheme, hostile(claim.public_key, malleated))


@pytest.mark.parametrize("s", [0, ORDER - 1, ORDER, ORDER + 1, 2**252, 2**253, 2**255, 2**256 - 1])
def test_a_made_up_s_is_refused(s: int, scheme: SignatureScheme) -> None:
    claim = honest(scheme)
    made_up = claim.signature[:32] + s.to_bytes(32, "little")
    assert not verdict(scheme, hostile(claim.public_key, made_up))


def test_the_points_of_small_order_are_what_they_are_called() -> None:
    assert len({*SMALL.values()}) == 8
    for y in (Y8, P - Y8):
        # On the curve, and doubling gives y = 0: of order 4. d as in RFC 8032, section 5.1.
        d = -121665 * pow(121666, -1, P) % P
        x2 = (y * y - 1) * pow(d * y * y + 1, -1, P) % P
        assert pow(x2, (P - 1) // 2, P) == 1
        assert (y * y + x2) % P == 0


@pytest.mark.parametrize(
    "key", [*SMALL.values(), *NON_CANONICAL_SMALL.values()], ids=[*SMALL, *NON_CANONICAL_SMALL]
)
def test_a_key_of_small_order_is_refused_whatever_is_signed(
    key: bytes, scheme: SignatureScheme
) -> None:
    with pytest.raises(InvalidKey):
        scheme.check_public_key(key)
    # With such a key, S = s and R = s * B verify for every message whose challenge the order
    # divides; 16 messages make sure of one. R = identity and S = 0 is the simplest of them.
    for n in range(16):
        for s in (0, 5):
            r = bindings.crypto_scalarmult_ed25519_base_noclamp(reduced(s)) if s else encoded(1)
            assert not verdict(scheme, hostile(key, r + reduced(s), b"%d" % n))


@pytest.mark.parametrize(
    "r", [*SMALL.values(), *NON_CANONICAL_SMALL.values()], ids=[*SMALL, *NON_CANONICAL_SMALL]
)
def test_an_r_of_small_order_is_refused_even_from_the_holder_of_the_key(
    r: bytes, scheme: SignatureScheme
) -> None:
    key = scheme.key_from_seed(SEED).public_key
    # S = k * a makes S * B - k * A the identity.
    s = challenge(r, key, MESSAGE) * scalar_of(SEED)
    assert not verdict(scheme, hostile(key, r + reduced(s)))


def test_the_arithmetic_of_these_tests_makes_signatures_that_hold(scheme: SignatureScheme) -> None:
    key = scheme.key_from_seed(SEED).public_key
    r = bindings.crypto_scalarmult_ed25519_base_noclamp(reduced(12345))
    s = 12345 + challenge(r, key, MESSAGE) * scalar_of(SEED)
    assert verdict(scheme, hostile(key, r + reduced(s)))


@pytest.mark.parametrize("part", [*list(SMALL)[1:]])
def test_verification_is_without_cofactor(part: str, scheme: SignatureScheme) -> None:
    # R with a part of small order: 8 times the equation holds, the equation itself does not.
    # Whoever multiplies by the cofactor would accept, and disagree with us about a block.
    key = scheme.key_from_seed(SEED).public_key
    r = bindings.crypto_scalarmult_ed25519_base_noclamp(reduced(12345))
    mixed = bindings.crypto_core_ed25519_add(r, SMALL[part])
    s = 12345 + challenge(mixed, key, MESSAGE) * scalar_of(SEED)
    assert not verdict(scheme, hostile(key, mixed + reduced(s)))


@pytest.mark.parametrize("part", [*list(SMALL)[1:]])
def test_a_key_with_a_part_of_small_order_is_no_key(part: str, scheme: SignatureScheme) -> None:
    key = scheme.key_from_seed(SEED).public_key
    assert scheme.check_public_key(key) == key
    with pytest.raises(InvalidKey, match="prime-order"):
        scheme.check_public_key(bindings.crypto_core_ed25519_add(key, SMALL[part]))


@pytest.mark.parametrize("odd", [False, True])
def test_parts_of_small_order_pass_exactly_where_they_cancel(
    odd: bool, scheme: SignatureScheme
) -> None:
    # Only who made such a key can sign so, and `check_public_key` refuses it. Pinned, because
    # nodes that disagree about one signature disagree about a block.
    two = SMALL["order 2"]
    key = bindings.crypto_core_ed25519_add(scheme.key_from_seed(SEED).public_key, two)
    verdicts = set()
    for nonce in range(1, 20):
        r = bindings.crypto_scalarmult_ed25519_base_noclamp(reduced(nonce))
        r = bindings.crypto_core_ed25519_add(r, two) if odd else r
        h = challenge(r, key, MESSAGE)
        claim = hostile(key, r + reduced(nonce + h * scalar_of(SEED)))
        assert verdict(scheme, claim) == (h % 2 == odd)
        verdicts.add(h % 2)
    assert verdicts == {0, 1}


@pytest.mark.parametrize("key", NO_POINT.values(), ids=NO_POINT)
def test_a_key_that_is_no_point_or_not_canonical_is_refused(
    key: bytes, scheme: SignatureScheme
) -> None:
    with pytest.raises(InvalidKey):
        scheme.check_public_key(key)
    assert not verdict(scheme, hostile(key, honest(scheme).signature))


@pytest.mark.parametrize("size", [0, 1, 31, 33, 64])
def test_a_key_of_another_length_is_refused(size: int, scheme: SignatureScheme) -> None:
    key = (honest(scheme).public_key * 2)[:size]
    with pytest.raises(InvalidKey, match=f"not {size}"):
        scheme.check_public_key(key)
    # libsodium reads 32 bytes whatever there are: only we see this one.
    claim = hostile(key, honest(scheme).signature)
    with pytest.raises(InvalidSignature):
        scheme.verify(claim)
    assert scheme.verify_batch([claim, honest(scheme)]) == [False, True]


@pytest.mark.parametrize("size", [0, 1, 32, 63, 65, 128])
def test_a_signature_of_another_length_is_refused(size: int, scheme: SignatureScheme) -> None:
    claim = honest(scheme)
    signature = (claim.signature * 2)[:size]
    with pytest.raises(InvalidSignature):
        scheme.verify(hostile(claim.public_key, signature))
    assert scheme.verify_batch([hostile(claim.public_key, signature), claim]) == [False, True]


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_a_seed_of_another_length_is_refused_without_showing_it(
    size: int, scheme: SignatureScheme
) -> None:
    seed = b"\xab" * size
    with pytest.raises(InvalidKey, match=f"not {size}") as refusal:
        scheme.key_from_seed(seed)
    assert "abab" not in str(refusal.value)
    assert scheme.seed_bytes == 32


@pytest.mark.parametrize("message", [b"", b"\x00", b"a\x00b", bytes(100_000)], ids=len)
def test_every_byte_of_the_statement_counts_zeros_too(
    message: bytes, scheme: SignatureScheme
) -> None:
    claim = honest(scheme, Statement(message))
    assert verdict(scheme, claim)
    assert not verdict(scheme, hostile(claim.public_key, claim.signature, message + b"\x00"))
    assert not verdict(scheme, hostile(claim.public_key, claim.signature, message[:-1] + b"\x01"))


# --- Many at once. ---------------------------------------------------------------------------


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 3)), max_size=20))
def test_a_batch_answers_each_claim_in_order(
    scheme: SignatureScheme, wanted: list[tuple[bool, int]]
) -> None:
    claims = []
    for valid, seed in wanted:
        claim = honest(scheme, seed=bytes([seed]) * 32)
        claims.append(claim if valid else claim._replace(statement=Statement(b"not said")))
    assert list(scheme.verify_batch(claims)) == [valid for valid, _ in wanted]


def test_signatures_that_only_cancel_out_in_a_sum_are_refused(scheme: SignatureScheme) -> None:
    # A batch check that adds the equations without random factors would accept these two.
    one, other = honest(scheme, Statement(b"1")), honest(scheme, Statement(b"2"))
    shifted = [
        claim._replace(
            signature=Signature(
                claim.signature[:32]
                + reduced(int.from_bytes(claim.signature[32:], "little") + difference)
            )
        )
        for claim, difference in ((one, 1), (other, -1))
    ]
    assert list(scheme.verify_batch(shifted)) == [False, False]


# --- Secrets. --------------------------------------------------------------------------------


def test_a_key_shows_its_secret_in_no_text(scheme: SignatureScheme) -> None:
    key = scheme.key_from_seed(SEED)
    for text in (repr(key), str(key), f"{key}", repr([key]), repr({"key": key})):
        for secret in (SEED.hex(), repr(SEED)[2:20], "_secret"):
            assert secret not in text


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_key_does_not_pickle(protocol: int, scheme: SignatureScheme) -> None:
    with pytest.raises(TypeError):
        pickle.dumps(scheme.key_from_seed(SEED), protocol)


@pytest.mark.parametrize("copied", [copy, deepcopy])
def test_a_key_is_not_copied_by_the_way(copied: object, scheme: SignatureScheme) -> None:
    assert callable(copied)
    with pytest.raises(TypeError):
        copied(scheme.key_from_seed(SEED))
