"""The Noise channel: honest sessions, and everything a peer or a stranger may send instead."""

import os
import random
import time
import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto.interface import Digest, InvalidKey
from p2p.channels import noise_xx
from p2p.framing import WIRE_FORMAT
from p2p.interface import FRAME_BYTES_MAX, Channel, ChannelError, ChannelKey, Channels
from p2p.noise.channel import NoiseChannel
from p2p.noise.cipher import NONCE_MAX
from p2p.noise.dh import KeyPair

Make = Callable[..., Channels]
KeyOf = Callable[[str], bytes]


def pair(alice: Channels, bob: Channels) -> tuple[Channel, Channel]:
    """Dialler and listener, not connected yet."""
    return alice.dial(bob.public_key), bob.accept()


def connect(dialler: Channel, listener: Channel) -> None:
    assert listener.receive_data(dialler.data_to_send()) == []
    assert dialler.receive_data(listener.data_to_send()) == []
    assert listener.receive_data(dialler.data_to_send()) == []


def session(alice: Channels, bob: Channels) -> tuple[Channel, Channel]:
    dialler, listener = pair(alice, bob)
    connect(dialler, listener)
    return dialler, listener


def reason_of(channel: Channel, data: bytes) -> str:
    with pytest.raises(ChannelError) as refused:
        channel.receive_data(data)
    return refused.value.reason


def feed(channel: Channel, pieces: list[bytes]) -> list[bytes]:
    return [frame for piece in pieces for frame in channel.receive_data(piece)]


# --- Honest sessions. -----------------------------------------------------------------------


def test_both_sides_prove_who_they_are_and_agree_on_the_session(
    alice: Channels, bob: Channels, private_key: KeyOf
) -> None:
    dialler, listener = pair(alice, bob)
    assert dialler.peer_key is None
    assert listener.peer_key is None
    connect(dialler, listener)
    assert dialler.peer_key == bob.public_key == noise_xx.public_key(private_key("bob"))
    assert listener.peer_key == alice.public_key
    assert isinstance(dialler, NoiseChannel)
    assert isinstance(listener, NoiseChannel)
    assert dialler.session_id == listener.session_id


@settings(deadline=None)
@given(sizes=st.lists(st.integers(0, 200_000), max_size=8), blake=st.booleans())
def test_frames_of_any_size_arrive_whole_and_in_order(
    sizes: list[int], blake: bool, make_channels: Make
) -> None:
    options = noise_xx.Options(hash="BLAKE2s" if blake else "SHA256", rekey_records=2)
    names = ("alice", "bob")
    dialler, listener = session(*(make_channels(name, options=options) for name in names))
    frames = [os.urandom(size) for size in sizes]
    assert listener.receive_data(dialler.send_frames(frames)) == frames
    assert dialler.receive_data(listener.send_frames(frames)) == frames
    listener.receive_eof()


def test_small_frames_share_a_record_and_a_big_one_spans_several(
    alice: Channels, bob: Channels
) -> None:
    dialler, listener = session(alice, bob)
    sealed = dialler.send_frames([b"frame"] * 100)
    assert len(sealed) == 2 + 100 * (4 + 5) + 16
    big = bytes(FRAME_BYTES_MAX)
    sealed_big = dialler.send_frames([big])
    assert len(sealed_big) < len(big) * 1.0005
    assert listener.receive_data(sealed) == [b"frame"] * 100
    assert listener.receive_data(sealed_big) == [big]


def test_everything_works_one_byte_at_a_time(alice: Channels, bob: Channels) -> None:
    # faults.md 30
    dialler, listener = pair(alice, bob)

    def trickle(data: bytes, to: Channel) -> list[bytes]:
        return feed(to, [bytes([byte]) for byte in data])

    trickle(dialler.data_to_send(), listener)
    trickle(listener.data_to_send(), dialler)
    sent = dialler.data_to_send()
    frames = [b"one", b"", bytes(70_000)]
    assert trickle(sent + dialler.send_frames(frames), listener) == frames


def test_receiving_in_tiny_pieces_takes_linear_time(alice: Channels, bob: Channels) -> None:
    # 2 MiB in pieces of 7 bytes.
    dialler, listener = session(alice, bob)
    frame = bytes(2 * 1024 * 1024)
    sealed = memoryview(dialler.send_frames([frame]))
    read: list[bytes] = []
    began = time.process_time()
    for start in range(0, len(sealed), 7):
        read += listener.receive_data(bytes(sealed[start : start + 7]))
    assert read == [frame]
    assert time.process_time() - began < 5  # linear: 0.5


def test_rekeying_needs_no_words(alice: Channels, bob: Channels, make_channels: Make) -> None:
    # faults.md 29
    options = noise_xx.Options(rekey_records=3, rekey_bytes=100_000)
    dialler, listener = session(
        make_channels("alice", options=options), make_channels("bob", options=options)
    )
    for number in range(50):
        frame = bytes([number]) * (20_000 if number % 5 else 10)
        assert listener.receive_data(dialler.send_frames([frame])) == [frame]
        if number % 2:
            assert dialler.receive_data(listener.send_frames([frame])) == [frame]


def test_ephemeral_keys_come_from_the_caller_and_only_when_needed(make_channels: Make) -> None:
    drawn: list[int] = []

    def entropy(size: int) -> bytes:
        drawn.append(size)
        return bytes([len(drawn)]) * size

    channels = make_channels("alice", entropy=entropy)
    listener = channels.accept()
    assert drawn == []  # a silent caller costs no key
    bob = make_channels("bob")
    dialler = bob.dial(channels.public_key)
    listener.receive_data(dialler.data_to_send())
    assert drawn == [32]


def test_nothing_shows_a_private_key(make_channels: Make, private_key: KeyOf) -> None:
    secret = private_key("alice")
    channels = make_channels("alice")
    shown = f"{channels!r} {KeyPair(secret)!r}"
    assert secret.hex() not in shown
    assert repr(secret) not in shown
    with pytest.raises(TypeError, match="not pickled"):
        KeyPair(secret).__reduce__()


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_private_key_of_another_length_is_refused(size: int) -> None:
    with pytest.raises(InvalidKey, match="32 bytes"):
        noise_xx.public_key(bytes(size))


@pytest.mark.parametrize("wrong", [{"hash": "MD5"}, {"rekey_records": 0}, {"rekey_bytes": 0}])
def test_senseless_options_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        noise_xx.Options(**wrong)  # type: ignore[arg-type]  # wrong on purpose


# --- Whom one talks to. ---------------------------------------------------------------------


def test_another_genesis_fails_in_the_handshake(
    alice: Channels, make_channels: Make, genesis: Digest
) -> None:
    # faults.md 21
    other = make_channels("bob", genesis=Digest(genesis[:-1] + b"\x00"))
    dialler, listener = pair(alice, other)
    listener.receive_data(dialler.data_to_send())
    assert reason_of(dialler, listener.data_to_send()) == "bad_ciphertext"
    assert dialler.data_to_send() == b""


def test_another_rekey_schedule_fails_in_the_handshake(
    alice: Channels, make_channels: Make
) -> None:
    other = make_channels("bob", options=noise_xx.Options(rekey_records=7))
    dialler, listener = pair(alice, other)
    listener.receive_data(dialler.data_to_send())
    assert reason_of(dialler, listener.data_to_send()) == "bad_ciphertext"


def test_the_dialler_leaves_before_it_shows_who_it_is_to_the_wrong_listener(
    alice: Channels, bob: Channels, make_channels: Make
) -> None:
    # faults.md 21
    mallory = make_channels("mallory")
    dialler, listener = alice.dial(bob.public_key), mallory.accept()
    listener.receive_data(dialler.data_to_send())
    assert reason_of(dialler, listener.data_to_send()) == "wrong_identity"
    assert dialler.data_to_send() == b""
    assert dialler.peer_key is None


def test_nobody_dials_himself(alice: Channels) -> None:
    # faults.md 22
    with pytest.raises(ChannelError) as refused:
        alice.dial(alice.public_key)
    assert refused.value.reason == "self_dial"


def test_a_listener_refuses_a_caller_with_its_own_key(
    alice: Channels,
    bob: Channels,
    make_channels: Make,
    counting_entropy: Callable[[str], Callable[[int], bytes]],
) -> None:
    # faults.md 22: the dialler was told a wrong key, but reached a process with the same secret.
    twin = make_channels("alice", entropy=counting_entropy("twin"))
    dialler, listener = twin.dial(bob.public_key), alice.accept()
    listener.receive_data(dialler.data_to_send())
    assert reason_of(dialler, listener.data_to_send()) == "self_dial"


def test_another_wire_format_is_refused_and_both_are_named(bob: Channels) -> None:
    listener = bob.accept()
    with pytest.raises(ChannelError, match="format 9; this node speaks 1") as refused:
        listener.receive_data(b"\x09")
    assert refused.value.reason == "unknown_format"


# --- Forged, missing and changed steps (faults.md 24). --------------------------------------

# Every X25519 input whose product with any clamped scalar is zero: the points of order 1, 2, 4
# and 8, in each of their encodings below 2**255, then the same with the ignored top bit set.
P = 2**255 - 19
ORDER_8 = (
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
)
LOW_ORDER = [
    (number | top).to_bytes(32, "little")
    for number in (0, 1, *ORDER_8, P - 1, P, P + 1)
    for top in (0, 2**255)
]


@pytest.mark.parametrize("point", LOW_ORDER, ids=lambda point: point.hex()[:16] + point.hex()[-4:])
def test_a_low_order_point_is_refused_wherever_it_comes(
    point: bytes, bob: Channels, private_key: KeyOf
) -> None:
    # faults.md 23
    with pytest.raises(ChannelError) as refused:
        KeyPair(private_key("alice")).exchange(point)
    assert refused.value.reason == "low_order_point"
    listener = bob.accept()
    first = bytes([WIRE_FORMAT]) + (32).to_bytes(2, "big") + point
    assert reason_of(listener, first) == "low_order_point"
    assert listener.data_to_send() == b""


def test_a_low_order_ephemeral_key_of_the_listener_is_refused(
    alice: Channels, bob: Channels
) -> None:
    # faults.md 23
    dialler = alice.dial(bob.public_key)
    answer = bytes([WIRE_FORMAT]) + (96).to_bytes(2, "big") + LOW_ORDER[0] + bytes(64)
    assert reason_of(dialler, answer) == "low_order_point"


def flipped(data: bytes, index: int) -> bytes:
    return data[:index] + bytes([data[index] ^ 0x01]) + data[index + 1 :]


@pytest.mark.parametrize("step", [1, 2, 3])
def test_no_byte_of_a_handshake_message_can_be_changed(step: int, make_channels: Make) -> None:
    # faults.md 24: shareEphKey, badEphKey, shareAuth, badAuth, each byte of each message.
    alice, bob = make_channels("alice"), make_channels("bob")
    tried = 0
    while True:
        dialler, listener = pair(alice, bob)
        sides = [(dialler, listener), (listener, dialler), (dialler, listener)]
        outcome = "nothing"
        for number, (sender, receiver) in enumerate(sides, start=1):
            message = sender.data_to_send()
            if number == step:
                if tried == len(message):
                    assert tried == {1: 35, 2: 99, 3: 66}[step]
                    return
                message = flipped(message, tried)
            try:
                receiver.receive_data(message)
            except ChannelError as error:
                outcome = error.reason
                break
        assert outcome != "nothing", f"byte {tried} of message {step} is free"
        assert dialler.peer_key is None or listener.peer_key is None
        tried += 1


def test_no_byte_of_a_record_can_be_changed(alice: Channels, bob: Channels) -> None:
    dialler, listener = session(alice, bob)
    record = dialler.send_frames([b"pay 10 to bob"])
    for index in range(2, len(record)):
        dialler, listener = session(alice, bob)
        record = dialler.send_frames([b"pay 10 to bob"])
        assert reason_of(listener, flipped(record, index)) == "bad_ciphertext"
    # A changed length: too short is tampering, longer waits and then is tampering.
    dialler, listener = session(alice, bob)
    record = dialler.send_frames([b"pay 10 to bob"])
    assert reason_of(listener, flipped(record, 1)) == "bad_ciphertext"
    dialler, listener = session(alice, bob)
    record = dialler.send_frames([b"pay 10 to bob"])
    assert listener.receive_data(flipped(record, 0)) == []
    with pytest.raises(ChannelError, match="truncated"):
        listener.receive_eof()


@pytest.mark.parametrize("size", [0, 1, 31, 33, 48, 65_535])
def test_a_first_message_of_another_length_is_refused_from_its_prefix(
    size: int, bob: Channels
) -> None:
    # faults.md 24
    listener = bob.accept()
    assert reason_of(listener, bytes([WIRE_FORMAT]) + size.to_bytes(2, "big")) == "handshake_length"


def test_each_step_left_out_or_repeated_is_refused(alice: Channels, bob: Channels) -> None:
    # faults.md 24
    dialler, listener = pair(alice, bob)
    first = dialler.data_to_send()
    listener.receive_data(first)
    second = listener.data_to_send()
    assert reason_of(listener, first[1:]) == "handshake_length"  # the first again

    other_dialler, _ = pair(alice, bob)
    assert reason_of(other_dialler, first) == "handshake_length"  # echoed back

    dialler, listener = pair(alice, bob)
    listener.receive_data(dialler.data_to_send())
    record = (40).to_bytes(2, "big") + bytes(40)
    assert reason_of(listener, record) == "handshake_length"  # a record instead of the third

    dialler, listener = pair(alice, bob)
    listener.receive_data(dialler.data_to_send())
    dialler.receive_data(listener.data_to_send())
    third = dialler.data_to_send()
    listener.receive_data(third)
    assert reason_of(listener, third) == "bad_ciphertext"  # the third again
    assert second


def test_a_listener_that_proves_nothing_is_refused(
    alice: Channels, bob: Channels, private_key: KeyOf
) -> None:
    # faults.md 24: right public keys, but not the secret that belongs to them.
    dialler = alice.dial(bob.public_key)
    answer = bytes([WIRE_FORMAT]) + (96).to_bytes(2, "big")
    answer += KeyPair(private_key("any")).public + bob.public_key + bytes(16) + bytes(16)
    assert reason_of(dialler, answer) == "bad_ciphertext"


@pytest.mark.parametrize("recorded", ["first", "all"])
def test_a_replayed_handshake_fails_because_the_listener_is_never_the_same(
    recorded: str, alice: Channels, bob: Channels
) -> None:
    # faults.md 19, 20: no clock and no memory are needed, so a restart changes nothing.
    dialler, listener = pair(alice, bob)
    first = dialler.data_to_send()
    listener.receive_data(first)
    dialler.receive_data(listener.data_to_send())
    third = dialler.data_to_send()
    listener.receive_data(third)
    assert listener.peer_key == alice.public_key

    again = bob.accept()
    again.receive_data(first)
    assert again.peer_key is None
    if recorded == "all":
        assert reason_of(again, third) == "bad_ciphertext"
    assert again.peer_key is None


# --- Records (faults.md 1-4, 27-29). --------------------------------------------------------


def test_replayed_and_reordered_records_are_refused(alice: Channels, bob: Channels) -> None:
    # faults.md 28
    dialler, listener = session(alice, bob)
    first, second = dialler.send_frames([b"1"]), dialler.send_frames([b"2"])
    assert listener.receive_data(first) == [b"1"]
    assert reason_of(listener, first) == "bad_ciphertext"

    dialler, listener = session(alice, bob)
    first, second = dialler.send_frames([b"1"]), dialler.send_frames([b"2"])
    assert reason_of(listener, second) == "bad_ciphertext"


def test_a_record_reflected_to_its_sender_is_refused(alice: Channels, bob: Channels) -> None:
    dialler, _ = session(alice, bob)
    assert reason_of(dialler, dialler.send_frames([b"mine"])) == "bad_ciphertext"


@pytest.mark.parametrize("size", [0, 1, 15, 16])
def test_a_record_without_content_is_refused_from_its_prefix(
    size: int, alice: Channels, bob: Channels
) -> None:
    # faults.md 3
    _, listener = session(alice, bob)
    assert reason_of(listener, size.to_bytes(2, "big")) == "empty_record"


def test_an_announced_frame_of_4_gib_is_refused_without_allocating_it(
    alice: Channels, bob: Channels
) -> None:
    # faults.md 2
    dialler, listener = session(alice, bob)
    assert isinstance(dialler, NoiseChannel)
    assert dialler._sender is not None
    record = dialler._sender.seal(b"\xff\xff\xff\xff")  # what only a dishonest peer sends
    tracemalloc.start()
    try:
        assert reason_of(listener, len(record).to_bytes(2, "big") + record) == "frame_too_long"
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_the_end_of_the_stream_is_an_error_inside_a_frame_only(
    alice: Channels, bob: Channels
) -> None:
    # faults.md 1
    dialler, listener = session(alice, bob)
    whole = dialler.send_frames([b"x" * 100_000])
    listener.receive_data(whole)
    listener.receive_eof()
    for cut in (1, 2, 50, 65_537, 65_600):  # in a prefix, in a record, between records
        dialler, listener = session(alice, bob)
        listener.receive_data(dialler.send_frames([b"x" * 100_000])[:cut])
        with pytest.raises(ChannelError) as refused:
            listener.receive_eof()
        assert refused.value.reason == "truncated"
    unfinished = bob.accept()
    with pytest.raises(ChannelError):
        unfinished.receive_eof()


def test_a_channel_that_failed_stays_failed(alice: Channels, bob: Channels) -> None:
    # faults.md 27
    dialler, listener = session(alice, bob)
    good = dialler.send_frames([b"good"])
    assert reason_of(listener, flipped(good, 5)) == "bad_ciphertext"
    assert reason_of(listener, good) == "bad_ciphertext"
    with pytest.raises(ChannelError):
        listener.send_frames([b"any"])
    with pytest.raises(ChannelError):
        listener.receive_eof()


@pytest.mark.parametrize("seed", range(20))
def test_noise_on_the_line_never_raises_anything_but_a_channel_error(
    seed: int, make_channels: Make
) -> None:
    # faults.md 4
    rng = random.Random(seed)
    alice, bob = make_channels("alice"), make_channels("bob")
    fresh = bob.accept()
    _, settled = session(alice, bob)
    for channel in (fresh, settled, alice.dial(ChannelKey(bob.public_key))):
        pieces = [rng.randbytes(rng.randrange(1, 200)) for _ in range(2000)]
        with pytest.raises(ChannelError):
            feed(channel, pieces)


def test_a_channel_whose_nonces_are_used_up_closes(alice: Channels, bob: Channels) -> None:
    # faults.md 29
    dialler, listener = session(alice, bob)
    assert isinstance(dialler, NoiseChannel)
    assert dialler._sender is not None
    dialler._sender._cipher._nonce = NONCE_MAX
    for _ in range(2):
        with pytest.raises(ChannelError, match="nonces_exhausted"):
            dialler.send_frames([b"one too many"])
    listener.receive_eof()
