"""A key file under a password: Argon2id (RFC 9106) and XSalsa20-Poly1305 (NaCl secretbox).

The public key is sealed together with the secret, so that a file cannot be given another public
half. The work factors stand in the file and are bounded when it is read.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
from msgspec import Meta
from nacl import exceptions
from nacl.pwhash import argon2id
from nacl.secret import SecretBox

from crypto.encoding import Codec, Malformed, Record, encode
from crypto.keys import InvalidKeyFile, KeyStore, KeyStoreClaims, Secret, WrongPassword

CLAIMS = KeyStoreClaims(source="RFC 9106; NaCl secretbox", encrypted=True)

OPS_MAX = 16
_MIB = 1024 * 1024
MEMORY_BYTES_MAX = 1024 * _MIB
PASSWORD_BYTES_MIN = 8
_CONTENT_BYTES_MAX = 64 * 1024
_NOT_ENCRYPTED = "the key file's secret is not in the encrypted form"


@dataclass(frozen=True, slots=True)
class Options:
    """Work factors for new files: libsodium's `moderate` by default, about half a second."""

    ops: int = 3
    memory_mib: int = 256

    def __post_init__(self) -> None:
        if not (1 <= self.ops <= OPS_MAX and 1 <= self.memory_mib * _MIB <= MEMORY_BYTES_MAX):
            raise ValueError(
                f"ops is from 1 to {OPS_MAX}, memory_mib from 1 to {MEMORY_BYTES_MAX // _MIB}: "
                "what is beyond could not be opened again"
            )


class _Sealed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    kdf: Literal["argon2id"]
    ops: int
    memory_bytes: int
    salt: str
    nonce: str
    ciphertext: str


class _Content(Record, frozen=True):
    public_key: Annotated[bytes, Meta(max_length=_CONTENT_BYTES_MAX)]
    seed: Annotated[bytes, Meta(max_length=_CONTENT_BYTES_MAX)]

    def __repr__(self) -> str:
        return "content of a key file"


_contents: Codec[_Content] = Codec(_Content, bytes_max=2 * _CONTENT_BYTES_MAX)


@dataclass(frozen=True, slots=True)
class _Encrypted:
    options: Options
    _password: bytes
    _entropy: Callable[[int], bytes]

    def __repr__(self) -> str:
        return "encrypted key store"

    def seal(self, secret: Secret, public_key: bytes) -> dict[str, str | int]:
        salt = self._entropy(argon2id.SALTBYTES)
        nonce = self._entropy(SecretBox.NONCE_SIZE)
        memory = self.options.memory_mib * _MIB
        box = self._box(salt, self.options.ops, memory)
        sealed = box.encrypt(encode(_Content(public_key, secret.seed)), nonce).ciphertext
        return {
            "kdf": "argon2id",
            "ops": self.options.ops,
            "memory_bytes": memory,
            "salt": salt.hex(),
            "nonce": nonce.hex(),
            "ciphertext": sealed.hex(),
        }

    def open(self, sealed: dict[str, str | int], public_key: bytes) -> Secret:
        try:
            form = msgspec.convert(sealed, _Sealed)
            salt, nonce, ciphertext = map(bytes.fromhex, (form.salt, form.nonce, form.ciphertext))
        except (msgspec.ValidationError, ValueError):
            raise InvalidKeyFile(_NOT_ENCRYPTED) from None
        if len(salt) != argon2id.SALTBYTES or len(nonce) != SecretBox.NONCE_SIZE:
            raise InvalidKeyFile(_NOT_ENCRYPTED)
        ops, memory = form.ops, form.memory_bytes
        if not (1 <= ops <= OPS_MAX and argon2id.MEMLIMIT_MIN <= memory <= MEMORY_BYTES_MAX):
            raise InvalidKeyFile(
                f"the key file asks for {ops} passes over {memory} bytes; at most {OPS_MAX} "
                f"passes over {MEMORY_BYTES_MAX} bytes are done"
            )
        box = self._box(salt, ops, memory)
        try:
            content = _contents.decode(box.decrypt(ciphertext, nonce))
        except (exceptions.CryptoError, Malformed):
            raise WrongPassword("wrong password, or the key file was changed") from None
        if content.public_key != public_key:
            raise InvalidKeyFile("the key file's public key was changed")
        return Secret(content.seed)

    def _box(self, salt: bytes, ops: int, memory: int) -> SecretBox:
        try:
            key = argon2id.kdf(SecretBox.KEY_SIZE, self._password, salt, ops, memory)
        except exceptions.CryptoError:
            raise InvalidKeyFile(
                f"{memory} bytes of memory for the password are not free"
            ) from None
        return SecretBox(key)


def create(options: Options, password: bytes, entropy: Callable[[int], bytes]) -> KeyStore:
    """`entropy(n)` gives n secret random bytes. Raises `InvalidKeyFile` for a weak password."""
    if len(password) < PASSWORD_BYTES_MIN:
        raise InvalidKeyFile(f"a password has at least {PASSWORD_BYTES_MIN} bytes")
    return _Encrypted(options, password, entropy)
