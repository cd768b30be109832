import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from node.api.batch import batch_codec
from testnet.client import Client, batch_body
from testnet.errors import ApiError, Unreachable


@dataclass
class Server:
    """Answers every request with what it was told, and remembers the requests."""

    url: str = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b"{}"
    requests: list[tuple[str, str, bytes]] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Server]:
    told = Server()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            length = int(self.headers.get("content-length", "0"))
            told.requests.append((self.command, self.path, self.rfile.read(length)))
            self.send_response(told.status)
            for name, value in told.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(told.body)))
            self.end_headers()
            self.wfile.write(told.body)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_words: object) -> None:
            """Tests are quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        told.url = f"http://127.0.0.1:{listening.server_address[1]}"
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield told
        listening.shutdown()
        thread.join()


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(server.url, timeout_s=5) as made:
        yield made


def test_one_transaction_is_sent_as_its_signed_encoding(client: Client, server: Server) -> None:
    server.body = b'{"id": "ab", "status": "admitted"}'
    assert client.submit(b"\x01\x02") == {"id": "ab", "status": "admitted"}
    assert server.requests == [("POST", "/v1/transactions?wait=none", b'{"raw":"0102"}')]


def test_waiting_says_for_how_long(client: Client, server: Server) -> None:
    client.submit(b"\x01", wait=True, timeout_ms=1500)
    assert server.requests[0][1] == "/v1/transactions?wait=committed&timeout_ms=1500"


def test_a_batch_is_what_the_node_decodes(client: Client, server: Server) -> None:
    server.body = b'{"results": [{"status": "admitted"}]}'
    assert client.submit_batch([b"one", b"two"]) == [{"status": "admitted"}]
    assert batch_codec(1000).decode(server.requests[0][2]).transactions == (b"one", b"two")
    assert batch_codec(1000).decode(batch_body([])).transactions == ()


def test_a_refusal_carries_its_code_and_when_to_come_back(client: Client, server: Server) -> None:
    server.status, server.headers = 429, {"Retry-After": "2"}
    server.body = b'{"error": {"code": "mempool_full", "message": "try again later"}}'
    with pytest.raises(ApiError, match="try again later") as caught:
        client.submit(b"\x01")
    assert (caught.value.status, caught.value.code) == (429, "mempool_full")
    assert caught.value.retry_after_s == 2.0


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"error": "text"}', b"[]"])
def test_a_refusal_without_our_form_is_still_a_refusal(
    client: Client, server: Server, body: bytes
) -> None:
    server.status, server.body = 502, body
    with pytest.raises(ApiError, match="status 502"):
        client.status()


@pytest.mark.parametrize("body", [b"", b"no json", b"[1]"])
def test_an_answer_that_is_no_object_is_refused(
    client: Client, server: Server, body: bytes
) -> None:
    server.body = body
    with pytest.raises(ApiError):
        client.status()


def test_a_node_that_is_not_there_is_named() -> None:
    with Client("http://127.0.0.1:9", timeout_s=1) as client:
        with pytest.raises(Unreachable, match=r"127\.0\.0\.1:9 is not up"):
            client.status()
        assert not client.is_ready()


def test_a_proof_is_handed_on_byte_for_byte(client: Client, server: Server) -> None:
    server.body = b'{"format": 1,   "bundle": "00"}\n'
    assert client.proof("ab" * 32) == server.body


@pytest.mark.parametrize(
    ("call", "path"),
    [
        (lambda client: client.query("kv", "get", "a b/c?d"), "/v1/query/kv/get/a%20b%2Fc%3Fd"),
        (lambda client: client.inclusion(2, 5), "/v1/proofs/inclusion?index=2&size=5"),
        (lambda client: client.consistency(2, 5), "/v1/proofs/consistency?old=2&new=5"),
        (lambda client: client.block(3), "/v1/blocks/3"),
        (lambda client: client.header(3), "/v1/headers/3"),
        (lambda client: client.validators(), "/v1/validators"),
    ],
)
def test_reads_go_where_the_api_has_them(
    client: Client, server: Server, call: Callable[[Client], object], path: str
) -> None:
    call(client)
    assert server.requests[0][:2] == ("GET", path)


def test_metrics_are_read_by_name_with_labels(client: Client, server: Server) -> None:
    server.body = b'# HELP a b\na 1.0\nb{c="d e"} 2.5\n'
    assert client.metrics() == {"a": 1.0, 'b{c="d e"}': 2.5}


def test_events_are_read_until_the_stream_ends(client: Client, server: Server) -> None:
    server.headers = {"content-type": "text/event-stream"}
    block = json.dumps({"height": 1})
    server.body = f": hello\n\nid: 1\nevent: block\ndata: {block}\n\nid: 2\nda".encode()
    events = list(client.events(last_id="0"))
    assert [(event.id, event.kind, event.data) for event in events] == [
        ("1", "block", {"height": 1})
    ]
