"""No signature means two things: purposes and networks are told apart, whatever the body."""

import re
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto import domains
from crypto.domains import Domain
from crypto.interface import Digest

GENESIS = Digest(b"g" * 32)
PHASES = ("prepare", "prepared", "pre-prepare", "commit", "view-change", "new-view")
ALL = (
    *domains.FIXED,
    *(domains.consensus(name, phase) for name in ("pbft", "pbft2") for phase in PHASES),
)

names = st.from_regex(r"[a-z][a-z0-9_-]{0,31}", fullmatch=True)
every_domain = st.sampled_from(domains.FIXED) | st.builds(domains.consensus, names, names)
digests = st.binary(min_size=32, max_size=32).map(Digest)


def test_the_table_names_every_constant_once() -> None:
    constants = [value for name, value in vars(domains).items() if re.match("[A-Z]", name)]
    texts = [value for value in constants if isinstance(value, str)]
    assert sorted(texts) == sorted(domains.FIXED)
    assert len(set(domains.FIXED)) == len(domains.FIXED)


def test_the_domains_are_all_different() -> None:
    assert len(set(ALL)) == len(ALL)
    assert not any(domain.startswith("consensus/") for domain in domains.FIXED)


def test_no_prefix_begins_with_another() -> None:
    for one, other in permutations(ALL, 2):
        assert not domains.prefix(one, GENESIS).startswith(domains.prefix(other, GENESIS))


@given(every_domain, digests, st.binary(), every_domain, digests, st.binary())
def test_equal_statements_have_equal_domains_networks_and_bodies(
    domain: Domain, genesis: Digest, body: bytes, domain2: Domain, genesis2: Digest, body2: bytes
) -> None:
    one = domains.statement(domain, genesis, body)
    other = domains.statement(domain2, genesis2, body2)
    assert (one == other) == ((domain, genesis, body) == (domain2, genesis2, body2))
    assert domains.statement(domain, genesis, body) == one


@given(every_domain, every_domain, digests, digests)
def test_no_body_turns_one_domain_or_network_into_another(
    domain: Domain, domain2: Domain, genesis: Digest, genesis2: Digest
) -> None:
    # The adversary writes the body: it may be anything that would complete the other statement.
    one, other = domains.prefix(domain, genesis), domains.prefix(domain2, genesis2)
    assert one.startswith(other) == ((domain, genesis) == (domain2, genesis2))


def test_the_layout_is_marker_length_domain_genesis_body() -> None:
    expected = b"assay\x00" + b"\x0btransaction" + GENESIS + b"body"
    assert domains.statement(domains.TRANSACTION, GENESIS, b"body") == expected
    assert domains.consensus("pbft", "pre-prepare") == "consensus/pbft/pre-prepare"


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_a_genesis_digest_of_another_length_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        domains.statement(domains.TRANSACTION, Digest(bytes(size)), b"")


@pytest.mark.parametrize(
    "part", ["", "A", "a/b", "a b", "1a", "-a", "ä", "a\n", "a\x00", "a" * 33], ids=repr
)
def test_a_part_that_is_no_name_is_refused(part: str) -> None:
    with pytest.raises(ValueError, match="cannot be part"):
        domains.consensus(part, "prepare")
    with pytest.raises(ValueError, match="cannot be part"):
        domains.consensus("pbft", part)
    assert domains.consensus("a" * 32, "b") == f"consensus/{'a' * 32}/b"


def test_a_domain_too_long_for_its_length_byte_is_refused() -> None:
    assert domains.prefix(Domain("x" * 255), GENESIS)
    with pytest.raises(ValueError, match="byte"):
        domains.prefix(Domain("x" * 256), GENESIS)
