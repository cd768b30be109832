"""The genesis file is read strictly, and its digest stands for all that it says and for no more."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto.certificate import VALIDATORS_MAX
from crypto.genesis import (
    CLIENTS_MAX,
    GENESIS_BYTES_MAX,
    Genesis,
    InvalidGenesis,
    committee_digest,
    digest,
    from_json,
    to_json,
    validate,
)
from crypto.interface import CryptoError

FULL: dict[str, Any] = {
    "format": 1,
    "chain": "main-1",
    "created_ms": 1_700_000_000_000,
    "lab": True,
    "validators": [
        {"name": f"v{n}", "public_key": f"a{n}" * 32, "channel_key": f"b{n}" * 32}
        for n in range(1, 5)
    ],
    "clients": ["c1" * 32, "c2" * 32],
    "open_lab": True,
    "consensus": {"name": "pbft", "options": {"view_timeout_ms": 2000, "deep": {"a": [1, "x"]}}},
    "fault_model": "byzantine",
    "leader": {"name": "sticky", "options": {}},
    "validator_signature": {"name": "ed25519", "options": {}},
    "client_signature": {"name": "ed25519", "options": {}},
    "hash": {"name": "sha256", "options": {}},
    "channel": {"name": "noise_xx", "options": {}},
    "commitment": {"name": "flat", "options": {}},
    "applications": [{"name": "kv", "options": {}}, {"name": "payments", "options": {}}],
    "limits": {
        "block_transactions_max": 1000,
        "block_bytes_max": 1024 * 1024,
        "transaction_bytes_max": 8192,
        "transaction_lifetime_max": 500,
    },
}
MECHANISMS = (
    "consensus", "leader", "validator_signature", "client_signature", "hash", "channel",
    "commitment",
)  # fmt: skip


def raw_of(values: object) -> bytes:
    return json.dumps(values).encode()


def full(**fields: object) -> bytes:
    return raw_of({**FULL, **fields})


def validator(**fields: object) -> bytes:
    """With another first validator."""
    return full(validators=[{**FULL["validators"][0], **fields}, *FULL["validators"][1:]])


def refused(raw: bytes) -> str:
    with pytest.raises(InvalidGenesis) as refusal:
        from_json(raw)
    return str(refusal.value)


# --- There and back. -------------------------------------------------------------------------


def test_a_file_with_all_fields_comes_back() -> None:
    assert set(FULL) == set(Genesis.__struct_fields__)
    genesis = from_json(raw_of(FULL))
    assert json.loads(to_json(genesis)) == FULL
    assert from_json(to_json(genesis)) == genesis
    assert to_json(genesis).endswith(b"}\n")
    assert issubclass(InvalidGenesis, CryptoError)


def test_what_is_left_out_is_the_default() -> None:
    needed = {name: FULL[name] for name in ("chain", "created_ms", "validators")}
    genesis = from_json(raw_of(needed))
    assert genesis.consensus.name == "pbft"
    assert not genesis.lab
    assert not genesis.open_lab
    assert from_json(to_json(genesis)) == genesis
    assert digest(from_json(to_json(genesis))) == digest(genesis)
    for name in needed:
        assert name in refused(raw_of({key: needed[key] for key in needed if key != name}))


@pytest.mark.parametrize(
    ("model", "members", "quorum"),
    [("byzantine", 4, 3), ("crash", 4, 3), ("byzantine", 5, 4), ("crash", 5, 3), ("none", 5, 3)],
)
def test_so_many_certify_as_the_fault_model_demands(model: str, members: int, quorum: int) -> None:
    validators = [
        {"name": f"v{n}", "public_key": f"a{n}" * 32, "channel_key": f"b{n}" * 32}
        for n in range(1, members + 1)
    ]
    genesis = from_json(full(fault_model=model, validators=validators))
    assert genesis.quorum == quorum
    assert "fault_model" in refused(full(fault_model="benign"))


# --- The digest. -----------------------------------------------------------------------------


@given(st.randoms(use_true_random=False), st.sampled_from([None, 0, 1, 7]))
def test_neither_white_space_nor_the_order_of_keys_matters(random: Any, indent: int | None) -> None:
    def shuffled(value: Any) -> Any:
        if isinstance(value, dict):
            items = [(key, shuffled(item)) for key, item in value.items()]
            random.shuffle(items)
            return dict(items)
        return [shuffled(item) for item in value] if isinstance(value, list) else value

    raw = json.dumps(shuffled(FULL), indent=indent).encode()
    assert digest(from_json(raw)) == digest(from_json(raw_of(FULL)))


def paths(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where there is something that can be changed: leaves, and the lists themselves."""
    if isinstance(value, dict):
        return [path for key in value for path in paths(value[key], (*at, key))]
    if isinstance(value, list):
        inner = [path for index, item in enumerate(value) for path in paths(item, (*at, index))]
        return [*inner, (*at, "reverse"), (*at, "drop")]
    return [at]


def with_change(value: Any, path: tuple[Any, ...]) -> Any:
    match path:
        case ("reverse",):
            return value[::-1]
        case ("drop",):
            return value[1:]
        case (first, *rest):
            copy = dict(value) if isinstance(value, dict) else list(value)
            copy[first] = with_change(value[first], tuple(rest))
            return copy
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if value == "byzantine":
        return "crash"
    return "d" + value[1:-1] + "e"


CHANGES = [path for path in paths(FULL) if path != ("format",)]


@pytest.mark.parametrize("path", CHANGES, ids=lambda path: ".".join(map(str, path)))
def test_every_single_field_changes_the_digest(path: tuple[Any, ...]) -> None:
    values = with_change(FULL, path)
    if path == ("lab",):
        values["open_lab"] = False  # the one needs the other
        assert digest(from_json(full(open_lab=False))) != digest(from_json(raw_of(values)))
    assert digest(from_json(raw_of(values))) != digest(from_json(raw_of(FULL)))


@pytest.mark.parametrize("field", MECHANISMS)
def test_an_option_more_changes_the_digest(field: str) -> None:
    changed = full(**{field: {"name": FULL[field]["name"], "options": {"x": 0}}})
    assert digest(from_json(changed)) != digest(from_json(raw_of(FULL)))


def test_the_committee_is_names_and_keys_in_order() -> None:
    genesis = from_json(raw_of(FULL))
    committee = committee_digest(genesis)
    assert committee != digest(genesis)
    for other in (
        full(validators=FULL["validators"][::-1]),
        full(validators=FULL["validators"][1:]),
        validator(name="w"),
        validator(public_key="dd" * 32),
    ):
        assert committee_digest(from_json(other)) != committee
    for same in (full(chain="other"), full(clients=[]), validator(channel_key="dd" * 32)):
        assert committee_digest(from_json(same)) == committee


# --- Strict JSON. ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"1",
        b'"x"',
        b"\xff\xfe{}",
        b"\xef\xbb\xbf" + raw_of(FULL),
        raw_of(FULL).decode().encode("utf-16"),
        raw_of(FULL) + b"x",
        raw_of(FULL) * 2,
        raw_of(FULL)[:-1],
        b"// note\n" + raw_of(FULL),
        raw_of(FULL)[:-1] + b",}",
    ],
    ids=lambda raw: str(raw[:9]),
)
def test_what_is_no_such_json_is_refused(raw: bytes) -> None:
    assert from_json(b" \n" + raw_of(FULL) + b"\n\t ")
    refused(raw)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"chain": "main-1"', '"chain": "main-1", "chain": "main-1"'),
        ('"name": "v2"', '"name": "v2", "name": "v2"'),
        ('"view_timeout_ms": 2000', '"view_timeout_ms": 2000, "view_timeout_ms": 2000'),
        ('"a": [1, "x"]', '"a": 1, "a": 2'),
    ],
)
def test_a_key_that_stands_twice_is_refused_at_any_depth(old: str, new: str) -> None:
    text = raw_of(FULL).decode()
    assert text.count(old) == 1
    assert "twice" in refused(text.replace(old, new).encode())


@pytest.mark.parametrize(
    "number", ["NaN", "Infinity", "-Infinity", "1.5", "1.0", "1e3", "1E-2", "-1",
               "9223372036854775808", "1" * 5000, "0x10", "01", "1_000"]
)  # fmt: skip
@pytest.mark.parametrize("place", ['"created_ms": 1700000000000', '"view_timeout_ms": 2000'])
def test_only_whole_numbers_of_63_bits_are_numbers(place: str, number: str) -> None:
    text = raw_of(FULL).decode()
    name = place.split(maxsplit=1)[0]
    assert from_json(text.replace(place, f"{name} 9223372036854775807").encode())
    refused(text.replace(place, f"{name} {number}").encode())


@pytest.mark.parametrize(
    "raw",
    [
        full(comment="x"),
        validator(comment="x"),
        validator(port_key="ab"),
        full(hash={"name": "sha256", "option": {}}),
        full(limits={"blocks_max": 1}),
    ],
    ids=["top", "validator", "validator key", "mechanism", "limits"],
)
def test_an_unknown_field_is_refused(raw: bytes) -> None:
    assert "unknown field" in refused(raw)


@pytest.mark.parametrize("field", [*FULL, *(f"limits.{name}" for name in FULL["limits"])])
@pytest.mark.parametrize("value", [None, "", "1", [[]], {"a": 1}, [None], -1], ids=repr)
def test_a_field_of_another_type_is_refused(field: str, value: object) -> None:
    name, _, inner = field.partition(".")
    refused(full(**{name: {**FULL[name], inner: value} if inner else value}))


@pytest.mark.parametrize("depth", [20, 500, 100_000])
@pytest.mark.parametrize("brackets", [("[", "]"), ('{"a":', "}")])
def test_deep_nesting_is_refused(depth: int, brackets: tuple[str, str]) -> None:
    opening, closing = brackets
    nest = opening * depth + "1" + closing * depth
    text = raw_of(FULL).decode()
    refused(text.replace('"view_timeout_ms": 2000', f'"view_timeout_ms": {nest}').encode())
    refused(nest.encode())


def test_the_size_is_bounded() -> None:
    raw = raw_of(FULL)
    assert from_json(raw + b" " * (GENESIS_BYTES_MAX - len(raw)))
    assert "at most" in refused(raw + b" " * (GENESIS_BYTES_MAX - len(raw) + 1))


@given(st.binary(max_size=100))
def test_random_bytes_raise_nothing_but_invalid_genesis(raw: bytes) -> None:
    refused(raw)


@given(st.integers(0, len(raw_of(FULL)) - 1), st.binary(max_size=4))
def test_a_damaged_file_is_refused_or_another_network(at: int, by: bytes) -> None:
    raw = raw_of(FULL)
    changed = raw[:at] + by + raw[at + 1 :]
    try:
        genesis = from_json(changed)
    except InvalidGenesis:
        return
    same = json.loads(changed) == FULL
    assert (digest(genesis) == digest(from_json(raw))) == same


# --- What the fields mean. -------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "V1", "1v", "-v", "v 1", "v_1", "v.1", "é", "v1\n", "v" * 33])
def test_a_name_that_is_no_name_is_refused(name: str) -> None:
    assert from_json(validator(name="v" * 32))
    assert "name" in refused(validator(name=name))


@pytest.mark.parametrize("chain", ["", "Main", "1", "-a", "a_b", "a/b", "a\n", "a" * 65])
def test_a_chain_that_is_no_name_is_refused(chain: str) -> None:
    assert from_json(full(chain="a" * 64))
    assert "chain" in refused(full(chain=chain))


@pytest.mark.parametrize(
    "key", ["", "a", "A1", "0x00", "zz", "a1 a1", "a1\n", "é", 1, None, [], "00" * 8193]
)
@pytest.mark.parametrize("make", [
    lambda key: validator(public_key=key),
    lambda key: validator(channel_key=key),
    lambda key: full(clients=[key]),
], ids=["public_key", "channel_key", "clients"])  # fmt: skip
def test_a_key_is_lower_case_hexadecimal(make: Callable[[object], bytes], key: object) -> None:
    assert from_json(make("00" * 32))
    assert "hexadecimal" in refused(make(key))


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        (validator(name="v2"), "name"),
        (validator(public_key="a2" * 32), "public_key"),
        (validator(channel_key="b2" * 32), "channel_key"),
        (full(clients=["c1", "c1"]), "clients"),
        (full(applications=[{"name": "kv"}, {"name": "kv", "options": {"a": 1}}]), "applications"),
    ],
    ids=["name", "public_key", "channel_key", "clients", "applications"],
)
def test_what_must_be_different_is(raw: bytes, field: str) -> None:
    reason = refused(raw)
    assert field in reason
    assert "twice" in reason


def test_the_numbers_of_validators_and_clients_are_bounded() -> None:
    assert "from 1 to 1024" in refused(full(validators=[]))
    members = [
        {"name": f"v{n}", "public_key": f"{n:08x}", "channel_key": f"{n:08x}"}
        for n in range(VALIDATORS_MAX + 1)
    ]
    assert from_json(full(validators=members[:-1]))
    assert "from 1 to 1024" in refused(full(validators=members))
    many = [f"{n:08x}" for n in range(CLIENTS_MAX + 1)]
    assert from_json(full(clients=many[:-1]))
    assert "clients" in refused(full(clients=many))


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("block_transactions_max", 1, 100_000),
        ("block_bytes_max", 128 * 1024, 4 * 1024 * 1024),
        ("transaction_bytes_max", 256, 64 * 1024),
        ("transaction_lifetime_max", 1, 2**63 - 1),
    ],
)
def test_the_limits_have_limits(name: str, least: int, most: int) -> None:
    for value in (least, most):
        assert from_json(full(limits={name: value}))
    for value in (least - 1, most + 1):
        assert name in refused(full(limits={name: value}))


def test_everybody_may_write_only_in_a_lab() -> None:
    assert from_json(full(open_lab=True, lab=True))
    assert "lab = true" in refused(full(open_lab=True, lab=False))


@pytest.mark.parametrize("number", [0, 2, 10])
def test_another_format_is_named(number: int) -> None:
    assert refused(full(format=number)) == f"format {number}; this version knows format 1"


def test_a_genesis_that_was_built_is_held_to_the_same_rules() -> None:
    genesis = from_json(raw_of(FULL))
    validate(genesis)
    with pytest.raises(InvalidGenesis):
        validate(Genesis(chain="X", created_ms=0, validators=genesis.validators))


def test_a_mistake_in_a_file_is_told_with_its_field() -> None:
    for raw, field in [
        (validator(name=5), "validators"),
        (full(limits={"block_bytes_max": "1"}), "limits.block_bytes_max"),
        (full(created_ms="now"), "created_ms"),
    ]:
        assert field in refused(raw)
