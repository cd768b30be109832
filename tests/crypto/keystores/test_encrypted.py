"""A secret under a password: opens with it alone, unchanged alone, and at a bounded cost.

The work factors are the smallest here, for speed; what is tested does not depend on them.
"""

import json
import os
from collections.abc import Callable
from typing import Any

import pytest
from nacl.pwhash import argon2id
from nacl.secret import SecretBox

from crypto.keys import InvalidKeyFile, KeyStore, Secret, WrongPassword
from crypto.keystores import encrypted
from crypto.keystores.encrypted import MEMORY_BYTES_MAX, OPS_MAX, PASSWORD_BYTES_MIN

PASSWORD = b"correct horse"
PUBLIC = b"p" * 32
SECRET = Secret(b"\x5e\xc4\xe7\xaa" * 8)
FIELDS = ("kdf", "ops", "memory_bytes", "salt", "nonce", "ciphertext")


def store_of(password: bytes = PASSWORD, entropy: Callable[[int], bytes] = os.urandom) -> KeyStore:
    return encrypted.create(encrypted.Options(ops=1, memory_mib=1), password, entropy)


@pytest.fixture(scope="module")
def sealed() -> dict[str, str | int]:
    return store_of().seal(SECRET, PUBLIC)


def flipped(text: str, at: int = 0) -> str:
    raw = bytearray.fromhex(text)
    raw[at] ^= 1
    return raw.hex()


def test_what_was_sealed_opens(sealed: dict[str, str | int]) -> None:
    assert store_of().open(sealed, PUBLIC) == SECRET
    assert store_of().open(json.loads(json.dumps(sealed)), PUBLIC) == SECRET
    assert tuple(sealed) == FIELDS


@pytest.mark.parametrize("size", [0, 1, 32, 64, 4896])
def test_seeds_and_keys_of_any_scheme_fit(size: int) -> None:
    secret, public = Secret(b"s" * size), b"k" * (2 * size)
    assert store_of().open(store_of().seal(secret, public), public) == secret


@pytest.mark.parametrize("password", [b"Correct horse", PASSWORD + b" ", PASSWORD[:-1], bytes(9)])
def test_another_password_is_refused(password: bytes, sealed: dict[str, str | int]) -> None:
    with pytest.raises(WrongPassword):
        store_of(password).open(sealed, PUBLIC)


@pytest.mark.parametrize("field", ["salt", "nonce", "ciphertext"])
def test_a_flipped_bit_is_refused_wherever_it_stands(
    field: str, sealed: dict[str, str | int]
) -> None:
    size = len(str(sealed[field])) // 2
    for at in {0, 15, size // 2, size - 1}:
        with pytest.raises(WrongPassword):
            store_of().open({**sealed, field: flipped(str(sealed[field]), at)}, PUBLIC)


@pytest.mark.parametrize(("field", "value"), [("ops", 2), ("memory_bytes", 2 * 1024 * 1024)])
def test_other_work_factors_are_refused(
    field: str, value: int, sealed: dict[str, str | int]
) -> None:
    with pytest.raises(WrongPassword):
        store_of().open({**sealed, field: value}, PUBLIC)


@pytest.mark.parametrize("ciphertext", ["", "00", "00" * 15, "00" * 16, "00" * 500])
def test_a_ciphertext_of_another_length_is_refused(
    ciphertext: str, sealed: dict[str, str | int]
) -> None:
    with pytest.raises(InvalidKeyFile):
        store_of().open({**sealed, "ciphertext": ciphertext}, PUBLIC)


@pytest.mark.parametrize(
    "public", [b"q" + PUBLIC[1:], PUBLIC[:-1], PUBLIC[:1], b"", PUBLIC + SECRET.seed[:1]]
)
def test_the_public_key_cannot_be_replaced_shortened_or_lengthened(
    public: bytes, sealed: dict[str, str | int]
) -> None:
    with pytest.raises(InvalidKeyFile, match="public key was changed"):
        store_of().open(sealed, public)


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize(
    "value", [None, True, 1.5, -1, 0, "", "zz", "0", [], {}, float("inf"), float("nan"), 10**400],
    ids=lambda value: repr(value)[:8],
)  # fmt: skip
def test_a_field_of_another_type_or_form_is_refused(
    field: str, value: Any, sealed: dict[str, Any]
) -> None:
    with pytest.raises(InvalidKeyFile):
        store_of().open({**sealed, field: value}, PUBLIC)


@pytest.mark.parametrize("field", FIELDS)
def test_a_missing_field_is_refused(field: str, sealed: dict[str, str | int]) -> None:
    fewer = {name: value for name, value in sealed.items() if name != field}
    with pytest.raises(InvalidKeyFile, match="not in the encrypted form"):
        store_of().open(fewer, PUBLIC)


@pytest.mark.parametrize(
    ("ops", "memory"),
    [
        (OPS_MAX + 1, 1024 * 1024),
        (2**64, 1024 * 1024),
        (0, 1024 * 1024),
        (-1, 1024 * 1024),
        (1, MEMORY_BYTES_MAX + 1),
        (1, 2**63),
        (1, argon2id.MEMLIMIT_MIN - 1),
        (1, 0),
    ],
)
def test_a_file_cannot_make_its_reader_work_without_bound(
    ops: int,
    memory: int,
    sealed: dict[str, str | int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def worked(*_: object) -> bytes:
        raise AssertionError("the password was hashed before the bounds were checked")

    monkeypatch.setattr(argon2id, "kdf", worked)
    with pytest.raises(InvalidKeyFile) as refusal:
        store_of().open({**sealed, "ops": ops, "memory_bytes": memory}, PUBLIC)
    assert "passes" in str(refusal.value) or "form" in str(refusal.value)
    assert not isinstance(refusal.value, WrongPassword)


@pytest.mark.parametrize("password", [b"", b"short", b"x" * (PASSWORD_BYTES_MIN - 1)])
def test_a_weak_password_is_refused_without_showing_it(password: bytes) -> None:
    with pytest.raises(InvalidKeyFile, match="at least 8 bytes") as refusal:
        store_of(password)
    assert not password or password.decode() not in str(refusal.value)
    assert store_of(b"x" * PASSWORD_BYTES_MIN)


@pytest.mark.parametrize("options", [(0, 1), (OPS_MAX + 1, 1), (1, 0), (1, 1025), (-1, -1)])
def test_work_factors_that_could_not_be_opened_again_are_refused(
    options: tuple[int, int],
) -> None:
    with pytest.raises(ValueError, match="opened again"):
        encrypted.Options(*options)


def test_the_default_work_factors_are_those_of_libsodium_moderate() -> None:
    options = encrypted.Options()
    assert (options.ops, options.memory_mib * 1024 * 1024) == (
        argon2id.OPSLIMIT_MODERATE,
        argon2id.MEMLIMIT_MODERATE,
    )


def test_salt_and_nonce_are_fresh_for_each_file() -> None:
    asked: list[int] = []

    def entropy(count: int) -> bytes:
        asked.append(count)
        return os.urandom(count)

    one, other = (store_of(entropy=entropy).seal(SECRET, PUBLIC) for _ in range(2))
    assert asked == [argon2id.SALTBYTES, SecretBox.NONCE_SIZE] * 2
    for field in ("salt", "nonce", "ciphertext"):
        assert one[field] != other[field]


def test_nothing_shows_the_secret_or_the_password(sealed: dict[str, str | int]) -> None:
    store = store_of()
    texts = [repr(store), str(store), json.dumps(sealed)]
    for wrong in ({**sealed, "salt": "zz"}, {**sealed, "ciphertext": "00" * 99}, {}):
        with pytest.raises(InvalidKeyFile) as refusal:
            store.open(wrong, PUBLIC)
        assert refusal.value.__suppress_context__
        texts.append(repr(refusal.value))
    with pytest.raises(InvalidKeyFile) as refusal:
        store.open(sealed, b"")
    texts.append(repr(refusal.value))
    for text in texts:
        for secret in (PASSWORD.decode(), PASSWORD.hex(), SECRET.seed[:4].hex(), "xc4"):
            assert secret not in text
    assert encrypted.CLAIMS.encrypted
