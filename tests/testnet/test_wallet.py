from pathlib import Path

import pytest
from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from crypto.genesis import digest, from_json
from crypto.interface import CryptoError
from crypto.transaction import (
    NONCE_MAX,
    signed_transactions,
    transaction_id,
    transaction_statement,
)
from node.keyfiles import KeyFileError
from testnet.chosen import hash_of
from testnet.network import Testnet
from testnet.wallet import Wallet


def test_what_is_signed_is_what_the_ledger_checks(made: Testnet) -> None:
    genesis = from_json(made.genesis_file.read_bytes())
    signed = made.wallet().sign("kv.set", "colour", "blue", expiry=7, nonce=3)
    decoded = signed_transactions.decode(signed.raw)
    transaction = decoded.transaction
    assert transaction.chain == genesis.chain
    assert transaction.method == "kv.set"
    assert transaction.arguments == ("colour", "blue")
    assert (transaction.nonce, transaction.expiry) == (3, 7)
    assert transaction_id(transaction, hash_of(genesis)) == signed.id
    # An independent verifier agrees.
    statement = transaction_statement(signed.id, digest(genesis))
    VerifyKey(transaction.sender).verify(statement, decoded.signature)
    with pytest.raises(BadSignatureError):
        VerifyKey(transaction.sender).verify(statement + b"x", decoded.signature)


def test_the_same_call_twice_is_two_transactions_unless_the_nonce_is_given(made: Testnet) -> None:
    wallet = made.wallet()
    ids = {wallet.sign("kv.set", "a", "b", expiry=1).id for _ in range(20)}
    assert len(ids) == 20
    again = {wallet.sign("kv.set", "a", "b", expiry=1, nonce=5).id for _ in range(2)}
    assert len(again) == 1


def test_nonces_stay_within_their_limit(made: Testnet) -> None:
    wallet = made.wallet()
    for _ in range(50):
        raw = wallet.sign("kv.set", "a", "b", expiry=1).raw
        assert 0 <= signed_transactions.decode(raw).transaction.nonce <= NONCE_MAX


def test_a_wallet_does_not_show_its_secret(made: Testnet) -> None:
    path = made.directory / made.manifest.clients[0].key
    seed = path.read_text().split('"seed": "')[1][:64]
    assert seed not in repr(made.wallet())
    assert seed not in repr(vars(made.wallet()))


def test_a_key_file_that_others_can_read_is_refused(made: Testnet, tmp_path: Path) -> None:
    copy = tmp_path / "key.json"
    copy.write_bytes((made.directory / made.manifest.clients[0].key).read_bytes())
    copy.chmod(0o644)
    with pytest.raises(KeyFileError, match="chmod 600"):
        Wallet.load(made.genesis_file, copy)
    copy.chmod(0o600)
    assert Wallet.load(made.genesis_file, copy).public_key == made.wallet().public_key


def test_a_key_of_another_scheme_and_a_damaged_one_are_refused(
    made: Testnet, tmp_path: Path
) -> None:
    good = (made.directory / made.manifest.clients[0].key).read_text()
    other = made.manifest.clients[1].public_key
    for number, damaged in enumerate(
        (
            "{}",
            good.replace("ed25519", "ecdsa_p256"),
            good.replace(made.manifest.clients[0].public_key, other),
        )
    ):
        path = tmp_path / f"{number}.json"
        path.touch(mode=0o600)
        path.write_text(damaged)
        with pytest.raises(CryptoError, match=path.name):
            Wallet.load(made.genesis_file, path)
