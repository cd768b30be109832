"""The mechanisms that a genesis names, made: what signing and verifying need, and no more."""

from typing import Any

from crypto.genesis import Genesis, Mechanism
from crypto.interface import Hash, SignatureScheme
from mechanisms.registry import Kind, load, options


def make(kind: Kind, mechanism: Mechanism, *, lab: bool) -> Any:  # noqa: ANN401 - each kind its own
    """The mechanism with its options. Raises `MechanismError`."""
    found = load(kind, mechanism.name, lab=lab)
    return found.create(options(found, mechanism.options))


def hash_of(genesis: Genesis) -> Hash:
    made: Hash = make(Kind.HASH, genesis.hash, lab=genesis.lab)
    return made


def client_scheme(genesis: Genesis) -> SignatureScheme:
    made: SignatureScheme = make(Kind.SIGNATURE, genesis.client_signature, lab=genesis.lab)
    return made


def validator_scheme(genesis: Genesis) -> SignatureScheme:
    made: SignatureScheme = make(Kind.SIGNATURE, genesis.validator_signature, lab=genesis.lab)
    return made
