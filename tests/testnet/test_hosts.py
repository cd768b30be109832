"""Homes of a network that runs on hosts of their own."""

import shutil
from pathlib import Path

import pytest

from crypto.genesis import to_json
from node.home import Home, HomeError
from testnet import hosts
from testnet.errors import WrongUse
from testnet.network import Testnet

NAMES = ("v1", "v2", "v3", "v4")
PLACES = ("one", "two.example", "three", "10.0.0.4")


def content(directory: Path) -> dict[str, bytes]:
    files = (path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


@pytest.fixture
def made(tmp_path: Path) -> Path:
    directory = tmp_path / "net"
    assert hosts.make(directory, PLACES, 7100, {})
    return directory


def test_each_home_listens_everywhere_except_the_admin_plane_and_dials_the_others(
    made: Path,
) -> None:
    genesis = hosts.genesis_of(made)
    assert [validator.name for validator in genesis.validators] == list(NAMES)
    addresses = dict(zip(NAMES, (f"{p}:{7201 + n}" for n, p in enumerate(PLACES)), strict=True))
    for position, name in enumerate(NAMES):
        config, own = Home(made / name).read()
        assert to_json(own) == to_json(genesis)
        assert config.listen.api == f"0.0.0.0:{7101 + position}"
        assert config.listen.peer == f"0.0.0.0:{7201 + position}"
        assert config.listen.admin == f"127.0.0.1:{7301 + position}"
        assert config.peers.addresses == {k: v for k, v in addresses.items() if k != name}
        assert not config.peers.observers_open


def test_no_home_has_the_key_of_another_and_all_keys_are_private(made: Path) -> None:
    keys = [made / name / "keys" / "validator.json" for name in NAMES]
    assert len({key.read_bytes() for key in keys}) == len(NAMES)
    for key in (*keys, *(made / "clients").iterdir()):
        assert key.stat().st_mode & 0o077 == 0


def test_a_network_that_is_there_is_left_as_it_is(made: Path) -> None:
    before = content(made)
    assert not hosts.make(made, PLACES, 7100, {})
    assert content(made) == before


def test_another_number_of_validators_is_refused(made: Path) -> None:
    with pytest.raises(WrongUse, match="4 validators, not 3"):
        hosts.make(made, PLACES[:3], 7100, {})


def test_empty_folders_are_filled_as_volumes_are(tmp_path: Path) -> None:
    for name in NAMES:
        (tmp_path / name).mkdir()
    assert hosts.make(tmp_path, PLACES, 7100, {})


def test_an_attempt_that_was_cut_off_is_told_and_not_mended(made: Path) -> None:
    (made / "genesis.json").unlink()  # it is written last
    with pytest.raises(HomeError, match="is a home already"):
        hosts.make(made, PLACES, 7100, {})


def test_a_home_that_is_gone_is_told_and_not_made_anew(made: Path) -> None:
    shutil.rmtree(made / "v3")
    with pytest.raises(HomeError, match="v3"):
        hosts.make(made, PLACES, 7100, {})
    assert not (made / "v3").exists()


def test_a_key_that_is_gone_is_told(made: Path) -> None:
    (made / "v2" / "keys" / "channel.json").unlink()
    with pytest.raises(HomeError, match=r"channel\.json is missing"):
        hosts.make(made, PLACES, 7100, {})


def test_a_home_of_another_network_is_told(made: Path, tmp_path: Path) -> None:
    hosts.make(tmp_path / "other", PLACES, 7100, {})
    shutil.rmtree(made / "v1")
    shutil.copytree(tmp_path / "other" / "v1", made / "v1")
    with pytest.raises(HomeError, match="another network"):
        hosts.make(made, PLACES, 7100, {})


@pytest.mark.parametrize(
    "named", [("a", "b c"), ("a", ""), ("a", "a"), ("a:1",), ("-a",), ("a/b",)], ids=str
)
def test_what_is_no_list_of_hosts_is_refused_and_leaves_nothing(
    tmp_path: Path, named: tuple[str, ...]
) -> None:
    with pytest.raises(WrongUse, match="--hosts"):
        hosts.make(tmp_path / "net", named, 7100, {})
    assert not (tmp_path / "net").exists()


def test_a_network_of_this_machine_is_not_overwritten(tmp_path: Path) -> None:
    Testnet.create(tmp_path / "net", 1)
    with pytest.raises(WrongUse, match="of this machine"):
        hosts.make(tmp_path / "net", ("one",), 7100, {})
