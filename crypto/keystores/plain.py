"""A key file that holds its secret in clear; protected by its file mode (0600) alone."""

from collections.abc import Callable
from dataclasses import dataclass

from crypto.keys import InvalidKeyFile, KeyStore, KeyStoreClaims, Secret

CLAIMS = KeyStoreClaims(source="file mode 0600 (POSIX.1)", encrypted=False)


@dataclass(frozen=True, slots=True)
class Options:
    """None."""


class _Plain:
    def seal(self, secret: Secret, public_key: bytes) -> dict[str, str | int]:  # noqa: ARG002 - the contract
        return {"seed": secret.seed.hex()}

    def open(self, sealed: dict[str, str | int], public_key: bytes) -> Secret:  # noqa: ARG002 - the contract
        seed = sealed.get("seed")
        try:
            if not isinstance(seed, str) or len(sealed) > 1:
                raise ValueError
            return Secret(bytes.fromhex(seed))
        except ValueError:
            raise InvalidKeyFile("the key file holds no readable secret") from None


def create(options: Options, password: bytes, entropy: Callable[[int], bytes]) -> KeyStore:  # noqa: ARG001 - the contract
    """Needs neither password nor randomness."""
    return _Plain()
