import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crypto.genesis import Mechanism
from crypto.interface import CryptoError
from testnet.keyring import open_signing_key

Assay = Callable[..., Any]
ED25519 = Mechanism(name="ed25519")


def test_a_new_key_is_private_and_shown_without_its_secret(assay: Assay, tmp_path: Path) -> None:
    path = tmp_path / "alice.json"
    done = assay("keys", "new", "-o", path, "--json")
    assert done.code == 0
    facts = done.json
    assert (facts["purpose"], facts["scheme"], facts["store"]) == ("client", "ed25519", "plain")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    seed = json.loads(path.read_text())["secret"]["seed"]
    shown = assay("keys", "show", path)
    assert facts["public_key"] in shown.out
    assert seed not in shown.out + done.out
    assert open_signing_key(path, ED25519).public_key.hex() == facts["public_key"]


def test_two_keys_differ(assay: Assay, tmp_path: Path) -> None:
    made = [assay("keys", "new", "-o", tmp_path / name, "--json").json for name in ("a", "b")]
    assert made[0]["public_key"] != made[1]["public_key"]


def test_a_key_file_is_not_overwritten(assay: Assay, tmp_path: Path) -> None:
    path = tmp_path / "alice.json"
    assert assay("keys", "new", "-o", path).code == 0
    before = path.read_bytes()
    again = assay("keys", "new", "-o", path)
    assert again.code == 3
    assert "exists already" in again.err
    assert path.read_bytes() == before


@pytest.mark.parametrize("purpose", ["validator", "channel"])
def test_keys_for_nodes_are_made_too(assay: Assay, tmp_path: Path, purpose: str) -> None:
    done = assay("keys", "new", "-o", tmp_path / "key.json", "--purpose", purpose, "--json")
    assert done.json["purpose"] == purpose
    assert len(bytes.fromhex(done.json["public_key"])) == 32


@pytest.mark.parametrize(
    ("words", "hint"),
    [(["--purpose", "admin"], "validator"), (["--scheme", "ed2551"], "ed25519")],
)
def test_wrong_words_are_2_with_the_choices(
    assay: Assay, tmp_path: Path, words: list[str], hint: str
) -> None:
    done = assay("keys", "new", "-o", tmp_path / "key.json", *words)
    assert done.code == 2
    assert hint in done.err
    assert not (tmp_path / "key.json").exists()


def test_an_encrypted_key_opens_with_its_password_only(assay: Assay, tmp_path: Path) -> None:
    password = tmp_path / "password"
    password.touch(mode=0o600)
    password.write_text("correct horse\n")
    path = tmp_path / "alice.json"
    done = assay("keys", "new", "-o", path, "--password-file", password, "--json")
    assert done.json["store"] == "encrypted"
    opened = open_signing_key(path, ED25519, password=b"correct horse")
    assert opened.public_key.hex() == done.json["public_key"]
    with pytest.raises(CryptoError, match="password"):
        open_signing_key(path, ED25519, password=b"wrong horse")
    with pytest.raises(CryptoError, match="password is needed"):
        open_signing_key(path, ED25519)


def test_a_file_that_is_no_key_is_3(assay: Assay, tmp_path: Path) -> None:
    path = tmp_path / "none.json"
    path.touch(mode=0o600)
    path.write_text("{}")
    done = assay("keys", "show", path)
    assert done.code == 3
    assert "not a key file" in done.err
