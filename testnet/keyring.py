"""Makes and opens key files: of validators, clients and channels."""

import secrets
from dataclasses import dataclass
from pathlib import Path

from crypto.genesis import Mechanism
from crypto.interface import SignatureScheme, SigningKey
from crypto.keys import InvalidKeyFile, KeyFile, KeyStore, Secret, parse, render
from mechanisms.registry import Kind, load, options
from node.keyfiles import read_private
from testnet.chosen import make

CHANNEL_SCHEME = "x25519"
CHANNEL_SEED_BYTES = 32
PLAIN, ENCRYPTED = "plain", "encrypted"


@dataclass(frozen=True, slots=True)
class NewKey:
    """A fresh key: its public half, and its file as bytes."""

    public_key: bytes
    file: bytes


def new_signing_key(
    purpose: str, mechanism: Mechanism, *, lab: bool = False, password: bytes | None = None
) -> NewKey:
    """A validator's or a client's key. Raises `MechanismError`, `InvalidKeyFile`."""
    scheme: SignatureScheme = make(Kind.SIGNATURE, mechanism, lab=lab)
    seed = secrets.token_bytes(scheme.seed_bytes)
    public_key = scheme.key_from_seed(seed).public_key
    return NewKey(public_key, _sealed(purpose, mechanism.name, public_key, seed, password))


def new_channel_key(
    channel: Mechanism, *, lab: bool = False, password: bytes | None = None
) -> NewKey:
    """The static key of a node on the peer channel."""
    seed = secrets.token_bytes(CHANNEL_SEED_BYTES)
    public_key = bytes(load(Kind.CHANNEL, channel.name, lab=lab).module.public_key(seed))
    return NewKey(public_key, _sealed("channel", CHANNEL_SCHEME, public_key, seed, password))


def read(path: Path) -> KeyFile:
    """A key file, its secret still sealed. Raises `KeyFileError`, `InvalidKeyFile`."""
    try:
        return parse(read_private(path))
    except InvalidKeyFile as error:
        raise InvalidKeyFile(f"{path}: {error}") from None


def open_signing_key(
    path: Path, mechanism: Mechanism, *, lab: bool = False, password: bytes | None = None
) -> SigningKey:
    """The key of a file, if it is one of this scheme and its halves fit each other."""
    key = read(path)
    if key.scheme != mechanism.name:
        raise InvalidKeyFile(
            f"{path} holds a key of {key.scheme}; this network's is {mechanism.name}"
        )
    if key.store != PLAIN and password is None:
        raise InvalidKeyFile(f"{path} is encrypted: a password is needed (--password-file)")
    scheme: SignatureScheme = make(Kind.SIGNATURE, mechanism, lab=lab)
    secret = _store(key.store, password).open(key.sealed, key.public_key)
    signing = scheme.key_from_seed(secret.seed)
    if signing.public_key != key.public_key:
        raise InvalidKeyFile(f"{path}: its public key does not belong to its secret")
    return signing


def _sealed(
    purpose: str, scheme: str, public_key: bytes, seed: bytes, password: bytes | None
) -> bytes:
    store = PLAIN if password is None else ENCRYPTED
    sealed = _store(store, password).seal(Secret(seed), public_key)
    return render(KeyFile(purpose, scheme, public_key, store, sealed))


def _store(name: str, password: bytes | None) -> KeyStore:
    found = load(Kind.KEY_STORE, name, lab=False)
    made: KeyStore = found.create(options(found, {}), password or b"", secrets.token_bytes)
    return made
