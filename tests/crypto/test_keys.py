"""A key file says who it is for in clear, keeps its secret sealed, and refuses what it is not."""

import json
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto.interface import CryptoError
from crypto.keys import PURPOSES, InvalidKeyFile, KeyFile, Secret, WrongPassword, parse, render

KEY = KeyFile("validator", "ed25519", b"\x01\x02" * 16, "plain", {"seed": "5ec4e7" * 8})
VALUES: dict[str, Any] = json.loads(render(KEY))


def changed(**fields: object) -> bytes:
    return json.dumps({**VALUES, **fields}).encode()


@pytest.mark.parametrize("purpose", PURPOSES)
def test_a_key_file_comes_back(purpose: str) -> None:
    key = KeyFile(purpose, "ed25519", b"\xff" * 32, "encrypted", {"ops": 3, "salt": "00"})
    assert parse(render(key)) == key
    assert render(key).endswith(b"}\n")


def test_the_public_half_stands_in_clear() -> None:
    assert KEY.public_key.hex().encode() in render(KEY)


@pytest.mark.parametrize("field", VALUES)
def test_a_missing_field_is_refused(field: str) -> None:
    assert parse(json.dumps(VALUES).encode()) == KEY
    values = {name: value for name, value in VALUES.items() if name != field}
    with pytest.raises(InvalidKeyFile):
        parse(json.dumps(values).encode())


@pytest.mark.parametrize("field", VALUES)
@pytest.mark.parametrize(
    "value", [None, True, 1.5, -1, 10**400, "\x00", [], [1], {"a": {}}], ids=repr
)
def test_a_field_of_another_type_is_refused(field: str, value: object) -> None:
    if field in ("scheme", "store") and isinstance(value, str):
        return  # any text is a name here; who opens the file knows the names there are
    with pytest.raises(InvalidKeyFile):
        parse(changed(**{field: value}))


@pytest.mark.parametrize("fields", [{"public_key": "0"}, {"public_key": "zz"}, {"public_key": "é"}])
def test_a_public_key_that_is_not_hexadecimal_is_refused(fields: dict[str, str]) -> None:
    with pytest.raises(InvalidKeyFile):
        parse(changed(**fields))


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x00",
        b"null",
        b"[]",
        b'"text"',
        b"{}",
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"format": 1' + b"0" * 5000 + b"}",
        b'{"format": Infinity}',
        render(KEY) + b"x",
    ],
    ids=lambda raw: str(raw[:12]),
)
def test_what_is_no_key_file_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidKeyFile):
        parse(raw)


def test_another_format_is_named() -> None:
    with pytest.raises(InvalidKeyFile, match="format 2; this version knows"):
        parse(changed(format=2, something="new"))


def test_an_unknown_purpose_is_refused_with_the_choices() -> None:
    with pytest.raises(InvalidKeyFile, match="'admin': there are validator, client, channel"):
        parse(changed(purpose="admin"))


@given(st.binary(max_size=200))
def test_random_bytes_raise_nothing_but_invalid_key_file(raw: bytes) -> None:
    with pytest.raises(InvalidKeyFile):
        parse(raw)


@given(st.integers(0, len(render(KEY)) - 1), st.binary(max_size=3))
def test_a_damaged_file_raises_nothing_but_invalid_key_file(at: int, by: bytes) -> None:
    raw = render(KEY)
    try:
        parse(raw[:at] + by + raw[at + 1 :])
    except InvalidKeyFile as error:
        assert "5ec4e7" not in str(error)


def test_no_text_of_a_key_shows_the_secret() -> None:
    secret = Secret(b"\x5e\xc4\xe7" * 8)
    for text in (repr(KEY), str(KEY), repr(parse(render(KEY))), repr(secret), str(secret)):
        assert "5ec4e7" not in text
        assert "xc4" not in text


def test_an_error_quotes_nothing_of_the_secret() -> None:
    for raw in (
        render(KEY)[:-5],
        changed(secret={"seed": {"5ec4e7": "5ec4e7"}}),
        changed(secret="5ec4e7"),
        changed(extra="5ec4e7"),
    ):
        with pytest.raises(InvalidKeyFile) as refusal:
            parse(raw)
        assert "5ec4e7" not in str(refusal.value)
        assert refusal.value.__cause__ is None
        assert refusal.value.__suppress_context__


def test_a_secret_does_not_pickle() -> None:
    with pytest.raises(TypeError):
        pickle.dumps(Secret(b"\x5e\xc4\xe7"))


def test_a_wrong_password_is_an_invalid_key_file_and_an_error_of_this_folder() -> None:
    assert issubclass(WrongPassword, InvalidKeyFile)
    assert issubclass(InvalidKeyFile, CryptoError)
