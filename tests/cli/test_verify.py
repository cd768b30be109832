import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli import main
from crypto.bundle import Bundle, to_json
from crypto.certificate import Certificate, Vote
from crypto.encoding import encode
from crypto.genesis import Genesis, committee_digest, digest, from_json
from crypto.header import ZERO, Header, attestation_statement, header_digest
from crypto.interface import Digest
from crypto.merkle import leaf_digest, root_of
from crypto.transaction import Receipt
from node.home import Home
from testnet.chosen import hash_of
from testnet.keyring import open_signing_key
from testnet.network import Testnet

Assay = Callable[..., Any]
ROOT = Path(main.__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Testnet:
    return Testnet.create(tmp_path_factory.mktemp("verify") / "net", 4)


def proof(network: Testnet, code: str = "ok", signers: int = 3) -> bytes:
    """A bundle as a node would make it, of one transaction in block 1."""
    genesis = from_json(network.genesis_file.read_bytes())
    hash_ = hash_of(genesis)
    signed = network.wallet().sign("kv.set", "greeting", "hello", expiry=9)
    receipt = Receipt(signed.id, code, b"done")
    header = Header(
        height=1,
        parent=ZERO,
        epoch=0,
        committee=committee_digest(genesis),
        payload=Digest(bytes(32)),
        time_ms=1,
        ledger_size=1,
        block_size=1,
        ledger_root=root_of([leaf_digest(signed.raw, hash_)], hash_),
        receipts_root=root_of([leaf_digest(encode(receipt), hash_)], hash_),
        state_root=Digest(bytes(32)),
    )
    certificate = certified(network, genesis, header, signers)
    return to_json(
        Bundle(digest(genesis), (), header, certificate, signed.raw, 0, (), receipt, 0, ())
    )


def certified(network: Testnet, genesis: Genesis, header: Header, signers: int) -> Certificate:
    attested = header_digest(header, hash_of(genesis))
    statement = attestation_statement(attested, digest(genesis))
    votes = []
    for index, name in enumerate(network.names()[:signers]):
        key = open_signing_key(Home(network.home(name)).validator_key, genesis.validator_signature)
        votes.append(Vote(index, key.sign(statement)))
    return Certificate(1, attested, tuple(votes))


@pytest.fixture
def bundle(network: Testnet, tmp_path: Path) -> Path:
    path = tmp_path / "bundle.json"
    path.write_bytes(proof(network))
    return path


def test_a_sound_proof_of_acceptance_is_0(assay: Assay, network: Testnet, bundle: Path) -> None:
    done = assay("verify", bundle, "--genesis", network.genesis_file)
    assert done.code == 0
    assert "Verified: kv.set greeting hello" in done.out
    facts = assay("verify", bundle, "--genesis", network.genesis_file, "--json").json
    assert facts["valid"] is True
    assert facts["accepted"] is True
    assert (facts["height"], facts["index"], facts["method"]) == (1, 0, "kv.set")
    assert facts["sender"] == network.manifest.clients[0].public_key


def test_a_sound_proof_of_a_rejection_is_1(assay: Assay, network: Testnet, tmp_path: Path) -> None:
    path = tmp_path / "rejected.json"
    path.write_bytes(proof(network, code="not_owner"))
    done = assay("verify", path, "--genesis", network.genesis_file, "--json")
    assert done.code == 1
    assert done.json["valid"] is True
    assert done.json["accepted"] is False
    assert "not_owner" in done.err


def test_too_few_signatures_are_1_with_the_reason(
    assay: Assay, network: Testnet, tmp_path: Path
) -> None:
    path = tmp_path / "weak.json"
    path.write_bytes(proof(network, signers=2))
    done = assay("verify", path, "--genesis", network.genesis_file)
    assert done.code == 1
    assert done.out == ""
    assert "quorum" in done.err


def test_a_bundle_with_any_byte_changed_is_1(assay: Assay, network: Testnet, bundle: Path) -> None:
    good = bundle.read_bytes()
    step = max(1, len(good) // 60)
    for place in [*range(0, len(good), step), len(good) - 1]:
        changed = bytearray(good)
        changed[place] ^= 1
        bundle.write_bytes(bytes(changed))
        done = assay("verify", bundle, "--genesis", network.genesis_file, "--json")
        assert done.code == 1, place
        assert done.json["valid"] is False


@pytest.mark.parametrize("content", [b"", b"{}", b"[" * 100_000, b"\xff", b'{"format": 2}'])
def test_what_is_no_bundle_is_1(
    assay: Assay, network: Testnet, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "nonsense.json"
    path.write_bytes(content)
    done = assay("verify", path, "--genesis", network.genesis_file)
    assert done.code == 1
    assert done.err.startswith("error: not proven: ")


def test_the_genesis_of_another_network_is_1(assay: Assay, bundle: Path, tmp_path: Path) -> None:
    other = Testnet.create(tmp_path / "other", 4)
    done = assay("verify", bundle, "--genesis", other.genesis_file)
    assert done.code == 1
    assert "another network" in done.err


def test_files_that_cannot_be_read_are_3(
    assay: Assay, network: Testnet, bundle: Path, tmp_path: Path
) -> None:
    assert assay("verify", tmp_path / "none", "--genesis", network.genesis_file).code == 3
    assert assay("verify", bundle, "--genesis", tmp_path / "none").code == 3
    broken = tmp_path / "genesis.json"
    broken.write_text("{}")
    done = assay("verify", bundle, "--genesis", broken)
    assert done.code == 3
    assert str(broken) in done.err


def test_verifying_loads_neither_the_node_nor_a_server(network: Testnet, bundle: Path) -> None:
    code = (
        "import sys, json; from cli import main; code = main.run(sys.argv[1:]); "
        "print(json.dumps([code, sorted(sys.modules)]))"
    )
    words = ["verify", str(bundle), "--genesis", str(network.genesis_file)]
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True, check=True
    )
    result, modules = json.loads(done.stdout.splitlines()[-1])
    assert result == 0
    banned = {"node", "fastapi", "uvicorn", "httpx", "plyvel", "asyncio", "p2p"}
    assert banned & {name.partition(".")[0] for name in modules} == set()
    assert "crypto" in {name.partition(".")[0] for name in modules}
