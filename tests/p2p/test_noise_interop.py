"""Our channel against `noiseprotocol`, an independent implementation, over the real framing."""

from collections.abc import Callable
from struct import Struct

import pytest
from noise.connection import Keypair, NoiseConnection

from crypto.interface import Digest
from p2p.channels import noise_xx
from p2p.framing import WIRE_FORMAT, FrameReader, join_frames, prologue
from p2p.interface import Channel, ChannelError, Channels

HASHES = ("SHA256", "BLAKE2s")
SCHEDULE = Struct(">QQ")


def framed(message: bytes) -> bytes:
    return len(message).to_bytes(2, "big") + bytes(message)


Peer = Callable[..., NoiseConnection]
Make = Callable[..., Channels]
KeyOf = Callable[[str], bytes]


@pytest.fixture
def independent_peer(private_key: KeyOf, genesis: Digest) -> Peer:
    def make(
        name: str, *, initiator: bool, options: noise_xx.Options | None = None
    ) -> NoiseConnection:
        options = options or noise_xx.Options()
        peer = NoiseConnection.from_name(f"Noise_XX_25519_ChaChaPoly_{options.hash}".encode())
        if initiator:
            peer.set_as_initiator()
        else:
            peer.set_as_responder()
        schedule = SCHEDULE.pack(options.rekey_records, options.rekey_bytes)
        peer.set_prologue(prologue(genesis) + schedule)
        peer.set_keypair_from_private_bytes(Keypair.STATIC, private_key(name))
        peer.start_handshake()
        return peer

    return make


def unframed(data: bytes) -> list[bytes]:
    messages = []
    while data:
        size = int.from_bytes(data[:2], "big")
        messages.append(data[2 : 2 + size])
        data = data[2 + size :]
    return messages


def exchange_frames(
    ours: Channel, theirs: NoiseConnection, on_record: Callable[[], None] = lambda: None
) -> None:
    frames = [b"small", b"", b"y" * 1000, b"z" * 150_000]
    reader, read = FrameReader(), []
    for record in unframed(ours.send_frames(frames)):
        read += reader.feed(bytes(theirs.decrypt(record)))
        on_record()
    assert read == frames
    stream = join_frames(frames)
    received = []
    for start in range(0, len(stream), 5000):
        record = bytes(theirs.encrypt(stream[start : start + 5000]))
        received += ours.receive_data(framed(record))
    assert received == frames


@pytest.mark.parametrize("hash_name", HASHES)
def test_we_dial_an_independent_listener(
    hash_name: str, independent_peer: Peer, make_channels: Make, private_key: KeyOf
) -> None:
    options = noise_xx.Options(hash=hash_name)  # type: ignore[arg-type]  # from a list
    peer = independent_peer("bob", initiator=False, options=options)
    ours = make_channels("alice", options=options).dial(noise_xx.public_key(private_key("bob")))
    first = ours.data_to_send()
    assert first[0] == WIRE_FORMAT
    peer.read_message(unframed(first[1:])[0])
    assert ours.receive_data(bytes([WIRE_FORMAT]) + framed(peer.write_message())) == []
    peer.read_message(unframed(ours.data_to_send())[0])
    assert peer.handshake_finished
    assert ours.peer_key == noise_xx.public_key(private_key("bob"))
    exchange_frames(ours, peer)


@pytest.mark.parametrize("hash_name", HASHES)
def test_an_independent_dialler_reaches_us(
    hash_name: str, independent_peer: Peer, make_channels: Make, private_key: KeyOf
) -> None:
    options = noise_xx.Options(hash=hash_name)  # type: ignore[arg-type]  # from a list
    peer = independent_peer("alice", initiator=True, options=options)
    ours = make_channels("bob", options=options).accept()
    ours.receive_data(bytes([WIRE_FORMAT]) + framed(peer.write_message()))
    answer = ours.data_to_send()
    assert answer[0] == WIRE_FORMAT
    peer.read_message(unframed(answer[1:])[0])
    ours.receive_data(framed(peer.write_message()))
    assert ours.peer_key == noise_xx.public_key(private_key("alice"))
    assert peer.handshake_finished
    exchange_frames(ours, peer)


def test_our_rekeying_is_the_rekey_of_the_specification(
    independent_peer: Peer, make_channels: Make, private_key: KeyOf
) -> None:
    options = noise_xx.Options(rekey_records=1)
    peer = independent_peer("bob", initiator=False, options=options)
    ours = make_channels("alice", options=options).dial(noise_xx.public_key(private_key("bob")))
    peer.read_message(unframed(ours.data_to_send()[1:])[0])
    ours.receive_data(bytes([WIRE_FORMAT]) + framed(peer.write_message()))
    peer.read_message(unframed(ours.data_to_send())[0])
    for number in range(5):
        record = unframed(ours.send_frames([bytes([number])]))[0]
        assert bytes(peer.decrypt(record)) == join_frames([bytes([number])])
        peer.rekey_inbound_cipher()


def test_a_peer_with_another_prologue_is_refused(
    independent_peer: Peer, make_channels: Make, private_key: KeyOf
) -> None:
    # The positive is above; this shows that the independent peer notices too.
    peer = independent_peer("bob", initiator=False, options=noise_xx.Options(rekey_records=9))
    ours = make_channels("alice").dial(noise_xx.public_key(private_key("bob")))
    peer.read_message(unframed(ours.data_to_send()[1:])[0])
    with pytest.raises(ChannelError, match="bad_ciphertext"):
        ours.receive_data(bytes([WIRE_FORMAT]) + framed(peer.write_message()))


def test_a_listener_refuses_a_caller_that_proves_the_key_of_the_listener(
    independent_peer: Peer, make_channels: Make
) -> None:
    # faults.md 22: what a node meets that dials itself through another address.
    peer = independent_peer("alice", initiator=True)
    ours = make_channels("alice").accept()
    ours.receive_data(bytes([WIRE_FORMAT]) + framed(peer.write_message()))
    peer.read_message(unframed(ours.data_to_send()[1:])[0])
    with pytest.raises(ChannelError, match="self_dial"):
        ours.receive_data(framed(peer.write_message()))
