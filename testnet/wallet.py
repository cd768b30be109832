"""Signs transactions for one client of one network."""

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from crypto.encoding import encode
from crypto.genesis import Genesis, digest, from_json
from crypto.interface import Digest, Hash, PublicKey, SigningKey
from crypto.transaction import (
    NONCE_MAX,
    Argument,
    SignedTransaction,
    Transaction,
    transaction_id,
    transaction_statement,
)
from testnet.chosen import hash_of
from testnet.keyring import open_signing_key

LIFETIME = 1000
"""Heights above the current one after which a transaction is void, unless said otherwise."""


@dataclass(frozen=True, slots=True)
class Signed:
    """A transaction that is ready to be sent."""

    id: Digest
    raw: bytes
    """The canonical signed encoding."""


class Wallet:
    """One client key on one network. Never shows its secret."""

    def __init__(self, chain: str, genesis: Digest, hash_: Hash, key: SigningKey) -> None:
        self._chain = chain
        self._genesis = genesis
        self._hash = hash_
        self._key = key

    @classmethod
    def load(cls, genesis_file: Path, key_file: Path, password: bytes | None = None) -> Self:
        """From files. Raises `KeyFileError`, or a `CryptoError` that names the file."""
        genesis = from_json(genesis_file.read_bytes())
        return cls.of(genesis, key_file, password)

    @classmethod
    def of(cls, genesis: Genesis, key_file: Path, password: bytes | None = None) -> Self:
        """The key of a file, on the network of `genesis`."""
        key = open_signing_key(
            key_file, genesis.client_signature, lab=genesis.lab, password=password
        )
        return cls(genesis.chain, digest(genesis), hash_of(genesis), key)

    @property
    def public_key(self) -> PublicKey:
        return self._key.public_key

    def sign(
        self, method: str, *arguments: Argument, expiry: int, nonce: int | None = None
    ) -> Signed:
        """Sign a call of `method` that is void above height `expiry`.

        Without a nonce a random one is drawn: the same call twice is then two transactions.
        """
        transaction = Transaction(
            chain=self._chain,
            sender=self._key.public_key,
            nonce=secrets.randbelow(NONCE_MAX + 1) if nonce is None else nonce,
            expiry=expiry,
            method=method,
            arguments=arguments,
        )
        identity = transaction_id(transaction, self._hash)
        signature = self._key.sign(transaction_statement(identity, self._genesis))
        return Signed(identity, encode(SignedTransaction(transaction, signature)))
