"""Bodies that are meant to hurt: faults 2, 6, 7, 8, 13 and 14 of the list, at the client's edge."""

import gzip
import json
import socket
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from crypto.encoding import Malformed, encode
from node.api.batch import Batch, batch_codec
from node.api.body import parse_json
from node.api.errors import ApiError
from node.api.limits import ApiLimits
from node.api.server import ApiServer

LIMITS = ApiLimits()
JSON = {"Content-Type": "application/json"}
ROUTES = ("/v1/transactions", "/v1/transactions/batch")


# --- JSON, as a function. ---


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": [1, "x", null, true]}', {"a": [1, "x", None, True]}),
        ('{"a": "[[[[[[[[[[[[[[[[[[[[ ,,,, \\" ]"}', {"a": '[[[[[[[[[[[[[[[[[[[[ ,,,, " ]'}),
        ('"\\ud83d\\ude00"', "😀"),
        (str(2**63 - 1), 2**63 - 1),
    ],
)
def test_strict_json_is_read(text: str, value: object) -> None:
    assert parse_json(text.encode(), LIMITS) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "{} {}",
        "NaN",
        "-Infinity",
        "1e400",
        "1.5",
        "1.0",
        "1e2",
        "9" * 5000,
        '{"a": 1, "a": 1}',
        '{"a": {"b": 1, "b": 2}}',
        '"\\ud800"',
        '"\n"',
        '"unterminated',
        "[" * 9 + "]" * 9,
        "[" * 100_000,
        "]" * 100_000,
        '{"a":' * 100_000,
        "[" + "1," * 50_000 + "1]",
        "\ufeff{}",
    ],
)
def test_json_with_two_meanings_or_none_or_too_much_is_refused(text: str) -> None:
    with pytest.raises(ApiError) as caught:
        parse_json(text.encode(), LIMITS)
    assert (caught.value.status, caught.value.code) == (400, "malformed")


def test_closing_brackets_without_end_are_given_up_at_the_first() -> None:
    with pytest.raises(ApiError, match="closes that was never opened"):
        parse_json(b"]" * 4_000_000, LIMITS)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32", "latin-1"])
def test_json_in_another_encoding_than_utf_8_is_refused(encoding: str) -> None:
    with pytest.raises(ApiError):
        parse_json('{"a": "é"}'.encode(encoding), LIMITS)
    assert parse_json('{"a": "é"}'.encode(), LIMITS) == {"a": "é"}


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**18), 10**18) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


@given(values, st.booleans())
def test_whatever_json_writes_within_the_depth_is_read_back(
    value: object, ascii_only: bool
) -> None:
    try:
        text = json.dumps(value, ensure_ascii=ascii_only).encode()
    except UnicodeEncodeError:
        return
    try:
        read = parse_json(text, LIMITS)
    except ApiError as error:
        read = value if "nested" in error.message or "UTF-8" in error.message else error
    assert read == value


# --- Over HTTP. ---


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    "text",
    ['{"raw": NaN}', '{"raw": 1e400}', '{"raw": "00", "raw": "00"}', "[" * 5000, '{"raw": 1.5}'],
)
def test_ambiguous_json_is_refused_by_each_route(
    client: httpx.Client, route: str, text: str
) -> None:
    answer = client.post(route, content=text, headers=JSON)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "malformed"


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("encoding", ["gzip", "br", "identity, gzip"])
def test_a_compressed_body_is_refused_and_never_inflated(
    client: httpx.Client, route: str, encoding: str
) -> None:
    bomb = gzip.compress(b"[" * 10_000_000)
    answer = client.post(route, content=bomb, headers=JSON | {"Content-Encoding": encoding})
    assert answer.status_code == 415
    assert answer.json()["error"]["code"] == "compressed_body"


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded"])
@pytest.mark.parametrize("route", ROUTES)
def test_another_content_type_is_refused(
    client: httpx.Client, route: str, kind: str | None
) -> None:
    headers = {"Content-Type": kind} if kind else {}
    answer = client.post(route, content=b"{}", headers=headers)
    assert answer.status_code == 415
    assert answer.json()["error"]["code"] == "unsupported_media_type"


@pytest.mark.parametrize("route", ROUTES)
def test_a_body_that_announces_too_much_is_refused(client: httpx.Client, route: str) -> None:
    answer = client.post(route, content=b" " * 300_000, headers=JSON)
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "too_large"
    assert client.get("/health").status_code == 200


@pytest.mark.parametrize("route", ROUTES)
def test_a_body_without_a_length_is_cut_off_while_it_is_read(
    client: httpx.Client, route: str
) -> None:
    chunks = iter([b" " * 10_000] * 40)
    answer = client.post(route, content=chunks, headers=JSON)
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "too_large"


def test_a_caller_that_asks_before_sending_too_much_is_told_at_once(server: ApiServer) -> None:
    with socket.create_connection((server.host, server.port), 5) as connection:
        connection.sendall(
            b"POST /v1/transactions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Expect: 100-continue\r\nContent-Length: 99999999999\r\n\r\n"
        )
        assert connection.recv(65536).startswith(b"HTTP/1.1 413 ")


def test_all_bodies_together_are_bounded(serve: Callable[..., Any], signed: Any) -> None:
    server = serve(replace(LIMITS, bodies_bytes_max=10_000))
    kind = {"Content-Type": "application/msgpack"}
    with httpx.Client(base_url=server.url, trust_env=False, verify=False) as client:
        large = client.post("/v1/transactions/batch", content=b"x" * 20_000, headers=kind)
        assert large.status_code == 503
        assert large.json()["error"]["code"] == "overloaded"
        assert large.headers["retry-after"] == "1"
        small = encode(Batch((signed(),)))
        for _ in range(3):
            answer = client.post("/v1/transactions/batch", content=small, headers=kind)
            assert answer.status_code == 202


def test_millions_of_tiny_transactions_are_refused_from_their_count() -> None:
    count = 1_000_000
    body = b"\x01\x91\xdd" + count.to_bytes(4, "big") + b"\xc4\x02ab" * count
    tracemalloc.start()
    try:
        with pytest.raises(Malformed):
            batch_codec(LIMITS.batch_bytes_max * 100).decode(body)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1024 * 1024
    few = encode(Batch((b"ab",) * LIMITS.batch_transactions_max))
    assert len(batch_codec(len(few)).decode(few).transactions) == LIMITS.batch_transactions_max


def test_a_body_that_ends_early_does_no_harm(server: ApiServer, client: httpx.Client) -> None:
    with socket.create_connection((server.host, server.port), 5) as connection:
        connection.sendall(
            b"POST /v1/transactions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
            b"Content-Length: 1000\r\n\r\n{"
        )
    assert client.get("/health").status_code == 200


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.sampled_from(ROUTES),
    st.sampled_from(["application/json", "application/msgpack", "", "*/*; q=\xff"]),
    st.one_of(
        st.binary(max_size=400),
        st.binary(max_size=100).map(lambda tail: b"\x01\x91\x91\xc4" + tail),
        st.binary(max_size=100).map(lambda tail: encode(Batch((tail,)))),
        st.text(max_size=60).map(lambda text: json.dumps({"raw": text}).encode()),
        values.map(lambda value: json.dumps({"transactions": [value]}).encode()),
    ),
)
def test_random_bytes_never_make_the_node_fail(
    client: httpx.Client, route: str, kind: str, body: bytes
) -> None:
    headers = {"Content-Type": kind.encode("latin-1")}
    answer = client.post(route, content=body, headers=headers)  # type: ignore[arg-type]
    assert answer.status_code < 500
    if answer.status_code >= 400:
        assert set(answer.json()) == {"error"}
        assert "Traceback" not in answer.text
