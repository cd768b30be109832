"""The Noise handshake and ciphers against published vectors (source named in the data file)."""

import json
from pathlib import Path
from typing import Any

import pytest

from p2p.channels.noise_xx import XX
from p2p.noise.dh import KeyPair
from p2p.noise.handshake import HandshakeState, Pattern, Setup, Token
from p2p.noise.symmetric import HashName

VECTORS = json.loads((Path(__file__).parent / "noise_vectors.json").read_text())["vectors"]

# No mechanism uses it yet; it shows that the parts carry another pattern unchanged.
IK = Pattern(
    "IK",
    ((Token.E, Token.ES, Token.S, Token.SS), (Token.E, Token.EE, Token.SE)),
    responder_known=True,
)
PATTERNS = {"XX": XX, "IK": IK}


def side(vector: dict[str, Any], prefix: str) -> HandshakeState:
    _, pattern, _, _, hash_name = vector["protocol_name"].split("_")
    remote = vector.get(f"{prefix}_remote_static")
    ephemerals = [bytes.fromhex(vector[f"{prefix}_ephemeral"])]
    setup = Setup(
        initiator=prefix == "init",
        static=KeyPair(bytes.fromhex(vector[f"{prefix}_static"])),
        ephemeral=ephemerals.pop,
        prologue=bytes.fromhex(vector[f"{prefix}_prologue"]),
        remote_static=None if remote is None else bytes.fromhex(remote),
    )
    return HandshakeState(PATTERNS[pattern], HashName(hash_name), setup)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["protocol_name"])
def test_every_message_of_a_published_vector_is_reproduced(vector: dict[str, Any]) -> None:
    initiator, responder = side(vector, "init"), side(vector, "resp")
    messages = [(bytes.fromhex(m["payload"]), m["ciphertext"]) for m in vector["messages"]]
    writer, reader = initiator, responder
    while not initiator.complete:
        payload, ciphertext = messages.pop(0)
        assert writer.expected_bytes(len(payload)) == len(ciphertext) // 2
        message = writer.write_message(payload)
        assert message.hex() == ciphertext
        assert reader.read_message(message) == payload
        writer, reader = reader, writer
    assert responder.complete
    assert initiator.handshake_hash.hex() == vector["handshake_hash"]
    assert responder.handshake_hash.hex() == vector["handshake_hash"]

    ciphers = {True: initiator.split(), False: responder.split()}
    # The turns go on after the handshake.
    initiator_writes = writer is initiator
    assert len(messages) >= 3
    for payload, ciphertext in messages:
        sender, receiver = ciphers[initiator_writes][0], ciphers[not initiator_writes][1]
        assert sender.encrypt(b"", payload).hex() == ciphertext
        assert receiver.decrypt(b"", bytes.fromhex(ciphertext)) == payload
        initiator_writes = not initiator_writes
