"""The digest of a header covers every field, and a validator signs it for one network."""

import msgspec
import pytest

from crypto import domains
from crypto.encoding import encode
from crypto.header import ZERO, Header, attestation_statement, header_digest, headers
from crypto.interface import Digest, Hash

GENESIS, OTHER = Digest(b"g" * 32), Digest(b"o" * 32)
HEADER = Header(
    height=2,
    parent=Digest(b"p" * 32),
    epoch=0,
    committee=Digest(b"c" * 32),
    payload=Digest(b"d" * 32),
    time_ms=1000,
    block_size=3,
    ledger_size=5,
    ledger_root=Digest(b"l" * 32),
    receipts_root=Digest(b"r" * 32),
    state_root=Digest(b"s" * 32),
)


def test_a_header_comes_back(hash_: Hash) -> None:
    assert headers.decode(encode(HEADER)) == HEADER
    assert header_digest(HEADER, hash_) == hash_.digest(encode(HEADER))


@pytest.mark.parametrize("field", Header.__struct_fields__)
def test_every_field_changes_the_digest(field: str, hash_: Hash) -> None:
    value = getattr(HEADER, field)
    other = value + 1 if isinstance(value, int) else ZERO
    changed = msgspec.structs.replace(HEADER, **{field: other})
    assert header_digest(changed, hash_) != header_digest(HEADER, hash_)


def test_an_attestation_is_of_one_purpose_and_one_network(hash_: Hash) -> None:
    digest = header_digest(HEADER, hash_)
    statement = attestation_statement(digest, GENESIS)
    assert statement == domains.statement(domains.ATTESTATION, GENESIS, digest)
    assert statement != domains.statement(domains.TRANSACTION, GENESIS, digest)
    assert statement != attestation_statement(digest, OTHER)


def test_the_parent_of_the_first_block_is_all_zeros() -> None:
    assert bytes(32) == ZERO
