"""Key files: a private key as bytes of a file, plain or encrypted. Bytes in, bytes out.

Writing and reading the file (mode 0600) is `node.keyfiles`; how the secret is protected is the
key store's. The public half stands in clear, so that a key can be told without its password.
"""

import json
from dataclasses import dataclass, field
from typing import NoReturn, Protocol

import msgspec

from crypto.interface import CryptoError

FORMAT = 1
PURPOSES = ("validator", "client", "channel")


class InvalidKeyFile(CryptoError):
    """The bytes are no key file that can be used here. Holds no secret."""


class WrongPassword(InvalidKeyFile):
    """The password does not open this key file."""


@dataclass(frozen=True, slots=True)
class Secret:
    """A private key's seed. Has no repr and does not pickle."""

    seed: bytes = field(repr=False)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a secret is not pickled")


@dataclass(frozen=True, slots=True)
class KeyFile:
    """What a key file says in clear, and its sealed secret."""

    purpose: str
    scheme: str
    """The signature scheme, or `x25519` for a channel key."""
    public_key: bytes
    store: str
    """The key store that sealed it."""
    sealed: dict[str, str | int] = field(repr=False)


class KeyStore(Protocol):
    """How the secret is protected at rest."""

    def seal(self, secret: Secret, public_key: bytes) -> dict[str, str | int]: ...

    def open(self, sealed: dict[str, str | int], public_key: bytes) -> Secret:
        """Raises `InvalidKeyFile` or `WrongPassword`."""
        ...


@dataclass(frozen=True, slots=True)
class KeyStoreClaims:
    """What a key store promises."""

    source: str
    encrypted: bool


class _Version(msgspec.Struct, frozen=True):
    format: int


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: int
    purpose: str
    scheme: str
    public_key: str
    store: str
    secret: dict[str, str | int]

    def __repr__(self) -> str:
        return "key file"


def render(key: KeyFile) -> bytes:
    """The file."""
    values = {
        "format": FORMAT,
        "purpose": key.purpose,
        "scheme": key.scheme,
        "public_key": key.public_key.hex(),
        "store": key.store,
        "secret": key.sealed,
    }
    return json.dumps(values, indent=2).encode() + b"\n"


def parse(raw: bytes) -> KeyFile:
    """Read a key file; the secret stays sealed. Raises `InvalidKeyFile`."""
    try:
        version = msgspec.json.decode(raw, type=_Version).format
        if version != FORMAT:
            raise InvalidKeyFile(f"key file of format {version}; this version knows {FORMAT}")
        file = msgspec.json.decode(raw, type=_File)
        public_key = bytes.fromhex(file.public_key)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        # Why no reason: it could quote what stands in the file.
        raise InvalidKeyFile("not a key file") from None
    if file.purpose not in PURPOSES:
        raise InvalidKeyFile(f"purpose {file.purpose!r}: there are {', '.join(PURPOSES)}")
    return KeyFile(file.purpose, file.scheme, public_key, file.store, dict(file.secret))
