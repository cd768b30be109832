"""A password, read from a file that only its owner can read; never from the command line."""

from pathlib import Path

from cli.output import Stop
from node.keyfiles import read_private

PASSWORD_BYTES_MAX = 1024


def read_password(path: Path | None) -> bytes | None:
    """The first line; None without a file. Raises `Stop` for an empty file, `KeyFileError`."""
    if path is None:
        return None
    lines = read_private(path)[: PASSWORD_BYTES_MAX + 1].splitlines()
    if not lines or not lines[0]:
        raise Stop(f"{path} is empty; write the password on its first line", word="file")
    return lines[0]
