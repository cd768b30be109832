"""The Noise cipher: counters, failure, rekeying, exhaustion."""

import pytest

from p2p.interface import ChannelError
from p2p.noise.cipher import NONCE_MAX, CipherState
from p2p.noise.records import PLAINTEXT_BYTES_MAX, RecordCipher, RekeySchedule

KEY = bytes(range(32))


def test_the_nonce_does_not_advance_when_a_message_is_forged() -> None:
    # faults.md 27
    sender, receiver = CipherState(KEY), CipherState(KEY)
    good = sender.encrypt(b"", b"hello")
    bad = good[:-1] + bytes([good[-1] ^ 1])
    with pytest.raises(ChannelError) as refused:
        receiver.decrypt(b"", bad)
    assert refused.value.reason == "bad_ciphertext"
    assert receiver.nonce == 0
    assert receiver.decrypt(b"", good) == b"hello"
    assert receiver.nonce == 1


def test_the_last_nonce_is_used_and_the_reserved_one_is_not() -> None:
    # faults.md 29
    sender = CipherState(KEY, NONCE_MAX - 1)
    receiver = CipherState(KEY, NONCE_MAX - 1)
    assert receiver.decrypt(b"", sender.encrypt(b"", b"last")) == b"last"
    with pytest.raises(ChannelError, match="nonces_exhausted"):
        sender.encrypt(b"", b"x")
    with pytest.raises(ChannelError, match="nonces_exhausted"):
        receiver.decrypt(b"", bytes(17))


@pytest.mark.parametrize("schedule", [RekeySchedule(3, 2**40), RekeySchedule(2**40, 250)])
def test_both_sides_rekey_after_the_same_record(schedule: RekeySchedule) -> None:
    # faults.md 29
    sender = RecordCipher(CipherState(KEY), schedule)
    receiver = RecordCipher(CipherState(KEY), schedule)
    by_hand = CipherState(KEY)
    for number in range(20):
        plaintext = bytes([number]) * 100
        record = sender.seal(plaintext)
        assert record == by_hand.encrypt(b"", plaintext)
        assert receiver.open(record) == plaintext
        if number % 3 == 2:  # 3 records, or 3 times 116 bytes
            by_hand.rekey()


def test_sides_with_different_schedules_part_at_the_first_rekey() -> None:
    sender = RecordCipher(CipherState(KEY), RekeySchedule(2, 2**40))
    receiver = RecordCipher(CipherState(KEY), RekeySchedule(3, 2**40))
    receiver.open(sender.seal(b"1"))
    receiver.open(sender.seal(b"2"))
    with pytest.raises(ChannelError):
        receiver.open(sender.seal(b"3"))


def test_a_full_record_has_the_length_that_noise_allows_and_not_more() -> None:
    cipher = RecordCipher(CipherState(KEY), RekeySchedule(10, 2**40))
    assert len(cipher.seal(bytes(PLAINTEXT_BYTES_MAX))) == 65_535
    with pytest.raises(AssertionError):
        cipher.seal(bytes(PLAINTEXT_BYTES_MAX + 1))
