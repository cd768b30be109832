"""The mechanisms that the tests of this folder use where the choice does not matter."""

import pytest

from crypto.hashes import sha256
from crypto.interface import Hash, SignatureScheme
from crypto.signatures import ed25519


@pytest.fixture(scope="session")
def hash_() -> Hash:
    return sha256.create(sha256.Options())


@pytest.fixture(scope="session")
def scheme() -> SignatureScheme:
    return ed25519.create(ed25519.Options())
