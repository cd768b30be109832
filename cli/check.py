"""`assay node fsck`: a damaged directory is an answer (1), a running node is not (3)."""

from pathlib import Path

from cli.output import Output


def check(path: Path, out: Output) -> None:
    """Check the ledger and the journal of the node in `path`."""
    raise NotImplementedError
