import asyncio
import contextlib
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import httpx
import pytest
from fastapi import Request

from node.api.app import ApiApp
from node.api.limits import ApiLimits
from node.api.server import ApiServer, CannotServe

LIMITS = ApiLimits()
HEAD = b"GET /hello HTTP/1.1\r\nHost: x\r\n"


def hello(begun: asyncio.Event | None = None) -> ApiApp:
    app = ApiApp("Hello", "", None)

    @app.get("/hello")
    async def get() -> dict[str, str]:
        return {"hello": "world"}

    @app.get("/slow")
    async def slow() -> dict[str, str]:
        if begun is not None:
            begun.set()
        await asyncio.sleep(60)
        return {}

    return app


@contextlib.contextmanager
def connected(server: ApiServer) -> Iterator[socket.socket]:
    with socket.create_connection((server.host, server.port), 5) as connection:
        yield connection


def everything(connection: socket.socket) -> bytes:
    """What comes until the other side closes."""
    answer = b""
    with contextlib.suppress(ConnectionError):
        while part := connection.recv(65536):
            answer += part
    return answer


def hello_again(connection: socket.socket) -> None:
    """One request and its whole answer."""
    connection.sendall(HEAD + b"\r\n")
    answer = b""
    while not answer.endswith(b'{"hello":"world"}'):
        answer += connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 200 ")


def send_until_refused(connection: socket.socket) -> None:
    for _ in range(1000):
        connection.sendall(b"x" * 1000)
        time.sleep(0.001)


def test_port_zero_gives_a_port_that_can_be_read(serve: Callable[..., ApiServer]) -> None:
    server = serve(app=hello())
    assert server.port > 0
    assert httpx.get(f"{server.url}/hello", trust_env=False, verify=False).json() == {
        "hello": "world"
    }


def test_an_answer_does_not_wait_for_an_acknowledgement(serve: Callable[..., ApiServer]) -> None:
    server = serve(app=hello())
    with httpx.Client(base_url=server.url, trust_env=False, verify=False) as client:
        client.get("/hello")
        begin = time.perf_counter()
        for _ in range(10):
            client.get("/hello")
        # Nagle's algorithm would add 40 ms to each.
        assert time.perf_counter() - begin < 0.3


def test_an_address_in_use_is_a_named_error_that_says_what_to_do() -> None:
    async def scenario() -> None:
        first = ApiServer(hello(), "127.0.0.1", 0)
        await first.start()
        second = ApiServer(hello(), "127.0.0.1", first.port)
        with pytest.raises(CannotServe, match=r"in use: stop the program .* another port"):
            await second.start()
        await second.stop()
        await first.stop()
        third = ApiServer(hello(), "127.0.0.1", first.port)
        await third.start()
        await third.stop()

    asyncio.run(scenario())


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid", "::ffff:192.0.2.1"])
def test_an_address_of_another_machine_is_a_named_error(host: str) -> None:
    async def scenario() -> None:
        with pytest.raises(CannotServe, match="has no address"):
            await ApiServer(hello(), host, 0).start()

    asyncio.run(scenario())


def test_the_server_leaves_the_signals_of_the_process_alone() -> None:
    async def scenario() -> None:
        before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        server = ApiServer(hello(), "127.0.0.1", 0)
        await server.start()
        after = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        await server.stop()
        assert before == after

    asyncio.run(scenario())


def test_a_stop_cancels_what_does_not_end_and_leaves_no_task() -> None:
    async def scenario() -> tuple[float, int, bytes]:
        begun = asyncio.Event()
        app = hello(begun)
        server = ApiServer(app, "127.0.0.1", 0, limits=replace(LIMITS, stop_seconds=1))
        await server.start()
        reader, writer = await asyncio.open_connection(server.host, server.port)
        writer.write(HEAD.replace(b"hello", b"slow") + b"\r\n")
        _, idle = await asyncio.open_connection(server.host, server.port)
        await begun.wait()
        begin = time.perf_counter()
        await server.stop()
        await server.stop()
        took = time.perf_counter() - begin
        answer = await reader.read()
        for stream in (writer, idle):
            stream.close()
            with contextlib.suppress(ConnectionError):
                await stream.wait_closed()
        return took, len(asyncio.all_tasks()), answer

    took, tasks, answer = asyncio.run(scenario())
    assert took < 4
    assert tasks == 1
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b'"code":"stopping"' in answer


def test_a_head_that_is_too_long_is_refused_whether_it_comes_at_once_or_in_parts(
    serve: Callable[..., ApiServer],
) -> None:
    server = serve(replace(LIMITS, head_bytes_max=4096), hello())
    with connected(server) as connection:
        connection.sendall(HEAD + b"X: " + b"a" * 3000 + b"\r\nConnection: close\r\n\r\n")
        assert everything(connection).startswith(b"HTTP/1.1 200 ")
    with connected(server) as connection:
        connection.sendall(HEAD + b"X: " + b"a" * 8000 + b"\r\n\r\n")
        assert everything(connection)[9:12] in (b"400", b"431")
    with connected(server) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(HEAD + b"X: ")
        for _ in range(100):
            connection.sendall(b"a" * 1000)
        assert everything(connection)[9:12] in (b"431", b"")


def test_endless_trailers_are_refused(serve: Callable[..., ApiServer]) -> None:
    server = serve(replace(LIMITS, head_bytes_max=4096), hello())
    head = b"POST /nowhere HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n"
    with connected(server) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(head)
            for number in range(2000):
                connection.sendall(b"X-%d: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n" % number)
            everything(connection)
        with pytest.raises(ConnectionError):
            send_until_refused(connection)


def test_a_large_body_is_not_taken_for_a_large_head(serve: Callable[..., ApiServer]) -> None:
    app = hello()

    @app.post("/count")
    async def count(request: Request) -> dict[str, int]:
        return {"bytes": len(await request.body())}

    server = serve(replace(LIMITS, head_bytes_max=4096), app)
    with httpx.Client(base_url=server.url, trust_env=False, verify=False) as client:
        for _ in range(3):
            answer = client.post("/count", content=b"x" * 1_000_000)
            assert answer.json() == {"bytes": 1_000_000}


@pytest.mark.parametrize("sent", [b"", HEAD[:10], HEAD, b"\r\n\r\n"])
def test_a_silent_or_slow_request_is_given_up_after_a_total_deadline(
    serve: Callable[..., ApiServer], sent: bytes
) -> None:
    server = serve(replace(LIMITS, request_seconds=0.2), hello())
    with connected(server) as connection:
        connection.sendall(sent)
        answer = everything(connection)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"request_timeout"' in answer


@pytest.mark.parametrize("sent", [b"\r\n", HEAD])
def test_the_second_request_of_a_connection_has_the_same_deadline(
    serve: Callable[..., ApiServer], sent: bytes
) -> None:
    server = serve(replace(LIMITS, request_seconds=0.2, idle_seconds=1), hello())
    begin = time.perf_counter()
    with connected(server) as connection:
        hello_again(connection)
        connection.sendall(sent)
        assert everything(connection).startswith(b"HTTP/1.1 408 ")
    assert time.perf_counter() - begin < 0.9


def test_a_slow_loris_cannot_stretch_the_deadline_with_single_bytes(
    serve: Callable[..., ApiServer],
) -> None:
    server = serve(replace(LIMITS, request_seconds=0.3), hello())
    begin = time.perf_counter()
    with connected(server) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(HEAD)
        while time.perf_counter() - begin < 5:
            connection.sendall(b"X")
            time.sleep(0.02)
    assert time.perf_counter() - begin < 2


def test_a_quick_request_on_a_connection_that_lives_long_is_served(
    serve: Callable[..., ApiServer],
) -> None:
    server = serve(replace(LIMITS, request_seconds=0.2), hello())
    with connected(server) as connection:
        for _ in range(3):
            hello_again(connection)
            time.sleep(0.15)


def test_connections_beyond_the_limit_are_refused_and_others_go_on(
    serve: Callable[..., ApiServer],
) -> None:
    server = serve(replace(LIMITS, connections_max=3), hello())
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(connected(server)) for _ in range(3)]
        for connection in held:
            hello_again(connection)
        with connected(server) as extra:
            answer = everything(extra)
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b"retry-after: 1" in answer
            assert b'"code":"overloaded"' in answer
        hello_again(held[0])


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
def test_bytes_that_are_not_http_get_a_typed_answer(
    serve: Callable[..., ApiServer], sent: bytes
) -> None:
    server = serve(app=hello())
    with connected(server) as connection:
        connection.sendall(sent)
        answer = everything(connection)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'{"error":{"code":"malformed"' in answer


def test_an_upgrade_is_not_taken(serve: Callable[..., ApiServer]) -> None:
    server = serve(app=hello())
    with connected(server) as connection:
        connection.sendall(HEAD + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
