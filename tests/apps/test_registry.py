"""The applications as mechanisms: found by name, with claims and options."""

import pytest

from apps.interface import AppClaims, QueryRefused
from mechanisms.registry import Kind, MechanismError, load, names, options

ACCOUNT = "ab" * 32


@pytest.mark.parametrize("name", ["kv", "payments"])
def test_an_application_is_found_by_its_name_and_claims_something(name: str) -> None:
    mechanism = load(Kind.APPLICATION, name, lab=False)
    assert isinstance(mechanism.claims, AppClaims)
    application = mechanism.create(options(mechanism, {}))
    assert application.methods()
    with pytest.raises(QueryRefused, match="it answers"):
        application.query(["nonsense"], None)


def test_helpers_are_not_taken_for_applications() -> None:
    assert not [name for name in names(Kind.APPLICATION) if name.startswith("_")]


def test_payments_takes_its_options_from_plain_json_values() -> None:
    mechanism = load(Kind.APPLICATION, "payments", lab=False)
    given = options(mechanism, {"balances": {ACCOUNT: 5}, "minters": [ACCOUNT]})
    assert given.balances == {ACCOUNT: 5}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"balances": [ACCOUNT]}, "balances"),
        ({"balances": {"xyz": 1}}, "balances: 'xyz' is no public key"),
        ({"balances": {ACCOUNT.upper(): 1}}, "lower-case"),
        ({"balances": {ACCOUNT: 0}}, "1 to"),
        ({"balances": {ACCOUNT: True}}, "balances"),
        ({"balances": {ACCOUNT: "1"}}, "balances"),
        ({"balances": {ACCOUNT: 2**63}}, "1 to"),
        ({"balances": {ACCOUNT: 2**63 - 1, "cd" * 32: 1}}, "together"),
        ({"minters": ACCOUNT}, "minters"),
        ({"minters": [5]}, "minters"),
        ({"minters": ["5"]}, "minters: '5' is no public key"),
        ({"mints": []}, "Did you mean minters"),
    ],
)
def test_payments_refuses_options_that_cannot_be(given: dict[str, object], message: str) -> None:
    mechanism = load(Kind.APPLICATION, "payments", lab=False)
    with pytest.raises(MechanismError, match=message):
        options(mechanism, given)
