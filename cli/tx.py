"""`assay tx`: submit transactions, look at them, fetch their proofs."""

# ruff: noqa: PLC0415 - each command imports what it needs
# ruff: noqa: D301 - \b keeps lines of examples apart

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.options import DirectoryOrNone, Json, group
from cli.output import ExitCode, Output, Stop

if TYPE_CHECKING:
    from testnet.wallet import Signed

app = group("Transactions: submit, get, and the proof that one was accepted.")

Url = Annotated[
    str | None, typer.Option("--url", metavar="URL", help="A node's API, instead of --dir.")
]
Identity = Annotated[str, typer.Argument(metavar="ID", help="A transaction's id, 64 hex digits.")]


@app.command()
def submit(
    method: Annotated[str, typer.Argument(metavar="APP.METHOD", help="As in kv.set.")],
    arguments: Annotated[list[str] | None, typer.Argument(metavar="ARGS...")] = None,
    directory: DirectoryOrNone = None,
    url: Url = None,
    key: Annotated[
        Path | None, typer.Option("--key", metavar="FILE", help="The client's key file.")
    ] = None,
    password_file: Annotated[
        Path | None,
        typer.Option("--password-file", metavar="FILE", help="Its first line opens the key."),
    ] = None,
    genesis: Annotated[
        Path | None,
        typer.Option("--genesis", metavar="FILE", help="The network's genesis, with --url."),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Until it is committed.")] = False,
    timeout: Annotated[float, typer.Option("--timeout", metavar="S", min=0.1, max=60)] = 30.0,
    nonce: Annotated[
        int | None, typer.Option("--nonce", min=0, help="Random if not given.")
    ] = None,
    expiry: Annotated[
        int | None, typer.Option("--expiry", min=1, help="Last height at which it may execute.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Sign a transaction and hand it to a node; with --wait, until it is committed.

    Exit code 1: it was refused, or committed with a receipt that says no. Write `--` before
    arguments that begin with a dash.

    \b
    Example:
      assay tx submit --dir demo --wait kv.set colour blue
    """
    from cli.network import client_for
    from cli.password import read_password
    from cli.signing import signed_call, wallet_for
    from testnet.errors import ApiError

    out = Output(as_json=as_json)
    wallet = wallet_for(directory, url, key, genesis, read_password(password_file))
    signer = signed_call(wallet, method, arguments or [])
    client, node = client_for(directory, url)
    with client:
        signed = signer(client, nonce, expiry)
        try:
            answer = client.submit(signed.raw, wait=wait, timeout_ms=round(timeout * 1000))
        except ApiError as error:
            raise _refusal(error, signed) from None
    _show_submission(answer, node, wait, timeout, out)


@app.command()
def get(
    identity: Identity, directory: DirectoryOrNone = None, url: Url = None, as_json: Json = False
) -> None:
    """Show what became of a transaction. Exit code 1: this node does not know it.

    \b
    Example:
      assay tx get 9f86…0a08 --dir demo
    """
    from cli.network import client_for

    out = Output(as_json=as_json)
    _check(identity)
    client, node = client_for(directory, url)
    with client:
        answer = _known(lambda: client.transaction(identity), identity, node)
    for name, value in _lines(answer):
        out.say(f"{name:<9} {value}")
    out.give(answer)


@app.command()
def proof(
    identity: Identity,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="Where the bundle goes.")
    ],
    directory: DirectoryOrNone = None,
    url: Url = None,
    as_json: Json = False,
) -> None:
    """Fetch the proof that a transaction was accepted, for `assay verify`.

    Exit code 1: there is no proof (yet).

    \b
    Example:
      assay tx proof 9f86…0a08 --dir demo -o bundle.json
    """
    from cli.network import client_for
    from testnet.manifest import write_atomically

    out = Output(as_json=as_json)
    _check(identity)
    client, node = client_for(directory, url)
    with client:
        bundle = _known(lambda: client.proof(identity), identity, node)
    write_atomically(output, bundle)
    out.say(f"{output}: {len(bundle)} bytes. Check it: assay verify {output} --genesis FILE")
    out.give({"id": identity, "file": str(output), "bytes": len(bundle), "node": node})


# --- Helpers. ---


def _show_submission(
    answer: dict[str, Any], node: str, wait: bool, timeout: float, out: Output
) -> None:
    answer = {**answer, "node": node}
    identity, state = answer["id"], answer["status"]
    if wait and state != "committed":
        text = f"{identity} was admitted by {node} and not committed within {timeout:g} s"
        raise Stop(text, word="not_in_time", facts=answer)
    if state != "committed":
        out.say(f"{identity} {state} by {node}")
        out.give(answer)
        return
    place = f"height {answer['height']}, index {answer['index']}"
    if answer["code"] != "ok":
        reason = answer.get("message") or answer["code"]
        text = f"{identity} was committed at {place} and rejected: {reason}"
        raise Stop(text, ExitCode.NO, word=str(answer["code"]), facts=answer)
    out.say(f"{identity} committed at {place}")
    out.give(answer)


def _refusal(error: Any, signed: "Signed") -> Stop:  # noqa: ANN401 - ApiError, imported late
    """The node said no (1), or could not say anything for now (3)."""
    code = ExitCode.FAILED if error.status in (408, 429) or error.status >= 500 else ExitCode.NO
    facts = {"id": signed.id.hex(), "status": "refused"}
    return Stop(f"refused: {error}", code, word=error.code, facts=facts)


def _known(ask: Any, identity: str, node: str) -> Any:  # noqa: ANN401 - whatever `ask` answers
    from testnet.errors import ApiError

    try:
        return ask()
    except ApiError as error:
        if error.status == 404:
            facts = {"id": identity, "status": "unknown", "node": node}
            raise Stop(f"{node}: {error}", ExitCode.NO, word=error.code, facts=facts) from None
        raise


def _check(identity: str) -> None:
    if len(identity) != 64 or any(digit not in "0123456789abcdef" for digit in identity):
        text = f"{identity!r} is no id: 64 hexadecimal digits in lower case"
        raise Stop(text, ExitCode.WRONG_USE, word="wrong_use")


def _lines(answer: dict[str, Any]) -> list[tuple[str, object]]:
    names = ("id", "status", "height", "index", "position", "code", "message")
    lines: list[tuple[str, object]] = [
        (name, answer[name]) for name in names if answer.get(name) is not None
    ]
    transaction = answer.get("transaction")
    if transaction:
        words = " ".join(map(str, transaction["arguments"]))
        lines += [("call", f"{transaction['method']} {words}"), ("sender", transaction["sender"])]
    return lines
