"""The genesis digest tells every two genesis files apart, and what has no digest is refused."""

import json
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto.genesis import (
    DEPTH_MAX,
    Genesis,
    InvalidGenesis,
    digest,
    from_json,
    to_json,
)
from crypto.transaction import NONCE_MAX

MINIMAL: dict[str, Any] = {
    "chain": "lab",
    "created_ms": 0,
    "validators": [{"name": "v1", "public_key": "aa", "channel_key": "bb"}],
}

ALIKE: list[object] = [
    {"a": 1},
    [["a", 1]],
    [["a", 1], []],
    {"a": True},
    {"a": "1"},
    {"a": [1]},
    {},
    [],
    "",
    0,
    False,
]
"""Options that mean different things and that a careless encoding confuses."""

MECHANISMS = [
    "consensus",
    "leader",
    "validator_signature",
    "client_signature",
    "hash",
    "channel",
    "commitment",
]

options = st.recursive(
    st.booleans() | st.integers(0, NONCE_MAX) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


def with_option(value: object, field: str = "consensus") -> bytes:
    mechanism: object = {"name": "x", "options": {"o": value}}
    if field == "applications":
        mechanism = [mechanism]
    return json.dumps({**MINIMAL, field: mechanism}).encode()


def nested(depth: int) -> object:
    """An option that is a number inside lists; the number stands at `depth`."""
    value: object = 1
    for _ in range(depth - 1):
        value = [value]
    return value


@pytest.mark.parametrize(("one", "other"), list(combinations(ALIKE, 2)))
def test_options_that_look_alike_have_different_digests(one: object, other: object) -> None:
    first, second = from_json(with_option(one)), from_json(with_option(other))
    assert digest(first) != digest(second)


@given(options, options)
def test_equal_digests_are_equal_options(one: object, other: object) -> None:
    same = digest(from_json(with_option(one))) == digest(from_json(with_option(other)))
    # As JSON, since Python takes True for 1.
    assert same == (json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True))


@given(options)
def test_the_file_says_all_that_the_digest_covers(value: object) -> None:
    genesis = from_json(with_option(value))
    again = from_json(to_json(genesis))
    assert isinstance(again, Genesis)
    assert digest(again) == digest(genesis)
    assert to_json(again) == to_json(genesis)


def test_spaces_and_the_order_of_keys_do_not_matter() -> None:
    one = json.dumps({**MINIMAL, "hash": {"name": "x", "options": {"a": 1, "b": 2}}}).encode()
    other = json.dumps(
        {"hash": {"options": {"b": 2, "a": 1}, "name": "x"}, **MINIMAL}, indent=3
    ).encode()
    assert digest(from_json(one)) == digest(from_json(other))


@pytest.mark.parametrize("field", [*MECHANISMS, "applications"])
@pytest.mark.parametrize(
    "value", [None, -1, NONCE_MAX + 1, "\ud800", {"\udfff": 1}, [None], {"a": [{"b": None}]}]
)
def test_an_option_without_canonical_bytes_is_refused_by_its_field(
    field: str, value: object
) -> None:
    from_json(with_option(NONCE_MAX, field))
    with pytest.raises(InvalidGenesis, match=rf"^{field}: "):
        from_json(with_option(value, field))


@pytest.mark.parametrize("name", ["", "X", "a-b", "../a", "a.b", "\ud800", "a" * 65])
def test_a_name_that_no_mechanism_can_have_is_refused_by_its_field(name: str) -> None:
    for field in MECHANISMS:
        with pytest.raises(InvalidGenesis, match=rf"^{field}: the name"):
            from_json(json.dumps({**MINIMAL, field: {"name": name}}).encode())


def test_a_name_of_an_option_that_is_no_unicode_is_refused() -> None:
    raw = json.dumps({**MINIMAL, "hash": {"name": "x", "options": {"\ud800": 1}}}).encode()
    with pytest.raises(InvalidGenesis, match=r"^hash: "):
        from_json(raw)


def test_options_are_nested_no_deeper_than_the_limit() -> None:
    from_json(with_option(nested(DEPTH_MAX)))
    with pytest.raises(InvalidGenesis, match=f"deeper than {DEPTH_MAX}"):
        from_json(with_option(nested(DEPTH_MAX + 1)))
