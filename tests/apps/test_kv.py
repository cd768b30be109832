"""The key-value application against its description and against a model."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.interface import QueryRefused
from apps.kv import KEY_BYTES_MAX, LIST_MAX, VALUE_BYTES_MAX, Entry
from crypto.encoding import Malformed, encode
from crypto.interface import PublicKey

MakeChain = Callable[[], Any]
ALICE, BOB = PublicKey(b"a" * 32), PublicKey(b"b" * 32)


@pytest.fixture
def chain(kv_chain: MakeChain) -> Any:
    return kv_chain()


def test_the_first_writer_owns_a_key_and_may_change_it(chain: Any) -> None:
    assert chain.submit(ALICE, "set", "colour", "blue") == ("ok", "1")
    assert chain.submit(ALICE, "set", "colour", "red") == ("ok", "2")
    assert chain.query("get", "colour") == {
        "key": "colour",
        "value": "red",
        "owner": ALICE.hex(),
        "version": 2,
    }
    assert chain.query("owner", "colour") == {"key": "colour", "owner": ALICE.hex(), "version": 2}


@pytest.mark.parametrize(
    "call", [("set", "colour", "red"), ("cas", "colour", "blue", "red"), ("delete", "colour")]
)
def test_only_the_owner_may_change_a_key(chain: Any, call: tuple[str, ...]) -> None:
    chain.submit(ALICE, "set", "colour", "blue")
    before = dict(chain.state.entries)
    assert chain.code(BOB, *call) == "not_owner"
    assert chain.state.entries == before
    assert chain.code(ALICE, *call) == "ok"
    assert chain.state.entries != before


def test_create_succeeds_only_where_the_key_is_absent(chain: Any) -> None:
    assert chain.submit(ALICE, "create", "colour", "blue") == ("ok", "1")
    assert chain.code(BOB, "create", "colour", "red") == "exists"
    assert chain.code(ALICE, "create", "colour", "red") == "exists"
    assert chain.query("get", "colour")["value"] == "blue"


def test_compare_and_set_writes_only_over_the_expected_value(chain: Any) -> None:
    assert chain.code(ALICE, "cas", "colour", "", "red") == "not_found"
    chain.submit(ALICE, "set", "colour", "blue")
    code, text = chain.submit(ALICE, "cas", "colour", "green", "red")
    assert code == "mismatch"
    assert "version 1" in text
    assert chain.submit(ALICE, "cas", "colour", "blue", "red") == ("ok", "2")
    assert chain.query("get", "colour")["value"] == "red"


def test_the_empty_text_is_a_value_and_not_an_absent_one(chain: Any) -> None:
    chain.submit(ALICE, "set", "colour", "")
    assert chain.query("get", "colour")["value"] == ""
    assert chain.submit(ALICE, "cas", "colour", "", "red") == ("ok", "2")


def test_a_deleted_key_is_free_and_its_versions_begin_again(chain: Any) -> None:
    chain.submit(ALICE, "set", "colour", "blue")
    chain.submit(ALICE, "set", "colour", "red")
    assert chain.submit(ALICE, "delete", "colour") == ("ok", "2")
    assert chain.query("get", "colour") is None
    assert chain.query("owner", "colour") is None
    assert chain.state.entries == {}
    assert chain.code(ALICE, "delete", "colour") == "not_found"
    assert chain.submit(BOB, "set", "colour", "green") == ("ok", "1")


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (("set", "k", "v"), "ok"),
        (("create", "k", "v"), "ok"),
        (("cas", "k", "v", "w"), "ok"),
        (("delete", "k"), "ok"),
        (("write", "k", "v"), "unknown_method"),
        (("", "k", "v"), "unknown_method"),
        (("set.more", "k", "v"), "unknown_method"),
        (("set",), "bad_arguments"),
        (("set", "k"), "bad_arguments"),
        (("set", "k", "v", "w"), "bad_arguments"),
        (("cas", "k", "v"), "bad_arguments"),
        (("delete",), "bad_arguments"),
        (("set", 1, "v"), "bad_arguments"),
        (("set", "k", 1), "bad_arguments"),
        (("set", "", "v"), "bad_arguments"),
        (("set", "k" * KEY_BYTES_MAX, "v" * VALUE_BYTES_MAX), "ok"),
        (("set", "k" * (KEY_BYTES_MAX + 1), "v"), "too_long"),
        (("set", "é" * (KEY_BYTES_MAX // 2), "v"), "ok"),
        (("set", "é" * (KEY_BYTES_MAX // 2 + 1), "v"), "too_long"),
        (("set", "k", "v" * (VALUE_BYTES_MAX + 1)), "too_long"),
        (("cas", "k", "v" * (VALUE_BYTES_MAX + 1), "w"), "too_long"),
        (("cas", "k", "v", "w" * (VALUE_BYTES_MAX + 1)), "too_long"),
    ],
)
def test_check_and_execution_agree_on_what_can_never_succeed(
    chain: Any, call: tuple[str, ...], code: str
) -> None:
    chain.submit(ALICE, "set", "k", "v") if call[0] in ("cas", "delete") else None
    before = dict(chain.state.entries)
    assert chain.refusal(*call) == code
    assert chain.code(ALICE, *call) == code
    assert (chain.state.entries == before) == (code != "ok")


def test_a_wrong_call_is_told_how_to_call(chain: Any) -> None:
    assert chain.submit(ALICE, "set", "k")[1] == (
        "kv.set takes 2 arguments (text, text); 1 were given"
    )
    assert "it has: cas, create, delete, set" in chain.submit(ALICE, "write")[1]


def test_a_set_reads_once_and_writes_once(chain: Any) -> None:
    chain.submit(ALICE, "set", "colour", "blue")
    chain.submit(ALICE, "set", "colour", "red")
    assert chain.state.calls == [("get", b"colour"), ("put", b"colour")] * 2


@settings(deadline=None)
@given(
    keys=st.sets(st.text(st.sampled_from("ab/é\0\U0001f600"), min_size=1, max_size=3), max_size=120)
)
def test_pages_of_a_listing_hold_each_key_once_and_in_order(
    kv_chain: MakeChain, keys: set[str]
) -> None:
    chain = kv_chain()
    for key in sorted(keys):
        chain.submit(ALICE, "set", key, "")
    for prefix in ("", "a", "é/"):
        expected = sorted(key.encode() for key in keys if key.startswith(prefix))
        found: list[bytes] = []
        page = chain.query("list", prefix)
        while True:
            assert len(page["entries"]) <= LIST_MAX
            found += [entry["key"].encode() for entry in page["entries"]]
            if page["next"] is None:
                break
            page = chain.query("list", prefix, page["next"])
        assert found == expected


def test_a_full_page_names_the_next_and_the_last_does_not(chain: Any) -> None:
    for number in range(LIST_MAX):
        chain.submit(ALICE, "set", f"k{number:03}", "v")
    assert chain.query("list")["next"] is None
    chain.submit(ALICE, "set", "z", "v")
    page = chain.query("list")
    assert (len(page["entries"]), page["next"]) == (LIST_MAX, f"k{LIST_MAX - 1:03}")
    assert chain.query("list", "", page["next"])["entries"] == [chain.query("get", "z")]


@pytest.mark.parametrize(
    "path",
    [(), ("get",), ("get", "k", "k"), ("owner",), ("list", "a", "b"), ("list", "", "", ""), ("x",)],
)
def test_other_queries_are_refused(chain: Any, path: tuple[str, ...]) -> None:
    with pytest.raises(QueryRefused):
        chain.query(*path)


@pytest.mark.parametrize(
    ("key", "raw"),
    [
        (b"k", encode(Entry(ALICE, 0, "v"))),
        (b"k", encode(Entry(PublicKey(b""), 1, "v"))),
        (b"k", encode(Entry(ALICE, 1, "v" * (VALUE_BYTES_MAX + 1)))),
        (b"k" * (KEY_BYTES_MAX + 1), encode(Entry(ALICE, 1, "v"))),
        (b"k", b"\x01junk"),
    ],
)
def test_the_invariant_finds_what_the_rules_forbid(chain: Any, key: bytes, raw: bytes) -> None:
    chain.submit(ALICE, "set", "colour", "blue")
    chain.application.invariant(chain.state)
    chain.state.put(key, raw)
    with pytest.raises((AssertionError, Malformed)):
        chain.application.invariant(chain.state)


# --- Random operations against a model. ---

Model = dict[str, tuple[bytes, int, str]]
SENDERS = st.sampled_from([ALICE, BOB])
KEYS = st.sampled_from(["", "a", "b", "k" * (KEY_BYTES_MAX + 1)])
VALUES = st.sampled_from(["", "v", "w", "w" * (VALUE_BYTES_MAX + 1)])
CALLS = st.one_of(
    st.tuples(st.sampled_from(["set", "create"]), KEYS, VALUES),
    st.tuples(st.just("cas"), KEYS, VALUES, VALUES),
    st.tuples(st.just("delete"), KEYS),
)


def expected_code(model: Model, sender: bytes, method: str, key: str, *values: str) -> str:
    """The rules again, in the plainest form."""
    if not key:
        return "bad_arguments"
    if len(key) > KEY_BYTES_MAX or any(len(value) > VALUE_BYTES_MAX for value in values):
        return "too_long"
    if method == "create":
        return "exists" if key in model else "ok"
    if key not in model:
        return "ok" if method == "set" else "not_found"
    if model[key][0] != sender:
        return "not_owner"
    if method == "cas" and model[key][2] != values[0]:
        return "mismatch"
    return "ok"


@settings(deadline=None)
@given(operations=st.lists(st.tuples(SENDERS, CALLS), max_size=60))
def test_any_sequence_of_calls_does_what_the_model_does(
    kv_chain: MakeChain, operations: list[tuple[bytes, tuple[str, ...]]]
) -> None:
    chain = kv_chain()
    model: Model = {}
    for sender, (method, key, *values) in operations:
        before = dict(chain.state.entries)
        code = expected_code(model, sender, method, key, *values)
        assert chain.code(sender, method, key, *values) == code
        if code != "ok":
            assert chain.state.entries == before
        elif method == "delete":
            del model[key]
        else:
            version = model[key][1] + 1 if key in model else 1
            model[key] = (sender, version, values[-1])
        chain.application.invariant(chain.state)
    assert chain.query("list")["entries"] == [
        {"key": key, "value": value, "owner": owner.hex(), "version": version}
        for key, (owner, version, value) in sorted(model.items())
    ]
