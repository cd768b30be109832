import stat
from pathlib import Path

import pytest

from node.keyfiles import KEY_FILE_BYTES_MAX, KeyFileError, read_private, write_private


def test_what_is_written_is_read_and_only_the_owner_can(tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    write_private(path, b"secret")
    assert read_private(path) == b"secret"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_key_file_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "key.json"
    write_private(path, b"first")
    with pytest.raises(KeyFileError, match="exists already"):
        write_private(path, b"second")
    assert read_private(path) == b"first"


def test_a_link_is_not_followed_when_writing(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(KeyFileError):
        write_private(tmp_path / "link", b"secret")
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_key_that_others_can_read_is_refused_with_the_remedy(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key.json"
    write_private(path, b"secret")
    path.chmod(mode)
    with pytest.raises(KeyFileError, match="chmod 600") as caught:
        read_private(path)
    assert "secret" not in str(caught.value)


def test_a_missing_file_a_folder_and_a_huge_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="no such key file"):
        read_private(tmp_path / "none")
    with pytest.raises(KeyFileError):
        read_private(tmp_path)
    write_private(tmp_path / "huge", bytes(KEY_FILE_BYTES_MAX + 1))
    with pytest.raises(KeyFileError, match="too long"):
        read_private(tmp_path / "huge")


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="cannot be written"):
        write_private(tmp_path / "no" / "folder", b"secret")
