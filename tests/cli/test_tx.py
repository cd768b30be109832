from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli.output import Stop
from cli.signing import arguments_of
from crypto.genesis import from_json
from testnet.network import Testnet

Assay = Callable[..., Any]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Testnet:
    return Testnet.create(tmp_path_factory.mktemp("tx") / "net", 1)


def test_words_become_what_the_method_takes(network: Testnet) -> None:
    genesis = from_json(network.genesis_file.read_bytes())
    assert arguments_of(genesis, "kv.set", ["colour", "7"]) == ("colour", "7")
    with pytest.raises(Stop, match="whole number"):
        arguments_of(genesis, "payments.transfer", ["ab" * 32, "much"])
    assert arguments_of(genesis, "payments.transfer", ["ab" * 32, "7"]) == ("ab" * 32, 7)


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["set", "a", "b"], "APP.METHOD"),
        (["vk.set", "a", "b"], "kv"),
        (["kv.sett", "a", "b"], "kv.set TEXT TEXT"),
        (["kv.set", "a"], "kv.set TEXT TEXT"),
        (["payments.transfer", "ab", "-7"], "--help"),
        (["payments.transfer", "--", "ab", "-7"], "whole number"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value,
)
def test_a_wrong_call_is_2_with_the_choices_before_any_node_is_asked(
    assay: Assay, network: Testnet, words: list[str], hint: str
) -> None:
    done = assay("tx", "submit", "--dir", network.directory, *words)
    assert done.code == 2
    assert hint in done.err


def test_a_network_that_is_down_is_3_and_says_how_to_start_it(
    assay: Assay, network: Testnet
) -> None:
    done = assay("tx", "submit", "--dir", network.directory, "kv.set", "a", "b", "--json")
    assert done.code == 3
    assert done.json["error"]["code"] == "unreachable"
    assert "assay testnet up" in done.err
    assert assay("tx", "get", "ab" * 32, "--dir", network.directory).code == 3


@pytest.mark.parametrize("identity", ["", "ab", "AB" * 32, "zz" * 32, "ab" * 33])
def test_what_is_no_id_is_2(assay: Assay, network: Testnet, identity: str) -> None:
    assert assay("tx", "get", identity, "--dir", network.directory).code == 2
    assert assay("tx", "proof", identity, "--dir", network.directory, "-o", "x").code == 2


def test_exactly_one_place_has_to_be_named(assay: Assay, network: Testnet) -> None:
    call = ["tx", "submit", "kv.set", "a", "b"]
    assert "either --dir DIR or --url URL" in assay(*call).err
    both = assay(*call, "--dir", network.directory, "--url", "http://127.0.0.1:9")
    assert both.code == 2


def test_with_a_url_key_and_genesis_have_to_be_named(assay: Assay, network: Testnet) -> None:
    call = ["tx", "submit", "--url", "http://127.0.0.1:9", "kv.set", "a", "b"]
    done = assay(*call)
    assert done.code == 2
    assert "--genesis" in done.err
    key = network.directory / network.manifest.clients[0].key
    done = assay(*call, "--key", key, "--genesis", network.genesis_file)
    assert done.code == 3
    assert "is not up" in done.err


def test_an_encrypted_key_is_opened_by_the_password_in_a_file(
    assay: Assay, network: Testnet, tmp_path: Path
) -> None:
    password, wrong, key = tmp_path / "password", tmp_path / "wrong", tmp_path / "alice.json"
    for path, text in ((password, "correct horse\n"), (wrong, "wrong horse\n")):
        path.touch(mode=0o600)
        path.write_text(text)
    assay("keys", "new", "-o", key, "--password-file", password)
    call = ["tx", "submit", "--dir", network.directory, "--key", key, "kv.set", "a", "b"]
    for more, text in (
        ([], "a password is needed (--password-file)"),
        (["--password-file", wrong], "password"),
        (["--password-file", tmp_path / "none"], "none"),
    ):
        done = assay(*call, *more)
        assert done.code == 3
        assert text in done.err
    opened = assay(*call, "--password-file", password)
    assert "no node of" in opened.err  # it signs; there is nobody to send it to


def test_a_url_is_written_in_full(assay: Assay) -> None:
    done = assay("tx", "get", "ab" * 32, "--url", "127.0.0.1:7101")
    assert done.code == 2
    assert "http://127.0.0.1:7101" in done.err


def test_a_file_in_the_way_is_named(assay: Assay, tmp_path: Path) -> None:
    done = assay("tx", "submit", "--dir", tmp_path / "none", "kv.set", "a", "b")
    assert done.code == 3
    assert "holds no network" in done.err
