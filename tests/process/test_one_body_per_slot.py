"""No validator signs two things for one slot; and who does is found.

Every other test of this folder ends with the same check over what its nodes recorded.
"""

from typing import TypeVar

import pytest

from consensus.interface import Message, Signed, Slot
from consensus.protocols._pbft_messages import Checkpoint, NewView, Prepare, ViewChange
from crypto import domains
from crypto.certificate import Attestation
from crypto.encoding import encode
from crypto.genesis import Genesis, digest, from_json
from crypto.header import attestation_statement
from crypto.interface import Digest, NodeId, Signature, SigningKey
from node.home import Home
from testnet.keyring import open_signing_key
from testnet.network import Testnet
from tests.process.lab import Lab
from tests.process.load import Load
from tests.process.recordings import Evidence, evidence

M = TypeVar("M", bound=Message)
ONE, TWO = Digest(b"\1" * 32), Digest(b"\2" * 32)


def genesis_of(net: Testnet) -> Genesis:
    return from_json(net.genesis_file.read_bytes())


def key_of(net: Testnet, name: str) -> SigningKey:
    genesis = genesis_of(net)
    path = Home(net.home(name)).validator_key
    return open_signing_key(path, genesis.validator_signature, lab=genesis.lab)


def signed(net: Testnet, name: str, message: M) -> Signed[M]:
    slot = message.slot()
    assert slot is not None
    domain = domains.consensus("pbft", slot.phase)
    statement = domains.statement(domain, digest(genesis_of(net)), encode(message))
    return Signed(NodeId(name), message, key_of(net, name).sign(statement))


def attestation(net: Testnet, header: Digest, height: int = 3) -> Attestation:
    statement = attestation_statement(header, digest(genesis_of(net)))
    return Attestation(height, header, 0, key_of(net, "v1").sign(statement))


def test_four_validators_sign_one_body_for_each_slot(lab: Lab) -> None:
    net = lab.running()
    with Load(net) as load:
        load.wait_more(50, 30)
    net.down()
    found = evidence(net)
    assert {author for author, _ in found.signers} == set(net.names())
    phases = {slot.phase for _, slot in found.signers}
    assert {"pre-prepare", "prepare", "commit", "attest"} <= phases
    assert found.contradictions() == []


def test_two_votes_for_one_slot_are_found(lab: Lab) -> None:
    net = lab.network()
    found = Evidence(genesis_of(net))
    found.add_message(encode(signed(net, "v2", Prepare(1, 7, ONE))))
    found.add_message(encode(signed(net, "v2", Prepare(1, 7, ONE))))
    found.add_message(encode(signed(net, "v3", Prepare(1, 7, TWO))))
    found.add_message(encode(signed(net, "v2", Prepare(2, 7, TWO))))
    assert found.contradictions() == []
    found.add_message(encode(signed(net, "v2", Prepare(1, 7, TWO))))
    (contradiction,) = found.contradictions()
    assert (contradiction.author, contradiction.slot) == ("v2", Slot("prepare", 7, 1))


def test_a_second_vote_inside_of_another_message_is_found(lab: Lab) -> None:
    net = lab.network()
    found = Evidence(genesis_of(net))
    empty = signed(net, "v2", ViewChange(1, 0, (), ()))
    other = signed(net, "v2", ViewChange(1, 0, (signed(net, "v3", Checkpoint(16, ONE)),), ()))
    found.add_message(encode(empty))
    assert found.contradictions() == []
    found.add_message(encode(signed(net, "v1", NewView(1, (other,)))))
    (contradiction,) = found.contradictions()
    assert contradiction.slot.phase == "view-change"


def test_two_attestations_of_one_height_are_found(lab: Lab) -> None:
    net = lab.network()
    found = Evidence(genesis_of(net))
    found.add_attestation(attestation(net, ONE))
    found.add_attestation(attestation(net, TWO, height=4))
    assert found.contradictions() == []
    found.add_attestation(attestation(net, TWO))
    (contradiction,) = found.contradictions()
    assert (contradiction.author, contradiction.slot) == ("v1", Slot("attest", 3, 0))


@pytest.mark.parametrize("forged", [b"", bytes(64)])
def test_nobody_is_blamed_for_what_others_made_up(lab: Lab, forged: bytes) -> None:
    net = lab.network()
    found = Evidence(genesis_of(net))
    found.add_message(encode(signed(net, "v2", Prepare(1, 7, ONE))))
    found.add_message(encode(Signed(NodeId("v2"), Prepare(1, 7, TWO), Signature(forged))))
    assert found.contradictions() == []
