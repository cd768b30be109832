"""What a node answers that cannot serve now: 503, a word, when to come back. Then it serves."""

import json
import resource
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import psutil
import pytest

from node.api.limits import RETRY_AFTER_SECONDS, ApiLimits
from node.events import SUBSCRIBERS_MAX
from testnet.network import Testnet
from testnet.process import Life
from tests.process.lab import Lab
from tests.process.load import Load

LIMITS = ApiLimits()
TIMEOUT_S = 30.0
MEMORY_MIB = 1024**2


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        found: str = json.loads(self.body)["error"]["code"]
        return found


@pytest.fixture
def net(lab: Lab) -> Testnet:
    return lab.running()


@pytest.fixture
def files() -> Iterator[None]:
    """Leave to open as many connections as a node takes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextmanager
def connected(net: Testnet, name: str) -> Iterator[socket.socket]:
    host, _, port = net.manifest.node(name).api.rpartition("/")[2].rpartition(":")
    with socket.create_connection((host, int(port)), TIMEOUT_S) as connection:
        yield connection


def ask(connection: socket.socket, path: str) -> Answer:
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    return read(connection)


def read(connection: socket.socket) -> Answer:
    """Status, headers and what of the body came with them, or as much as is announced."""
    raw = b""
    while b"\r\n\r\n" not in raw:
        more = connection.recv(65536)
        assert more, f"closed after {raw!r}"
        raw += more
    head, _, body = raw.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {key.lower(): value for key, value in (line.split(": ", 1) for line in lines)}
    while len(body) < int(headers.get("content-length", 0)):
        body += connection.recv(65536)
    return Answer(int(first.split()[1]), headers, body)


def assert_later(answer: Answer, code: str) -> None:
    assert (answer.status, answer.code) == (503, code)
    assert answer.headers["retry-after"] == str(RETRY_AFTER_SECONDS)
    assert len(json.loads(answer.body)["error"]["message"]) > 15
    assert b"Traceback" not in answer.body


def assert_works(net: Testnet) -> None:
    with Load(net) as load:
        load.wait_more(10, TIMEOUT_S)


def test_a_node_that_waits_for_its_first_block_is_alive_and_not_ready(lab: Lab) -> None:
    net = lab.network()
    net.start_node("v1")
    net.wait_answer("v1")
    with connected(net, "v1") as connection:
        assert ask(connection, "/health").status == 200
        answer = ask(connection, "/ready")
        assert_later(answer, "not_ready")
        assert b"1 of 4 validators are reachable" in answer.body
        for name in ("v2", "v3"):
            net.start_node(name)
        net.wait_height(1, ["v1"], TIMEOUT_S)
        assert ask(connection, "/ready").status == 200


def test_event_streams_beyond_the_limit_are_told_to_come_back(net: Testnet) -> None:
    with ExitStack() as stack:
        streams = [stack.enter_context(connected(net, "v1")) for _ in range(SUBSCRIBERS_MAX)]
        for stream in streams:
            assert ask(stream, "/v1/events").status == 200
        with connected(net, "v1") as extra:
            assert_later(ask(extra, "/v1/events"), "too_many_streams")
            assert ask(extra, "/v1/status").status == 200, "only streams are full"
            streams.pop().close()
            net.wait(lambda: ask(extra, "/v1/events").status == 200, "a place is free", TIMEOUT_S)
        assert_works(net)


@pytest.mark.usefixtures("files")
def test_connections_beyond_the_limit_are_told_to_come_back(net: Testnet) -> None:
    with ExitStack() as stack:
        held = [stack.enter_context(connected(net, "v1")) for _ in range(LIMITS.connections_max)]
        with connected(net, "v1") as extra:
            assert_later(read(extra), "overloaded")
            assert extra.recv(1) == b"", "and the connection is over"
        assert ask(held[0], "/health").status == 200
        # Consensus has a listener of its own.
        raw = net.wallet().sign("kv.set", "k", "v", expiry=1_000).raw
        assert net.client("v2").submit(raw, wait=True)["accepted"] is True
    client = net.client("v1")
    net.wait(client.is_ready, "v1 takes connections again", TIMEOUT_S)


def test_bodies_that_are_too_much_together_are_told_to_come_back(net: Testnet) -> None:
    size = LIMITS.batch_bytes_max
    count = LIMITS.bodies_bytes_max // size
    head = (
        "POST /v1/transactions/batch HTTP/1.1\r\nHost: x\r\n"
        f"Content-Type: application/msgpack\r\nContent-Length: {size}\r\n\r\n"
    ).encode()
    node = psutil.Process(net.manifest.node("v1").pid)
    before = node.memory_info().rss
    with ExitStack() as stack:
        # Each lacks its last bytes, so the node has to hold what came.
        held = [stack.enter_context(connected(net, "v1")) for _ in range(count)]
        for connection in held:
            connection.sendall(head + bytes(size - 64))

        def refused() -> bool:
            with connected(net, "v1") as extra:
                extra.sendall(head + bytes(size))
                answer = read(extra)
            if answer.status == 503:
                assert_later(answer, "overloaded")
            return answer.status == 503

        net.wait(refused, "the node has read all that came, and is full", TIMEOUT_S)
        grown = (node.memory_info().rss - before) / MEMORY_MIB
        assert grown < 3 * LIMITS.bodies_bytes_max / MEMORY_MIB, f"{grown:.0f} MiB"
        for connection in held:
            connection.sendall(bytes(64))
            assert read(connection).status in (400, 503), "zeros are no batch"
    # What was held is given back.
    with connected(net, "v1") as connection:
        connection.sendall(head + bytes(size))
        assert read(connection).status == 400
    assert_works(net)


def test_a_request_in_progress_is_told_that_the_node_stops(net: Testnet) -> None:
    pid = net.manifest.node("v1").pid
    assert pid is not None
    with connected(net, "v1") as connection:
        connection.sendall(
            b"POST /v1/transactions HTTP/1.1\r\nHost: x\r\n"
            b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
        )
        with connected(net, "v1") as other:
            assert ask(other, "/health").status == 200, "the node has read what was sent"
        began = time.monotonic()
        psutil.Process(pid).send_signal(signal.SIGTERM)
        assert_later(read(connection), "stopping")
        assert time.monotonic() - began < LIMITS.stop_seconds + 3
    net.wait(lambda: net.life("v1") is Life.DOWN, "v1 has ended", TIMEOUT_S)
    net.start_node("v1")
    net.wait_answer("v1")
    assert_works(net)
