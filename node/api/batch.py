"""The binary form of a batch: what `application/msgpack` means to this API.

Both records are in the canonical encoding (`crypto.encoding`), with the format byte first.
Nothing here needs FastAPI, so that a client can import it.
"""

from typing import Annotated

from msgspec import Meta

from crypto.encoding import Codec, Record

TRANSACTIONS_MAX = 65_536
"""No API takes more: refused from the count, before anything is made of them."""


class Batch(Record, frozen=True):
    """Signed transactions, each in its canonical encoding."""

    transactions: Annotated[tuple[bytes, ...], Meta(max_length=TRANSACTIONS_MAX)]


class BatchAnswer(Record, frozen=True):
    """What became of each, by its position in the batch, from 0."""

    admitted: int
    """How many were admitted, or were here already and wait or are committed."""
    refused: tuple[tuple[int, str], ...]
    """(position, code)"""
    committed: tuple[tuple[int, int, int, str], ...]
    """(position, height, ledger index, receipt code); only with `wait=committed`."""


batch_answers: Codec[BatchAnswer] = Codec(BatchAnswer, bytes_max=4 * 1024 * 1024)


def batch_codec(bytes_max: int) -> Codec[Batch]:
    return Codec(Batch, bytes_max=bytes_max)
