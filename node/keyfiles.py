"""Key files on disk: written for their owner alone, and refused if others can read them."""

import os
import stat
from pathlib import Path

KEY_FILE_BYTES_MAX = 64 * 1024
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class KeyFileError(Exception):
    """A key file cannot be read or written. The message says what to do; it holds no secret."""


def write_private(path: Path, content: bytes) -> None:
    """Make a new file that only its owner can read, durably. Never overwrites one."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        raise KeyFileError(
            f"{path} exists already and is not overwritten; choose another file, or move it away"
        ) from None
    except OSError as error:
        raise KeyFileError(f"{path} cannot be written: {error.strerror}") from None
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        _sync_folder(path.parent)
    except OSError as error:
        path.unlink(missing_ok=True)
        raise KeyFileError(f"{path} cannot be written: {error.strerror}") from None


def read_private(path: Path) -> bytes:
    """The content of a key file. Raises `KeyFileError` if anybody but its owner may read it."""
    try:
        with path.open("rb") as file:
            facts = os.fstat(file.fileno())
            if not stat.S_ISREG(facts.st_mode):
                raise KeyFileError(f"{path} is not a file")
            if facts.st_mode & _OTHERS:
                raise KeyFileError(
                    f"{path} can be read by others (mode {facts.st_mode & 0o777:03o}). "
                    f"Run: chmod 600 {path}"
                )
            content = file.read(KEY_FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        raise KeyFileError(f"{path}: no such key file") from None
    except OSError as error:
        raise KeyFileError(f"{path} cannot be read: {error.strerror}") from None
    if len(content) > KEY_FILE_BYTES_MAX:
        raise KeyFileError(f"{path} is too long to be a key file")
    return content


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
