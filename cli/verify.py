"""`assay verify`: check a proof with nothing but the genesis file. No node, no network.

Imports `crypto` and the named mechanisms only; a test looks at what was loaded.
"""

# ruff: noqa: PLC0415 - each command imports what it needs
# ruff: noqa: D301 - \b keeps lines of examples apart

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import Json
from cli.output import ExitCode, Output, Stop

if TYPE_CHECKING:
    from crypto.bundle import Verified

FILE_BYTES_MAX = 64 * 1024 * 1024


def verify(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="From `assay tx proof`.")],
    genesis: Annotated[
        Path, typer.Option("--genesis", metavar="FILE", help="The network's genesis file.")
    ],
    as_json: Json = False,
) -> None:
    """Check offline that a transaction was accepted. Exit code 1, with the reason: it was not.

    \b
    Example:
      assay verify bundle.json --genesis demo/genesis.json
    """
    out = Output(as_json=as_json)
    proven = verified(bundle, genesis)
    facts = facts_of(proven)
    if not proven.accepted:
        text = f"the proof is sound, and it proves that the transaction was rejected: {proven.code}"
        raise Stop(text, ExitCode.NO, word="rejected", facts={"valid": True, **facts})
    words = " ".join(map(str, proven.arguments))
    out.say(f"Verified: {proven.method} {words}")
    out.say(f"  accepted at height {proven.height}, index {proven.index}")
    out.say(f"  id {proven.id.hex()}, signed by {proven.sender.hex()}")
    out.give({"valid": True, **facts})


def verified(bundle: Path, genesis: Path) -> "Verified":
    """What the bundle proves. Raises `Stop`: 1 if nothing, 3 if it cannot be found out."""
    from crypto.bundle import InvalidBundle, from_json, verify_bundle
    from crypto.genesis import InvalidGenesis
    from crypto.genesis import from_json as genesis_from_json
    from testnet.chosen import client_scheme, hash_of, validator_scheme

    try:
        agreed = genesis_from_json(_read(genesis))
    except InvalidGenesis as error:
        raise Stop(f"{genesis}: {error}", word="invalid_genesis") from None
    content = _read(bundle)
    try:
        return verify_bundle(
            from_json(content),
            agreed,
            hash_of(agreed),
            validator_scheme(agreed),
            client_scheme(agreed),
        )
    except InvalidBundle as error:
        text = f"not proven: {error}"
        raise Stop(text, ExitCode.NO, word="not_proven", facts={"valid": False}) from None


def facts_of(proven: "Verified") -> dict[str, object]:
    """What was proven, for `--json`."""
    return {
        "id": proven.id.hex(),
        "height": proven.height,
        "index": proven.index,
        "accepted": proven.accepted,
        "code": proven.code,
        "output": proven.output.hex(),
        "method": proven.method,
        "arguments": list(proven.arguments),
        "sender": proven.sender.hex(),
        "time_ms": proven.time_ms,
    }


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise Stop(f"{path}: {error.strerror}", word="file") from None
    if len(content) > FILE_BYTES_MAX:
        raise Stop(f"{path} is too long to be what it should be", word="file")
    return content
