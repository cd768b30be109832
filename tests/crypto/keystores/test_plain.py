"""A secret in clear: comes back, and anything else in its place is refused."""

import os
from typing import Any

import pytest

from crypto.keys import InvalidKeyFile, KeyStore, Secret
from crypto.keystores import plain

PUBLIC = b"p" * 32
SECRET = Secret(bytes(range(32)))


@pytest.fixture
def store() -> KeyStore:
    return plain.create(plain.Options(), b"", os.urandom)


def test_what_was_sealed_opens(store: KeyStore) -> None:
    sealed = store.seal(SECRET, PUBLIC)
    assert sealed == {"seed": SECRET.seed.hex()}
    assert store.open(sealed, PUBLIC) == SECRET


def test_it_claims_no_encryption() -> None:
    assert not plain.CLAIMS.encrypted


@pytest.mark.parametrize(
    "sealed",
    [
        {},
        {"seed": 12},
        {"seed": True},
        {"seed": None},
        {"seed": []},
        {"seed": "0"},
        {"seed": "5ec4e7xx"},
        {"seed": "5ec4e7", "more": "x"},
        {"kdf": "argon2id", "ops": 1},
    ],
    ids=str,
)
def test_what_is_no_plain_secret_is_refused_without_showing_it(
    sealed: dict[str, Any], store: KeyStore
) -> None:
    with pytest.raises(InvalidKeyFile) as refusal:
        store.open(sealed, PUBLIC)
    assert "5ec4e7" not in str(refusal.value)
    assert refusal.value.__suppress_context__
