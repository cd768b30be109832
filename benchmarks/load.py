"""Two ways to load a network, and what each of them saw.

*Open loop*, for latency: transactions leave on a schedule, and latency counts from the moment each
was meant to leave, so that a stalled system is not flattered. *Closed loop*, for throughput: a
bounded number of transactions is outstanding, and each committed batch makes room for the next.
A transaction counts when the node that it was handed to has decided, executed and stored it and
holds the certificate, and its receipt says `ok`.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from benchmarks.figures import Completion
from benchmarks.wire import Answer, Connection, WireError
from benchmarks.workload import Batch
from crypto.encoding import Malformed
from crypto.transaction import ACCEPTED
from node.api.batch import BatchAnswer, batch_answers
from testnet.client import MSGPACK, batch_body

TIMEOUT_MS = 30_000
PATH = f"/v1/transactions/batch?wait=committed&timeout_ms={TIMEOUT_MS}"
SLACK_S = 5.0
IN_FLIGHT_MAX = 512
"""Transactions of the open loop that wait at once; beyond it they are counted as lost."""

AGAIN = frozenset({"mempool_full", "sender_quota", "too_many_waiting"})
"""Refusals after which the same transaction is handed in again."""

BACK_OFF_S = 0.1


@dataclass(frozen=True, slots=True)
class Address:
    """The API of one node."""

    name: str
    host: str
    port: int


@dataclass(slots=True)
class Seen:
    """What a load generator saw in one phase."""

    latencies_ms: list[float] = field(default_factory=list)
    completions: list[Completion] = field(default_factory=list)
    heights: set[int] = field(default_factory=set)
    sent: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    """By reason; a transaction that was refused for a moment and handed in again is none."""
    again: int = 0
    late_ms_max: float = 0.0
    """How far the open loop fell behind its schedule: the generator's own fault."""
    duration_s: float = 0.0

    @property
    def committed(self) -> int:
        return sum(each.count for each in self.completions)


async def open_loop(nodes: Sequence[Address], batches: Sequence[Batch], rate_s: float) -> Seen:
    """Send one batch (of one transaction) every `1 / rate_s` seconds, to the nodes in turn."""
    seen = Seen()
    pools: list[deque[Connection]] = [deque() for _ in nodes]
    tasks: set[asyncio.Task[None]] = set()
    began = time.perf_counter()

    async def send(batch: Batch, turn: int, intended: float) -> None:
        pool, node = pools[turn], nodes[turn]
        connection = pool.popleft() if pool else Connection(node.host, node.port)
        seen.sent += len(batch.raws)
        answer = await _hand_in(connection, batch_body(batch.raws), len(batch.raws), seen)
        now = time.perf_counter()
        pool.append(connection)
        if answer is not None:
            good = _take(answer, seen, now - began)
            _fail_rest(answer, seen, again=False)
            seen.latencies_ms.extend([(now - intended) * 1000] * good)

    for position, batch in enumerate(batches):
        intended = began + position / rate_s
        await asyncio.sleep(max(0.0, intended - time.perf_counter()))
        seen.late_ms_max = max(seen.late_ms_max, (time.perf_counter() - intended) * 1000)
        if len(tasks) >= IN_FLIGHT_MAX:
            seen.failures["generator_full"] += len(batch.raws)
            continue
        task = asyncio.create_task(send(batch, position % len(nodes), intended))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    await asyncio.gather(*tasks)
    seen.duration_s = time.perf_counter() - began
    for connection in (each for pool in pools for each in pool):
        await connection.close()
    return seen


async def closed_loop(
    nodes: Sequence[Address],
    batches: Sequence[Batch],
    *,
    connections: int,
    seconds: float | None,
) -> Seen:
    """Keep `connections` batches outstanding at each node.

    Ends after `seconds`, or with the batches if that is None; what is outstanding then is
    waited for but lies beyond `Seen.duration_s`.
    """
    seen = Seen()
    waiting = deque(batches)
    began = time.perf_counter()
    deadline = None if seconds is None else began + seconds

    async def work(node: Address) -> None:
        connection = Connection(node.host, node.port)
        while waiting and (deadline is None or time.perf_counter() < deadline):
            batch = waiting.popleft()
            seen.sent += len(batch.raws)
            await _until_settled(connection, batch, seen, began)
        await connection.close()

    await asyncio.gather(*(work(node) for node in nodes for _ in range(connections)))
    seen.duration_s = time.perf_counter() - began if seconds is None else seconds
    return seen


async def _until_settled(connection: Connection, batch: Batch, seen: Seen, began: float) -> None:
    """Hand in a batch, and again what was refused only for a moment."""
    raws: Sequence[bytes] = batch.raws
    attempts = 0
    while raws:
        answer = await _hand_in(connection, batch_body(raws), len(raws), seen)
        if answer is None:
            return
        _take(answer, seen, time.perf_counter() - began)
        retry = [raws[position] for position, code in answer.refused if code in AGAIN]
        _fail_rest(answer, seen, again=True)
        attempts += 1
        if retry and attempts * BACK_OFF_S > TIMEOUT_MS / 1000:
            seen.failures["refused_too_often"] += len(retry)
            return
        if retry:
            seen.again += len(retry)
            await asyncio.sleep(BACK_OFF_S)
        raws = retry


async def _hand_in(
    connection: Connection, body: bytes, count: int, seen: Seen
) -> BatchAnswer | None:
    """The node's answer; None (and counted) if there is none that says anything."""
    try:
        answer = await connection.post(PATH, body, MSGPACK, TIMEOUT_MS / 1000 + SLACK_S)
        return _understood(answer, count)
    except WireError as error:
        seen.failures[f"wire: {error}"[:120]] += count
    except Malformed as error:
        seen.failures[f"answer: {error}"[:120]] += count
    return None


def _understood(answer: Answer, count: int) -> BatchAnswer:
    if answer.headers.get("content-type", "").startswith(MSGPACK):
        return batch_answers.decode(answer.body)
    if answer.status == 429:
        return BatchAnswer(
            0, tuple((position, "too_many_waiting") for position in range(count)), ()
        )
    raise Malformed(f"status {answer.status}: {answer.body[:80].decode(errors='replace')}")


def _take(answer: BatchAnswer, seen: Seen, at_s: float) -> int:
    """Count what was committed and accepted."""
    good = 0
    for _position, height, _index, code in answer.committed:
        if code == ACCEPTED:
            good += 1
            seen.heights.add(height)
        else:
            seen.failures[f"receipt: {code}"] += 1
    if good:
        seen.completions.append(Completion(at_s, good))
    return good


def _fail_rest(answer: BatchAnswer, seen: Seen, *, again: bool) -> None:
    """Count what is lost; with `again`, a refusal for the moment is not."""
    pending = answer.admitted - len(answer.committed)
    if pending:
        seen.failures["not_committed_in_time"] += pending
    for _position, code in answer.refused:
        if code not in AGAIN or not again:
            seen.failures[f"refused: {code}"] += 1
