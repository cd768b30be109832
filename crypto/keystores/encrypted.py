"""A key file under a password: Argon2id (RFC 9106) and XSalsa20-Poly1305 (NaCl secretbox).

The public key is authenticated together with the secret, so that a file cannot be given another
public half. The work factors stand in the file and are bounded when it is read.
"""

from collections.abc import Callable
from dataclasses import dataclass

from nacl import exceptions
from nacl.pwhash import argon2id
from nacl.secret import SecretBox

from crypto.keys import InvalidKeyFile, KeyStore, KeyStoreClaims, Secret, WrongPassword

CLAIMS = KeyStoreClaims(source="RFC 9106; NaCl secretbox", encrypted=True)

OPS_MAX = 16
MEMORY_BYTES_MAX = 1024 * 1024 * 1024
PASSWORD_BYTES_MIN = 8


@dataclass(frozen=True, slots=True)
class Options:
    """Work factors for new files: libsodium's `moderate` by default, about half a second."""

    ops: int = 3
    memory_mib: int = 256


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
        memory = self.options.memory_mib * 1024 * 1024
        box = self._box(salt, self.options.ops, memory)
        sealed = box.encrypt(public_key + secret.seed, nonce).ciphertext
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
            ops, memory = int(sealed["ops"]), int(sealed["memory_bytes"])
            salt, nonce, ciphertext = (
                bytes.fromhex(str(sealed[name])) for name in ("salt", "nonce", "ciphertext")
            )
            known = sealed["kdf"] == "argon2id" and len(salt) == argon2id.SALTBYTES
        except (KeyError, ValueError):
            raise InvalidKeyFile("the key file's secret is not in the encrypted form") from None
        if not known or len(nonce) != SecretBox.NONCE_SIZE:
            raise InvalidKeyFile("the key file's secret is not in the encrypted form")
        if not (1 <= ops <= OPS_MAX and argon2id.MEMLIMIT_MIN <= memory <= MEMORY_BYTES_MAX):
            raise InvalidKeyFile(
                f"the key file asks for {ops} passes over {memory} bytes; at most {OPS_MAX} "
                f"passes over {MEMORY_BYTES_MAX} bytes are done"
            )
        try:
            opened = self._box(salt, ops, memory).decrypt(ciphertext, nonce)
        except exceptions.CryptoError:
            raise WrongPassword("wrong password, or the key file was changed") from None
        if not opened.startswith(public_key):
            raise InvalidKeyFile("the key file's public key was changed")
        return Secret(opened[len(public_key) :])

    def _box(self, salt: bytes, ops: int, memory: int) -> SecretBox:
        key = argon2id.kdf(SecretBox.KEY_SIZE, self._password, salt, ops, memory)
        return SecretBox(key)


def create(options: Options, password: bytes, entropy: Callable[[int], bytes]) -> KeyStore:
    """`entropy(n)` gives n secret random bytes. Raises `InvalidKeyFile` for a weak password."""
    if len(password) < PASSWORD_BYTES_MIN:
        raise InvalidKeyFile(f"a password has at least {PASSWORD_BYTES_MIN} bytes")
    return _Encrypted(options, password, entropy)
