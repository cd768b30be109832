import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from node.events import BACKLOG_BLOCKS, SUBSCRIBERS_MAX

Signed = Callable[..., bytes]


class Stream:
    """Reads one event stream, block by block."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self.comments = 0
        self._lines = answer.iter_lines()

    def block(self) -> dict[str, Any]:
        fields: dict[str, str] = {}
        for line in self._lines:
            if line.startswith(":"):
                self.comments += 1
            elif line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif "event" in fields:
                assert fields["event"] == "block"
                data: dict[str, Any] = json.loads(fields["data"])
                assert fields["id"] == str(data["height"])
                return data
        raise EOFError

    def heights(self, count: int) -> list[int]:
        return [self.block()["height"] for _ in range(count)]

    def rest(self) -> list[str]:
        return [line for line in self._lines if line and not line.startswith(":")]


@pytest.fixture
def follow(client: httpx.Client) -> Iterator[Callable[..., Stream]]:
    opened: list[Any] = []

    def start(last: str | None = None, **params: int) -> Stream:
        headers = {"Last-Event-ID": last} if last is not None else {}
        names = {"from": params["start"]} if "start" in params else {}
        context = client.stream("GET", "/v1/events", headers=headers, params=names)
        opened.append(context)
        return Stream(context.__enter__())

    yield start
    for context in opened:
        context.__exit__(None, None, None)


@pytest.fixture
def commit(running: Any, signed: Signed) -> Callable[[int], None]:
    """Commit so many blocks of one transaction."""
    running.ledger.commit_at_once = False

    def run(count: int) -> None:
        def blocks() -> None:
            ledger = running.ledger
            for _ in range(count):
                ledger._admit(signed(len(ledger.blocks)))
                ledger.commit()

        running.do(blocks)

    return run


def open_streams(running: Any) -> int:
    return int(running.do(lambda: running.ledger.events.subscribers))


def test_a_stream_without_a_start_begins_with_the_next_block(
    follow: Callable[..., Stream], commit: Callable[[int], None]
) -> None:
    commit(3)
    stream = follow()
    commit(2)
    block = stream.block()
    assert block["height"] == 4
    assert block["first_index"] == 3
    assert [receipt["code"] for receipt in block["receipts"]] == ["ok"]
    assert set(block) == {"height", "header", "state_root", "time_ms", "first_index", "receipts"}
    assert stream.block()["height"] == 5


def test_a_stream_replays_from_the_ledger_and_goes_on_live(
    follow: Callable[..., Stream], commit: Callable[[int], None]
) -> None:
    commit(3)
    stream = follow(start=2)
    assert stream.heights(2) == [2, 3]
    commit(2)
    assert stream.heights(2) == [4, 5]


def test_a_reconnecting_client_continues_after_the_last_block_it_saw(
    follow: Callable[..., Stream], commit: Callable[[int], None]
) -> None:
    commit(5)
    assert follow(last="3").heights(2) == [4, 5]
    assert follow(last="0").heights(5) == [1, 2, 3, 4, 5]


def test_the_header_wins_over_the_address_because_browsers_repeat_the_address(
    follow: Callable[..., Stream], commit: Callable[[int], None]
) -> None:
    commit(5)
    assert follow(last="4", start=1).heights(1) == [5]


def test_a_live_block_and_the_same_block_replayed_are_equal(
    follow: Callable[..., Stream], commit: Callable[[int], None]
) -> None:
    live = follow()
    commit(1)
    assert live.block() == follow(start=1).block()


def test_a_start_in_the_future_waits_for_it(
    follow: Callable[..., Stream], commit: Callable[[int], None]
) -> None:
    stream = follow(start=3)
    commit(4)
    assert stream.heights(2) == [3, 4]


def test_a_client_that_falls_far_behind_still_misses_nothing(
    follow: Callable[..., Stream], commit: Callable[[int], None], running: Any
) -> None:
    stream = follow()
    count = 3 * BACKLOG_BLOCKS
    commit(count)  # On the loop in one go: the stream cannot read in between.
    assert stream.heights(count) == list(range(1, count + 1))
    commit(1)
    assert stream.heights(1) == [count + 1]


def test_a_silent_stream_is_kept_alive_by_comments(
    follow: Callable[..., Stream], commit: Callable[[int], None]
) -> None:
    stream = follow()
    with ThreadPoolExecutor(1) as pool:
        block = pool.submit(stream.block)
        while stream.comments < 3:
            time.sleep(0.001)
        commit(1)
        assert block.result(5)["height"] == 1


@pytest.mark.parametrize("last", ["x", "-1", "1.5", "9" * 19, ""])
def test_a_last_event_id_that_is_no_height_is_refused(client: httpx.Client, last: str) -> None:
    answer = client.get("/v1/events", headers={"Last-Event-ID": last})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "malformed")


@pytest.mark.parametrize("start", ["0", "x", str(2**63)])
def test_a_start_that_is_no_height_is_refused(client: httpx.Client, start: str) -> None:
    answer = client.get("/v1/events", params={"from": start})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "malformed")


def test_the_place_of_a_client_that_left_is_free_again(client: httpx.Client, running: Any) -> None:
    with client.stream("GET", "/v1/events"):
        assert open_streams(running) == 1
    for _ in range(1000):
        if open_streams(running) == 0:
            break
    assert open_streams(running) == 0
    assert "assay_api_event_streams 0.0" in running.metrics.render().decode()


def test_too_many_streams_are_refused_with_a_reason(client: httpx.Client, running: Any) -> None:
    taken = running.do(lambda: [running.ledger.events.subscribe() for _ in range(SUBSCRIBERS_MAX)])
    refused = client.get("/v1/events")
    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "too_many_streams"
    assert "retry-after" in refused.headers
    running.do(taken[0].close)
    with client.stream("GET", "/v1/events") as answer:
        assert answer.status_code == 200


def test_streams_end_in_order_when_the_server_stops(
    running: Any, serve: Callable[..., Any], commit: Callable[[int], None]
) -> None:
    server = serve()
    with httpx.stream(
        "GET", f"{server.url}/v1/events?from=1", trust_env=False, verify=False
    ) as answer:
        stream = Stream(answer)
        commit(1)
        assert stream.heights(1) == [1]
        running.call(server.stop())
        assert stream.rest() == []
    assert open_streams(running) == 0


def test_streams_end_when_the_node_ends_its_events(
    running: Any, follow: Callable[..., Stream], commit: Callable[[int], None]
) -> None:
    stream = follow(start=1)
    commit(2)
    assert stream.heights(2) == [1, 2]
    running.do(running.ledger.events.close)
    assert stream.rest() == []
