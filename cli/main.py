"""The `assay` command.

Each command imports what it needs when it runs, so that `assay verify` loads no node and
`assay --help` is quick. Exit codes: 0 done, 1 the answer is no, 2 wrong use, 3 could not be done.
What an operator did wrong is one or two lines, never a traceback; `--debug` shows it.
"""

# ruff: noqa: D301 - \b keeps lines of examples apart

# ruff: noqa: PLC0415 - each command imports what it needs

import json
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from typing import Annotated

import typer
from typer.exceptions import Abort, TyperException

from cli import bench, conformance, keys, node, sim, testnet, tx, verify
from cli.options import group
from cli.output import ExitCode, Stop

INTERRUPTED = 130
"""What shells expect of a command that Ctrl-C ended."""

EXIT_CODES: Mapping[str, ExitCode] = {
    "testnet.errors:WrongUse": ExitCode.WRONG_USE,
    "testnet.errors:NetworkError": ExitCode.FAILED,
    "node.config:ConfigError": ExitCode.FAILED,
    "node.home:HomeError": ExitCode.FAILED,
    "node.keyfiles:KeyFileError": ExitCode.FAILED,
    "mechanisms.registry:MechanismError": ExitCode.WRONG_USE,
    "storage.interface:StorageError": ExitCode.FAILED,
    "crypto.interface:CryptoError": ExitCode.FAILED,
    "benchmarks.figures:NothingMeasured": ExitCode.FAILED,
    "simulation.scenario:BadScenario": ExitCode.WRONG_USE,
}
"""Errors with a message for people. By name, so that nothing has to be imported for it."""

app = group("A permissioned ledger whose every mechanism can be replaced.")


def _tell(wanted: bool) -> None:
    from importlib.metadata import PackageNotFoundError, version

    if not wanted:
        return
    try:
        print(f"assay {version('assay')}")
    except PackageNotFoundError:
        print("assay, run from its folder")
    raise typer.Exit


@app.callback()
def assay(
    _debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
    _version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_tell, help="Show the version.")
    ] = False,
) -> None:
    """A permissioned ledger whose every mechanism can be replaced, attacked and measured.

    \b
    Example:
      assay testnet up --dir demo --nodes 4 --detach
      assay tx submit --dir demo --wait kv.set colour blue
      assay testnet down --dir demo
    """


app.add_typer(testnet.app, name="testnet")
app.add_typer(node.app, name="node")
app.add_typer(keys.app, name="keys")
app.add_typer(tx.app, name="tx")
app.command("verify")(verify.verify)
app.add_typer(bench.app, name="bench")
app.add_typer(sim.app, name="sim")
app.add_typer(conformance.app, name="conformance")


def run(arguments: Sequence[str]) -> int:
    """Run one command; its exit code."""
    words = list(arguments)
    options = words[: words.index("--")] if "--" in words else words
    debug = "--debug" in options
    if debug:
        words.remove("--debug")
    try:
        code = app(words, prog_name="assay", standalone_mode=False)
    except (KeyboardInterrupt, Abort):
        return INTERRUPTED
    except BrokenPipeError:
        # The reader has gone (`assay … | head`); what is still buffered has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.FAILED
    except Exception as error:
        if debug:
            traceback.print_exc()
        return _report(error, as_json="--json" in options)
    return code if isinstance(code, int) else ExitCode.DONE


def main() -> None:
    """The entry point of the `assay` command."""
    sys.exit(run(sys.argv[1:]))


def _report(error: Exception, *, as_json: bool) -> int:
    code, word, text, facts = _explained(error)
    print(f"error: {text}", file=sys.stderr)
    if as_json:
        print(json.dumps({**facts, "error": {"code": word, "message": text}}), flush=True)
    return code


def _explained(error: Exception) -> tuple[ExitCode, str, str, Mapping[str, object]]:
    if isinstance(error, Stop):
        return error.code, error.word, str(error), error.facts
    if isinstance(error, TyperException):
        return ExitCode.WRONG_USE, "wrong_use", _usage(error), {}
    for kind in type(error).__mro__:
        code = EXIT_CODES.get(f"{kind.__module__}:{kind.__qualname__}")
        if code is not None:
            return code, str(getattr(error, "word", _snake(type(error).__name__))), str(error), {}
    if isinstance(error, OSError) and error.filename is not None:
        return ExitCode.FAILED, "file", f"{error.filename}: {error.strerror}", {}
    text = f"a fault of Assay itself: {type(error).__name__}: {error}. Please report it, with "
    return ExitCode.FAILED, "internal", text + "what --debug shows", {}


def _usage(error: TyperException) -> str:
    context = getattr(error, "ctx", None)
    text = error.format_message()
    return text if context is None else f"{text}\nTry: {context.command_path} --help"


def _snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")


if __name__ == "__main__":
    main()
