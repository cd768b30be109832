import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from benchmarks import load
from benchmarks.load import Address, Seen
from benchmarks.wire import ANSWER_BYTES_MAX, Connection, WireError
from benchmarks.workload import Batch
from crypto.encoding import encode
from crypto.interface import Digest
from node.api.batch import BatchAnswer, batch_codec

Reply = Callable[[tuple[bytes, ...]], Awaitable[bytes]]


def http(body: bytes, status: int = 200, kind: str = "application/msgpack") -> bytes:
    head = f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def committed(raws: tuple[bytes, ...], code: str = "ok") -> bytes:
    places = tuple((position, 7, position, code) for position in range(len(raws)))
    return http(encode(BatchAnswer(len(raws), (), places)))


def batches(count: int, size: int = 1) -> list[Batch]:
    return [
        Batch(tuple(b"%d/%d" % (number, item) for item in range(size)), (Digest(b""),) * size)
        for number in range(count)
    ]


async def closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


@asynccontextmanager
async def node(reply: Reply) -> AsyncIterator[Address]:
    """A server that decodes batches as a node does and answers what it is told."""
    codec = batch_codec(1_000_000)
    serving: set[asyncio.Task[None] | None] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.current_task())
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                length = int(head.split("content-length: ")[1].split("\r\n")[0])
                body = await reader.readexactly(length)
                writer.write(await reply(codec.decode(body).transactions))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            await closed(writer)

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()[:2]
        yield Address("v1", host, port)
        await asyncio.gather(*filter(None, serving))


def run_closed(reply: Reply, work: list[Batch], connections: int = 2) -> Seen:
    async def go() -> Seen:
        async with node(reply) as address:
            return await load.closed_loop([address], work, connections=connections, seconds=None)

    return asyncio.run(go())


def run_open(reply: Reply, work: list[Batch], rate_s: float) -> Seen:
    async def go() -> Seen:
        async with node(reply) as address:
            return await load.open_loop([address], work, rate_s)

    return asyncio.run(go())


def test_the_closed_loop_commits_everything_once() -> None:
    got: list[bytes] = []

    async def reply(raws: tuple[bytes, ...]) -> bytes:
        got.extend(raws)
        return committed(raws)

    seen = run_closed(reply, batches(10, 3))
    assert seen.committed == seen.sent == 30
    assert sorted(got) == sorted(raw for batch in batches(10, 3) for raw in batch.raws)
    assert not seen.failures
    assert seen.heights == {7}


def test_the_closed_loop_never_has_more_outstanding_than_its_connections() -> None:
    outstanding, highest = 0, 0

    async def reply(raws: tuple[bytes, ...]) -> bytes:
        nonlocal outstanding, highest
        outstanding += 1
        highest = max(highest, outstanding)
        await asyncio.sleep(0.002)
        outstanding -= 1
        return committed(raws)

    run_closed(reply, batches(40), connections=3)
    assert highest == 3


def test_what_is_refused_for_a_moment_is_handed_in_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "BACK_OFF_S", 0.001)
    asked: list[int] = []

    async def reply(raws: tuple[bytes, ...]) -> bytes:
        asked.append(len(raws))
        if len(asked) == 1:
            return http(encode(BatchAnswer(1, ((1, "mempool_full"),), ((0, 7, 0, "ok"),))))
        return committed(raws)

    seen = run_closed(reply, batches(1, 2), connections=1)
    assert asked == [2, 1]
    assert (seen.committed, seen.again, seen.sent) == (2, 1, 2)
    assert not seen.failures


def test_what_never_commits_is_counted_with_its_reason() -> None:
    answers = iter(
        [
            http(encode(BatchAnswer(0, ((0, "bad_signature"),), ()))),
            http(encode(BatchAnswer(1, (), ()))),
            http(encode(BatchAnswer(1, (), ((0, 7, 0, "not_owner"),)))),
            http(b"{}", 500, "application/json"),
            http(b"nonsense"),
        ]
    )

    async def reply(_raws: tuple[bytes, ...]) -> bytes:
        return next(answers)

    seen = run_closed(reply, batches(5), connections=1)
    assert seen.committed == 0
    assert seen.failures["refused: bad_signature"] == 1
    assert seen.failures["not_committed_in_time"] == 1
    assert seen.failures["receipt: not_owner"] == 1
    assert sum(seen.failures.values()) == 5


def test_the_open_loop_measures_from_the_intended_time() -> None:
    """A stall of the node is felt by all that should have been sent meanwhile."""
    requests = 0

    async def reply(raws: tuple[bytes, ...]) -> bytes:
        nonlocal requests
        requests += 1
        if requests <= 10:
            await asyncio.sleep(0.3)
        return committed(raws)

    seen = run_open(reply, batches(20), rate_s=200)
    slow = [value for value in seen.latencies_ms if value > 250]
    assert len(seen.latencies_ms) == 20
    assert len(slow) == 10


def test_the_open_loop_counts_a_momentary_refusal_as_lost() -> None:
    async def reply(_raws: tuple[bytes, ...]) -> bytes:
        return http(encode(BatchAnswer(0, ((0, "mempool_full"),), ())))

    seen = run_open(reply, batches(3), rate_s=1000)
    assert seen.failures == {"refused: mempool_full": 3}
    assert seen.latencies_ms == []


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (ANSWER_BYTES_MAX + 1),
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nshort",
        b"nonsense\r\n\r\n",
        b"x" * 100_000,
    ],
    ids=range(7),
)
def test_an_answer_that_is_no_http_ends_the_connection(answer: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await closed(writer)

    async def go() -> None:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            connection = Connection(*server.sockets[0].getsockname()[:2])
            with pytest.raises(WireError):
                await connection.post("/", b"", "text/plain", 5)

    asyncio.run(go())


def test_a_node_that_is_silent_is_given_up() -> None:
    async def silent(_raws: tuple[bytes, ...]) -> bytes:
        await asyncio.sleep(0.5)
        return b""

    async def go() -> None:
        async with node(silent) as address:
            connection = Connection(address.host, address.port)
            with pytest.raises(WireError, match="Timeout"):
                await connection.post("/", encode([[b"x"]]), "application/msgpack", 0.05)
            await connection.close()

    asyncio.run(go())
