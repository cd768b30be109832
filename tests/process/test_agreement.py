"""Four validators agree, and convince somebody who has the genesis file and nothing else."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from crypto.bundle import InvalidBundle, from_json, verify_bundle
from crypto.genesis import from_json as genesis_from_json
from testnet.chosen import client_scheme, hash_of, validator_scheme
from testnet.network import Testnet
from tests.process.lab import Lab, height, wait_same_height
from tests.process.load import Load
from tests.process.stored import assert_nothing_lost, assert_one_chain


def verify(bundle: Path, genesis: Path) -> "subprocess.CompletedProcess[str]":
    """`assay verify` in a process of its own."""
    command = [sys.executable, "-m", "cli.main", "verify", str(bundle), "--genesis", str(genesis)]
    return subprocess.run(
        [*command, "--json"], check=False, capture_output=True, text=True, timeout=60
    )


def proof(net: Testnet, node: str, identity: str) -> bytes:
    """The bundle from `node`, as soon as it holds the certificate."""
    goal = net.client(net.answering()).transaction(identity)["height"]
    net.wait(lambda: height(net, node) >= goal, f"{node} certifies {goal}", 10)
    return net.client(node).proof(identity)


def test_nodes_agree_on_every_header_and_prove_it_to_outsiders(lab: Lab, tmp_path: Path) -> None:
    net = lab.running()
    with Load(net) as load:
        load.wait_more(100, 30)
    common = wait_same_height(net)
    assert common > 3
    for at in range(1, common + 1):
        answers = [net.client(name).header(at) for name in net.names()]
        assert all(each["header"] == answers[0]["header"] for each in answers)
        assert all(each["digest"] == answers[0]["digest"] for each in answers)
    genesis = tmp_path / "genesis-alone.json"
    genesis.write_bytes(net.genesis_file.read_bytes())
    told = load.acknowledged
    for position, name in enumerate(net.names()):
        bundle = tmp_path / f"{name}.json"
        bundle.write_bytes(proof(net, name, told[position].id))
        done = verify(bundle, genesis)
        assert done.returncode == 0, done.stderr
        facts = json.loads(done.stdout)
        assert facts["accepted"] is True
        assert (facts["id"], facts["height"]) == (told[position].id, told[position].height)
    net.down()
    assert verify(bundle, genesis).returncode == 0
    assert_one_chain(net)
    assert_nothing_lost(net, told)
    elsewhere = replace(told[0], index=told[0].index + 1)
    with pytest.raises(AssertionError, match="not Acknowledged"):
        assert_nothing_lost(net, [elsewhere])
    with pytest.raises(AssertionError, match="lacks"):
        assert_nothing_lost(net, [replace(told[0], id="00" * 32)])


def test_a_proof_of_a_rejected_transaction_says_that_it_was_rejected(
    lab: Lab, tmp_path: Path
) -> None:
    net = lab.running()
    client, expiry = net.client("v1"), 500
    made = client.submit(net.wallet(0).sign("kv.set", "k", "v", expiry=expiry).raw, wait=True)
    assert made["accepted"] is True
    taken = client.submit(net.wallet(1).sign("kv.set", "k", "w", expiry=expiry).raw, wait=True)
    assert taken["status"] == "committed"
    assert taken["code"] == "not_owner"
    bundle = tmp_path / "rejected.json"
    bundle.write_bytes(proof(net, "v2", taken["id"]))
    done = verify(bundle, net.genesis_file)
    assert done.returncode == 1
    assert "rejected: not_owner" in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_a_bundle_with_any_byte_changed_proves_nothing(lab: Lab) -> None:
    net = lab.running()
    with Load(net) as load:
        load.wait_more(20, 30)
    raw = proof(net, "v3", load.acknowledged[-1].id)
    net.down()
    genesis = genesis_from_json(net.genesis_file.read_bytes())
    mechanisms = hash_of(genesis), validator_scheme(genesis), client_scheme(genesis)
    assert verify_bundle(from_json(raw), genesis, *mechanisms).accepted
    for position in range(len(raw)):
        changed = bytearray(raw)
        digits = b"0123456789abcdef"
        is_digit = changed[position] in digits
        # Another digit where there is one, so that the content is changed and not only the form.
        changed[position] = (
            digits[(digits.index(changed[position]) + lab.rng.randrange(1, 16)) % 16]
            if is_digit
            else changed[position] ^ (1 << lab.rng.randrange(8))
        )
        with pytest.raises(InvalidBundle):
            verify_bundle(from_json(bytes(changed)), genesis, *mechanisms)
