"""`assay keys`: make a key file, and show the public half of one."""

# ruff: noqa: PLC0415 - each command imports what it needs
# ruff: noqa: D301 - \b keeps lines of examples apart

from pathlib import Path
from typing import Annotated

import typer

from cli.options import Json, group
from cli.output import ExitCode, Output, Stop

app = group("Key files: make one, show its public half.")


@app.command()
def new(
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="A new file.")],
    purpose: Annotated[
        str, typer.Option("--purpose", help="client, validator or channel.")
    ] = "client",
    scheme: Annotated[
        str | None,
        typer.Option("--scheme", help="Signature scheme (ed25519), or channel (noise_xx)."),
    ] = None,
    password_file: Annotated[
        Path | None,
        typer.Option("--password-file", metavar="FILE", help="Encrypt with its first line."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a key and write it to a new file that only you can read.

    \b
    Example:
      assay keys new -o alice.json
    """
    from cli.password import read_password
    from crypto.genesis import Genesis, Mechanism
    from crypto.keys import PURPOSES
    from node.keyfiles import write_private
    from testnet.keyring import new_channel_key, new_signing_key

    if purpose not in PURPOSES:
        text = f"--purpose {purpose}: choose {', '.join(PURPOSES)}"
        raise Stop(text, ExitCode.WRONG_USE, word="wrong_use")
    defaults = Genesis(chain="defaults", created_ms=0, validators=())
    password = read_password(password_file)
    if purpose == "channel":
        channel = Mechanism(name=scheme) if scheme else defaults.channel
        key = new_channel_key(channel, password=password)
    else:
        signature = Mechanism(name=scheme) if scheme else defaults.client_signature
        key = new_signing_key(purpose, signature, password=password)
    write_private(output, key.file)
    _show(output, Output(as_json=as_json))


@app.command()
def show(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A key file.")],
    as_json: Json = False,
) -> None:
    """Show what a key file says in clear; never its secret.

    \b
    Example:
      assay keys show alice.json
    """
    _show(file, Output(as_json=as_json))


def _show(file: Path, out: Output) -> None:
    from testnet.keyring import read

    key = read(file)
    facts = {
        "file": str(file),
        "purpose": key.purpose,
        "scheme": key.scheme,
        "store": key.store,
        "public_key": key.public_key.hex(),
    }
    for name, value in facts.items():
        out.say(f"{name:<10} {value}")
    out.give(facts)
