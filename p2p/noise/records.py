"""The transport records of one direction: sealing, opening, and rekeying on a fixed schedule.

Source: Noise Protocol Framework, revision 34, section 11.3. Rekeying is not negotiated: both
sides count the records and bytes of a direction and rekey it after the same record. Forgetting
old keys is what it is for: who takes a machine over cannot read what was sent long before.
"""

from dataclasses import dataclass

from p2p.interface import ChannelError
from p2p.noise.cipher import TAG_BYTES, CipherState

RECORD_BYTES_MAX = 65_535
"""Of a Noise message, tag included."""

PLAINTEXT_BYTES_MAX = RECORD_BYTES_MAX - TAG_BYTES


@dataclass(frozen=True, slots=True)
class RekeySchedule:
    """After how many records, or after how many bytes of ciphertext, a direction rekeys."""

    records: int
    bytes: int


class RecordCipher:
    """A `CipherState` that follows a schedule. One per direction."""

    __slots__ = ("_bytes", "_cipher", "_records", "_schedule")

    def __init__(self, cipher: CipherState, schedule: RekeySchedule) -> None:
        self._cipher = cipher
        self._schedule = schedule
        self._records = 0
        self._bytes = 0

    def seal(self, plaintext: bytes | memoryview) -> bytes:
        assert 0 < len(plaintext) <= PLAINTEXT_BYTES_MAX
        ciphertext = self._cipher.encrypt(b"", plaintext)
        self._count(len(ciphertext))
        return ciphertext

    def open(self, ciphertext: bytes | bytearray) -> bytes:
        """Raises `ChannelError` unless this is the peer's next record, unchanged."""
        check_record_bytes(len(ciphertext))
        plaintext = self._cipher.decrypt(b"", ciphertext)
        self._count(len(ciphertext))
        return plaintext

    def _count(self, size: int) -> None:
        self._records += 1
        self._bytes += size
        if self._records >= self._schedule.records or self._bytes >= self._schedule.bytes:
            self._cipher.rekey()
            self._records = self._bytes = 0


def check_record_bytes(size: int) -> None:
    """Refuse, from its length, a record that carries nothing; `ChannelError`."""
    if size <= TAG_BYTES:
        raise ChannelError("empty_record")
