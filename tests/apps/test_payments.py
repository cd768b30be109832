"""The payments application against its description and against a model."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.interface import QueryRefused
from apps.payments import MEMO_BYTES_MAX, SUPPLY_MAX
from crypto.encoding import encode
from crypto.interface import PublicKey

MakeChain = Callable[..., Any]
ALICE, BOB, CAROL = (PublicKey(letter * 32) for letter in (b"a", b"b", b"c"))


@pytest.fixture
def chain(payments_chain: MakeChain) -> Any:
    """Alice mints and has 100 units; Bob has 50; Carol has none."""
    return payments_chain({ALICE: 100, BOB: 50}, (ALICE,))


def balances(chain: Any) -> list[int]:
    return [chain.query("balance", who.hex())["balance"] for who in (ALICE, BOB, CAROL)]


def supply(chain: Any) -> int:
    value: int = chain.query("supply")["supply"]
    return value


def test_height_0_has_the_balances_of_the_options(chain: Any) -> None:
    assert balances(chain) == [100, 50, 0]
    assert supply(chain) == 150
    assert chain.query("minters") == {"minters": [ALICE.hex()]}
    chain.application.invariant(chain.state)


def test_without_options_there_is_nothing_and_nobody_can_make_it(payments_chain: MakeChain) -> None:
    chain = payments_chain({}, ())
    assert supply(chain) == 0
    assert chain.code(ALICE, "mint", ALICE.hex(), 1) == "not_minter"


def test_a_transfer_moves_units_and_leaves_the_supply(chain: Any) -> None:
    assert chain.submit(ALICE, "transfer", CAROL.hex(), 30) == ("ok", "70")
    assert balances(chain) == [70, 50, 30]
    assert supply(chain) == 150


def test_a_memo_changes_nothing_else(chain: Any, payments_chain: MakeChain) -> None:
    other = payments_chain({ALICE: 100, BOB: 50}, (ALICE,))
    assert chain.code(ALICE, "transfer_with_memo", BOB.hex(), 5, "rent") == "ok"
    assert other.code(ALICE, "transfer", BOB.hex(), 5) == "ok"
    assert chain.state.entries == other.state.entries


def test_nobody_spends_more_than_the_balance(chain: Any) -> None:
    before = dict(chain.state.entries)
    code, text = chain.submit(BOB, "transfer", ALICE.hex(), 51)
    assert (code, text) == ("insufficient_balance", "the sender has 50 units, 51 are needed")
    assert chain.code(CAROL, "burn", 1) == "insufficient_balance"
    assert chain.state.entries == before
    assert chain.submit(BOB, "transfer", ALICE.hex(), 50) == ("ok", "0")


def test_an_account_with_nothing_in_it_is_not_stored(chain: Any) -> None:
    keys = len(chain.state.entries)
    chain.submit(BOB, "transfer", ALICE.hex(), 50)
    assert len(chain.state.entries) == keys - 1
    assert balances(chain) == [150, 0, 0]


def test_only_a_minter_mints(chain: Any) -> None:
    assert chain.code(BOB, "mint", BOB.hex(), 7) == "not_minter"
    assert supply(chain) == 150
    assert chain.submit(ALICE, "mint", BOB.hex(), 7) == ("ok", "157")
    assert chain.submit(ALICE, "mint", ALICE.hex(), 1) == ("ok", "158")
    assert balances(chain) == [101, 57, 0]


def test_burning_lowers_balance_and_supply(chain: Any) -> None:
    assert chain.submit(BOB, "burn", 20) == ("ok", "30")
    assert (balances(chain), supply(chain)) == ([100, 30, 0], 130)


def test_the_supply_never_overflows(payments_chain: MakeChain) -> None:
    chain = payments_chain({ALICE: SUPPLY_MAX - 1}, (ALICE,))
    assert chain.code(ALICE, "mint", BOB.hex(), 2) == "supply_limit"
    assert chain.code(ALICE, "mint", BOB.hex(), SUPPLY_MAX) == "supply_limit"
    assert supply(chain) == SUPPLY_MAX - 1
    assert chain.submit(ALICE, "mint", BOB.hex(), 1) == ("ok", str(SUPPLY_MAX))
    assert chain.submit(BOB, "transfer", ALICE.hex(), 1) == ("ok", "0")
    assert balances(chain)[0] == SUPPLY_MAX
    chain.application.invariant(chain.state)


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (("transfer", "bb" * 32, 1), "ok"),
        (("transfer_with_memo", "bb" * 32, 1, ""), "ok"),
        (("mint", "bb" * 32, 1), "ok"),
        (("mint", "01" * 32, 1), "ok"),
        (("burn", 1), "ok"),
        (("burn", SUPPLY_MAX), "ok"),
        (("steal", "bb" * 32, 1), "unknown_method"),
        (("transfer", "bb" * 32), "bad_arguments"),
        (("transfer", "bb" * 32, 1, "memo"), "bad_arguments"),
        (("transfer_with_memo", "bb" * 32, 1), "bad_arguments"),
        (("transfer", "bb" * 32, "1"), "bad_arguments"),
        (("transfer", 1, 1), "bad_arguments"),
        (("burn", "1"), "bad_arguments"),
        (("transfer", "bb" * 32, 0), "bad_arguments"),
        (("burn", 0), "bad_arguments"),
        (("mint", "bb" * 32, 0), "bad_arguments"),
        (("burn", -1), "bad_arguments"),
        (("transfer", "bb" * 32, -1), "bad_arguments"),
        (("mint", "bb" * 32, SUPPLY_MAX + 1), "bad_arguments"),
        (("transfer", "01" * 32, 1), "bad_arguments"),
        (("transfer", "bb" * 31, 1), "bad_arguments"),
        (("transfer", "bb" * 33, 1), "bad_arguments"),
        (("transfer", "BB" * 32, 1), "bad_arguments"),
        (("transfer", "zz" * 32, 1), "bad_arguments"),
        (("transfer", "bb" * 31 + " b", 1), "bad_arguments"),
        (("transfer", "bb" * 31 + "b\n", 1), "bad_arguments"),
        (("transfer", "٣٣" * 32, 1), "bad_arguments"),
        (("transfer", "", 1), "bad_arguments"),
        (("transfer_with_memo", "bb" * 32, 1, "é" * (MEMO_BYTES_MAX // 2)), "ok"),
        (("transfer_with_memo", "bb" * 32, 1, "m" * (MEMO_BYTES_MAX + 1)), "too_long"),
    ],
)
def test_check_knows_what_can_never_succeed(
    chain: Any, clients: tuple[bytes, ...], call: tuple[Any, ...], code: str
) -> None:
    assert chain.refusal(*call) == code
    if code != "ok":
        assert chain.code(clients[0], *call) == code


@pytest.mark.parametrize(
    "path", [(), ("balance",), ("balance", "xyz"), ("balance", "AB"), ("supply", "x"), ("x",)]
)
def test_other_queries_are_refused(chain: Any, path: tuple[str, ...]) -> None:
    with pytest.raises(QueryRefused):
        chain.query(*path)


@pytest.mark.parametrize(
    ("key", "raw"),
    [
        (b"balance/" + ALICE, encode(101)),
        (b"balance/" + ALICE, None),
        (b"balance/" + CAROL, encode(0)),
        (b"supply", encode(151)),
        (b"supply", None),
        (b"other", encode(1)),
    ],
)
def test_the_invariant_finds_units_from_nowhere(chain: Any, key: bytes, raw: bytes | None) -> None:
    chain.application.invariant(chain.state)
    chain.state.put(key, raw)
    with pytest.raises(AssertionError):
        chain.application.invariant(chain.state)


@pytest.mark.parametrize(
    ("call", "touched"),
    [
        (("transfer", BOB.hex(), 1), {b"balance/" + ALICE, b"balance/" + BOB}),
        (("mint", BOB.hex(), 1), {b"balance/" + BOB, b"supply"}),
        (("burn", 1), {b"balance/" + ALICE, b"supply"}),
    ],
)
def test_a_call_touches_only_its_accounts_and_the_supply(
    chain: Any, call: tuple[Any, ...], touched: set[bytes]
) -> None:
    chain.state.calls.clear()
    assert chain.code(ALICE, *call) == "ok"
    assert {key for _, key in chain.state.calls} == touched


# --- Random operations against a model. ---

ACCOUNTS = st.sampled_from([ALICE, BOB, CAROL])
AMOUNTS = st.one_of(st.integers(0, 60), st.sampled_from([SUPPLY_MAX - 150, SUPPLY_MAX]))
HEXES = ACCOUNTS.map(lambda account: account.hex())
CALLS = st.one_of(
    st.tuples(st.sampled_from(["transfer", "mint"]), HEXES, AMOUNTS),
    st.tuples(st.just("transfer_with_memo"), HEXES, AMOUNTS, st.sampled_from(["", "m", "m" * 300])),
    st.tuples(st.just("burn"), AMOUNTS),
)


def expected_code(held: dict[bytes, int], sender: bytes, method: str, *arguments: Any) -> str:
    """The rules again, in the plainest form."""
    amount = next(argument for argument in arguments if isinstance(argument, int))
    moves = method.startswith("transfer")
    if moves and arguments[0] == sender.hex():
        return "bad_arguments"
    if len(arguments) == 3 and len(arguments[2]) > MEMO_BYTES_MAX:
        return "too_long"
    if amount == 0:
        return "bad_arguments"
    if method == "mint":
        if sender != ALICE:
            return "not_minter"
        return "ok" if sum(held.values()) + amount <= SUPPLY_MAX else "supply_limit"
    return "ok" if held[sender] >= amount else "insufficient_balance"


def apply(held: dict[bytes, int], sender: bytes, method: str, *arguments: Any) -> None:
    if method == "burn":
        held[sender] -= arguments[0]
        return
    held[bytes.fromhex(arguments[0])] += arguments[1]
    if method != "mint":
        held[sender] -= arguments[1]


@settings(deadline=None)
@given(blocks=st.lists(st.lists(st.tuples(ACCOUNTS, CALLS), max_size=8), max_size=8))
def test_units_are_conserved_after_each_block_of_any_calls(
    payments_chain: MakeChain, blocks: list[list[tuple[bytes, tuple[Any, ...]]]]
) -> None:
    chain = payments_chain({ALICE: 100, BOB: 50}, (ALICE,))
    held: dict[bytes, int] = {ALICE: 100, BOB: 50, CAROL: 0}
    for block in blocks:
        for sender, call in block:
            before = dict(chain.state.entries)
            code = expected_code(held, sender, *call)
            assert chain.code(sender, *call) == code
            if code == "ok":
                apply(held, sender, *call)
            else:
                assert chain.state.entries == before
        chain.application.invariant(chain.state)
        assert balances(chain) == list(held.values())
        assert supply(chain) == sum(held.values())
