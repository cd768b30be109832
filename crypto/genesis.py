"""The genesis file: what all nodes of a network must share, and the root of all trust in it.

The file is JSON for people; its digest is SHA-256 over the canonical encoding of what it says, so
spaces and the order of keys do not matter. (The hash is fixed here, for it is chosen inside.)
"""

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Annotated, NoReturn

import msgspec
from msgspec import Meta

from crypto.certificate import VALIDATORS_MAX
from crypto.encoding import encode
from crypto.interface import CryptoError, Digest, PublicKey
from crypto.quorum import FaultModel, quorum
from crypto.transaction import NONCE_MAX, TRANSACTION_BYTES_MAX

FORMAT = 1
GENESIS_BYTES_MAX = 8 * 1024 * 1024
CLIENTS_MAX = 100_000
DEPTH_MAX = 8

_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")
_MECHANISM = re.compile(r"[a-z][a-z0-9_]{0,63}")
_CHAIN = re.compile(r"[a-z][a-z0-9-]{0,63}")
_KEY = re.compile(r"([0-9a-f]{2}){1,8192}")

_MECHANISM_FIELDS = (
    "consensus", "leader", "validator_signature", "client_signature", "hash", "channel",
    "commitment",
)  # fmt: skip

Positive = Annotated[int, Meta(ge=1, le=NONCE_MAX)]


class InvalidGenesis(CryptoError):
    """The genesis file cannot be used. The message names the field."""


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class Validator(_Section, frozen=True, kw_only=True):
    name: str
    public_key: PublicKey
    """Of the scheme `validator_signature`. As bytes here, as hexadecimal digits in the file."""
    channel_key: bytes


class Mechanism(_Section, frozen=True, kw_only=True):
    """A mechanism by its name, with options: whole numbers, texts, truth values, lists, objects."""

    name: str
    options: dict[str, object] = {}


class Limits(_Section, frozen=True, kw_only=True):
    block_transactions_max: Annotated[int, Meta(ge=1, le=100_000)] = 2_000
    block_bytes_max: Annotated[int, Meta(ge=128 * 1024, le=4 * 1024 * 1024)] = 2 * 1024 * 1024
    transaction_bytes_max: Annotated[int, Meta(ge=256, le=TRANSACTION_BYTES_MAX)] = 16 * 1024
    transaction_lifetime_max: Positive = 100_000
    """Heights between now and a transaction's expiry, at most."""


class Genesis(_Section, frozen=True, kw_only=True):
    """All that is agreed. Two that differ in anything have different digests."""

    format: int = FORMAT
    chain: str
    created_ms: Annotated[int, Meta(ge=0, le=NONCE_MAX)]
    lab: bool = False
    """Whether mechanisms that are insecure on purpose may be used."""
    validators: tuple[Validator, ...]
    clients: tuple[PublicKey, ...] = ()
    """Keys that may submit transactions."""
    open_lab: bool = False
    """Anybody may submit; the client list is ignored."""
    consensus: Mechanism = Mechanism(name="pbft")
    fault_model: FaultModel = FaultModel.BYZANTINE
    """Of the consensus protocol, as it claims: how many attestations certify a header follows."""
    leader: Mechanism = Mechanism(name="sticky")
    validator_signature: Mechanism = Mechanism(name="ed25519")
    client_signature: Mechanism = Mechanism(name="ed25519")
    hash: Mechanism = Mechanism(name="sha256")
    channel: Mechanism = Mechanism(name="noise_xx")
    commitment: Mechanism = Mechanism(name="flat")
    applications: tuple[Mechanism, ...] = (Mechanism(name="kv"), Mechanism(name="payments"))
    limits: Limits = Limits()

    @property
    def quorum(self) -> int:
        """How many validators certify a header."""
        return quorum(len(self.validators), self.fault_model)


def digest(genesis: Genesis) -> Digest:
    """What names the network: bound into every handshake and every signature."""
    # Maps are encoded as maps, their keys sorted: as lists of pairs they would be confused with
    # options that are lists of pairs.
    values = msgspec.to_builtins(genesis, builtin_types=(bytes,))
    return Digest(hashlib.sha256(encode(values)).digest())


def committee_digest(genesis: Genesis) -> Digest:
    """Epoch 0's committee: names and keys, in order. By SHA-256, as the genesis digest."""
    members = [[item.name, item.public_key] for item in genesis.validators]
    return Digest(hashlib.sha256(encode([0, members])).digest())


def to_json(genesis: Genesis) -> bytes:
    """The file, indented, with a line end."""
    values = msgspec.to_builtins(genesis, builtin_types=(bytes,))
    text = json.dumps(_shown(values), indent=2, ensure_ascii=False)
    return text.encode() + b"\n"


def from_json(raw: bytes) -> Genesis:
    """Read a genesis file. Raises `InvalidGenesis`."""
    if len(raw) > GENESIS_BYTES_MAX:
        raise InvalidGenesis(f"{len(raw)} bytes; at most {GENESIS_BYTES_MAX} are allowed")
    try:
        values = json.loads(
            raw.decode(),
            object_pairs_hook=_unique,
            parse_float=_no_fraction,
            parse_constant=_no_fraction,
        )
    except (ValueError, RecursionError) as error:
        raise InvalidGenesis(f"not a genesis file: {error}") from None
    try:
        genesis = msgspec.convert(_unhex(values), Genesis)
    except msgspec.ValidationError as error:
        raise InvalidGenesis(str(error)) from None
    validate(genesis)
    return genesis


def validate(genesis: Genesis) -> None:
    """What the types do not say. Raises `InvalidGenesis`."""
    if genesis.format != FORMAT:
        raise InvalidGenesis(f"format {genesis.format}; this version knows format {FORMAT}")
    if not _CHAIN.fullmatch(genesis.chain):
        raise InvalidGenesis("chain: lower-case letters, digits and dashes, at most 64")
    if not 1 <= len(genesis.validators) <= VALIDATORS_MAX:
        raise InvalidGenesis(f"validators: from 1 to {VALIDATORS_MAX}")
    if len(genesis.clients) > CLIENTS_MAX:
        raise InvalidGenesis(f"clients: at most {CLIENTS_MAX}")
    for item in genesis.validators:
        if not _NAME.fullmatch(item.name):
            raise InvalidGenesis(
                f"validators: the name {item.name!r} is not 1 to 32 lower-case letters, digits "
                "and dashes, beginning with a letter"
            )
    _distinct("validators: name", [item.name for item in genesis.validators])
    _distinct("validators: public_key", [item.public_key for item in genesis.validators])
    _distinct("validators: channel_key", [item.channel_key for item in genesis.validators])
    _distinct("clients", genesis.clients)
    _distinct("applications", [item.name for item in genesis.applications])
    for field in _MECHANISM_FIELDS:
        _check_mechanism(field, getattr(genesis, field))
    for application in genesis.applications:
        _check_mechanism("applications", application)
    if genesis.open_lab and not genesis.lab:
        raise InvalidGenesis("open_lab lets anybody write; it needs lab = true")


def _distinct(field: str, values: Sequence[object]) -> None:
    if len(set(values)) < len(values):
        raise InvalidGenesis(f"{field}: the same value stands there twice")


def _shown(value: object) -> object:
    """Bytes as hexadecimal digits."""
    match value:
        case bytes():
            return value.hex()
        case dict():
            return {key: _shown(item) for key, item in value.items()}
        case list() | tuple():
            return [_shown(item) for item in value]
        case _:
            return value


def _unhex(values: object) -> object:
    if not isinstance(values, dict):
        return values
    converted = dict(values)
    if isinstance(values.get("validators"), list):
        converted["validators"] = [
            {
                key: _key(f"validators: {key}", item[key]) if key.endswith("_key") else item[key]
                for key in item
            }
            if isinstance(item, dict)
            else item
            for item in values["validators"]
        ]
    if isinstance(values.get("clients"), list):
        converted["clients"] = [_key("clients", item) for item in values["clients"]]
    return converted


def _key(field: str, value: object) -> bytes:
    if not isinstance(value, str) or not _KEY.fullmatch(value):
        raise InvalidGenesis(f"{field}: a key is written as lower-case hexadecimal digits")
    return bytes.fromhex(value)


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a key stands twice in one object")
    return values


def _no_fraction(text: str) -> NoReturn:
    raise ValueError(f"{text}: only whole numbers are allowed")


def _check_mechanism(field: str, mechanism: Mechanism) -> None:
    if not _MECHANISM.fullmatch(mechanism.name):
        raise InvalidGenesis(
            f"{field}: the name {mechanism.name!r} is not 1 to 64 lower-case letters, digits and "
            "underscores, beginning with a letter"
        )
    for name, value in mechanism.options.items():
        _check_text(field, name)
        _check_option(f"{field}: option {name}", value)


def _check_option(field: str, value: object, depth: int = 1) -> None:
    if depth > DEPTH_MAX:
        raise InvalidGenesis(f"{field}: nested deeper than {DEPTH_MAX}")
    match value:
        case bool():
            return
        case int():
            if not 0 <= value <= NONCE_MAX:
                raise InvalidGenesis(f"{field}: {value}: numbers are from 0 to 2**63 - 1")
        case str():
            _check_text(field, value)
        case dict():
            for key, item in value.items():
                _check_text(field, key)
                _check_option(field, item, depth + 1)
        case list() | tuple():
            for item in value:
                _check_option(field, item, depth + 1)
        case _:
            raise InvalidGenesis(
                f"{field}: {value!r}: an option is a whole number, a text, a truth value, or "
                "lists or objects of these"
            )


def _check_text(field: str, text: object) -> None:
    """JSON can write half a character (a lone surrogate), which has no bytes to be hashed."""
    try:
        assert isinstance(text, str), text
        text.encode()
    except UnicodeEncodeError:
        raise InvalidGenesis(f"{field}: {text!r} is not a text in Unicode") from None
