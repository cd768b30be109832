import pytest

from testnet.errors import WrongUse
from testnet.settings import Known, parse, route, value_of

KNOWN = Known(
    consensus=("view_timeout_ms",),
    limits=("block_bytes_max",),
    node=("storage.engine", "storage.sync", "batch.delay_ms", "client_threads"),
)


def test_values_are_read_as_what_they_look_like() -> None:
    assert value_of("true") is True
    assert value_of("500") == 500
    assert value_of("0.5") == 0.5
    assert value_of("blake3") == "blake3"
    assert value_of("") == ""


@pytest.mark.parametrize("pair", ["hash", "=blake3", ""])
def test_what_is_no_pair_is_refused(pair: str) -> None:
    with pytest.raises(WrongUse, match="KEY=VALUE"):
        parse([pair])


def test_a_value_may_contain_an_equals_sign() -> None:
    assert parse(["a=b=c"]) == {"a": "b=c"}


def test_the_same_key_twice_is_refused() -> None:
    with pytest.raises(WrongUse, match="twice"):
        parse(["hash=blake3", "hash=sha256"])


def test_each_setting_goes_where_it_belongs() -> None:
    values = parse(
        [
            "hash=blake3",
            "lab=true",
            "applications=kv",
            "view_timeout_ms=500",
            "block_bytes_max=1000000",
            "engine=sqlite",
            "sync=false",
            "batch.delay_ms=5",
            "client_threads=2",
        ]
    )
    settings = route(values, KNOWN)
    assert settings.genesis == {"hash": "blake3", "lab": True, "applications": "kv"}
    assert settings.consensus == {"view_timeout_ms": 500}
    assert settings.limits == {"block_bytes_max": 1_000_000}
    assert settings.node == {
        "storage.engine": "sqlite",
        "storage.sync": False,
        "batch.delay_ms": 5,
        "client_threads": 2,
    }


def test_an_unknown_key_is_refused_with_a_guess_and_the_list() -> None:
    with pytest.raises(WrongUse) as caught:
        route({"view_timout_ms": 500}, KNOWN)
    text = str(caught.value)
    assert "Did you mean view_timeout_ms?" in text
    missing = [key for key in KNOWN.keys() if key not in text]  # noqa: SIM118 - no mapping
    assert missing == []


@pytest.mark.parametrize(("key", "value"), [("hash", 3), ("lab", "yes"), ("block_bytes_max", True)])
def test_a_value_of_the_wrong_kind_is_refused(key: str, value: str | int | bool) -> None:
    with pytest.raises(WrongUse, match=key):
        route({key: value}, KNOWN)
