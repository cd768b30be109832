"""Every hash of the registry: what all must do, and the published vectors of those we know."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto.interface import DIGEST_BYTES, Hash, HashClaims
from mechanisms.registry import Kind, create, load, names

NAMES = names(Kind.HASH)

# FIPS 180-4, examples of SHA-256 as NIST publishes them ("SHA256.pdf", cryptographic standards and
# guidelines, example values); the empty message is of the CAVP file SHA256ShortMsg.rsp.
SHA256 = {
    b"": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    b"abc": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    b"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq": (
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
    ),
}

# BLAKE3-team/BLAKE3, test_vectors/test_vectors.json: the first 32 bytes of "hash". The input of
# length n repeats the bytes 0, 1, ..., 250. The lengths are the edges of blocks and chunks.
BLAKE3 = {
    0: "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
    1: "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213",
    63: "e9bc37a594daad83be9470df7f7b3798297c3d834ce80ba85d6e207627b7db7b",
    64: "4eed7141ea4a5cd4b788606bd23f46e212af9cacebacdc7d1f4c6dc7f2511b98",
    65: "de1e5fa0be70df6d2be8fffd0e99ceaa8eb6e8c93a63f2d8d1c30ecb6b263dee",
    1023: "10108970eeda3eb932baac1428c7a2163b0e924c9a9e25b35bba72b28f70bd11",
    1024: "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7",
    2049: "5f4d72f40d7a5f82b15ca2b2e44b1de3c2ef86c426c95c1af0b6879522563030",
    31744: "62b6960e1a44bcc1eb1a611a8d6235b6b4b78f32e7abc4fb4c6cdcce94895c47",
}

VECTORS = {
    "sha256": SHA256,
    "blake3": {bytes(i % 251 for i in range(size)): value for size, value in BLAKE3.items()},
}
"""A hash that has none here is tested for all the rest."""


def made(name: str) -> Hash:
    hash_: Hash = create(Kind.HASH, name, {}, lab=True)
    return hash_


@pytest.mark.parametrize(
    ("name", "data", "digest"),
    [
        pytest.param(name, data, digest, id=f"{name}-{len(data)}")
        for name, vectors in VECTORS.items()
        for data, digest in vectors.items()
    ],
)
def test_the_published_digests_come_out(name: str, data: bytes, digest: str) -> None:
    assert made(name).digest(data).hex() == digest


@pytest.mark.parametrize("name", VECTORS)
def test_every_hash_with_vectors_is_one_of_the_registry(name: str) -> None:
    assert name in NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_digest_is_32_bytes_as_claimed(name: str) -> None:
    claims = load(Kind.HASH, name, lab=True).claims
    assert isinstance(claims, HashClaims)
    for data in (b"", b"a", bytes(1000)):
        digest = made(name).digest(data)
        assert isinstance(digest, bytes)
        assert len(digest) == DIGEST_BYTES == claims.output_bytes


@pytest.mark.parametrize("name", NAMES)
@given(data=st.binary(max_size=300), at=st.integers(0))
def test_one_changed_bit_changes_the_digest_and_repeating_does_not(
    name: str, data: bytes, at: int
) -> None:
    hash_ = made(name)
    assert hash_.digest(data) == made(name).digest(data)
    if data:
        changed = bytearray(data)
        changed[at % len(data)] ^= 1 << at % 8
        assert hash_.digest(bytes(changed)) != hash_.digest(data)


def test_no_two_hashes_are_the_same_function() -> None:
    digests = {made(name).digest(b"abc") for name in NAMES}
    assert len(digests) == len(NAMES)


@given(st.binary(max_size=300))
def test_sha256_is_the_one_of_the_standard_library(data: bytes) -> None:
    assert made("sha256").digest(data) == hashlib.sha256(data).digest()
