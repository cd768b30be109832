import io
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import httpx
import pytest

from crypto.encoding import Codec, encode
from node.api import schemas
from node.api.batch import Batch, BatchAnswer, batch_answers
from node.api.errors import STATUS_OF_REFUSAL
from node.api.limits import ApiLimits
from node.service import Refusal

Signed = Callable[..., bytes]
MSGPACK = {"Content-Type": "application/msgpack"}


def raw(encoding: bytes) -> dict[str, str]:
    return {"raw": encoding.hex()}


def committed(client: httpx.Client, encoding: bytes) -> Any:
    return client.post(
        "/v1/transactions", json=raw(encoding), params={"wait": "committed", "timeout_ms": 5000}
    )


# --- One transaction. ---


def test_a_submitted_transaction_is_admitted_with_its_id(
    client: httpx.Client, signed: Signed
) -> None:
    answer = client.post("/v1/transactions", json=raw(signed()))
    assert answer.status_code == 202
    assert answer.json()["status"] == "admitted"
    schemas.Admitted.model_validate(answer.json())


def test_waiting_for_commitment_answers_with_the_place_in_the_ledger(
    client: httpx.Client, signed: Signed
) -> None:
    answer = committed(client, signed())
    assert answer.status_code == 200
    body = answer.json()
    schemas.Committed.model_validate(body)
    place = (body["status"], body["height"], body["index"], body["position"])
    assert place == ("committed", 1, 0, 0)
    assert (body["code"], body["accepted"], body["output"]) == ("ok", True, "01")


def test_a_rejection_by_the_application_is_committed_and_says_no(
    client: httpx.Client, signed: Signed
) -> None:
    answer = committed(client, signed(method="kv.fail"))
    body = answer.json()
    assert answer.status_code == 200
    assert (body["code"], body["accepted"]) == ("not_owner", False)
    assert body["message"] == "ask the owner — she may"


def test_a_transaction_in_fields_is_the_same_as_its_encoding(
    client: httpx.Client, signed: Signed, ledger: Any
) -> None:
    fields = {
        "chain": "assay-test",
        "sender": (b"k" * 32).hex(),
        "nonce": 7,
        "expiry": 1000,
        "method": "kv.set",
        "arguments": ["colour", 5],
    }
    body = {"transaction": fields, "signature": (b"s" * 64).hex()}
    answer = client.post("/v1/transactions", json=body)
    assert answer.status_code == 202
    assert ledger.submitted == [signed(7, "kv.set", ("colour", 5))]


def test_when_the_time_runs_out_the_transaction_is_pending(
    client: httpx.Client, signed: Signed, running: Any
) -> None:
    running.ledger.commit_at_once = False
    answer = client.post(
        "/v1/transactions", json=raw(signed()), params={"wait": "committed", "timeout_ms": 20}
    )
    assert answer.status_code == 202
    assert answer.json()["status"] == "pending"


def test_submitting_again_is_harmless_while_it_waits_and_after_it_was_committed(
    client: httpx.Client, signed: Signed, running: Any
) -> None:
    running.ledger.commit_at_once = False
    first = client.post("/v1/transactions", json=raw(signed())).json()
    again = client.post("/v1/transactions", json=raw(signed()))
    assert again.status_code == 202
    assert again.json() == first | {"duplicate": True}
    running.do(running.ledger.commit)
    after = committed(client, signed())
    assert after.status_code == 200
    assert after.json()["duplicate"] is True
    assert after.json()["height"] == 1


@pytest.mark.parametrize("refusal", list(Refusal))
def test_each_refusal_has_its_status_code_and_sentence(
    client: httpx.Client, signed: Signed, refusal: Refusal
) -> None:
    answer = client.post("/v1/transactions", json=raw(signed(method=f"refuse.{refusal}")))
    assert answer.status_code == STATUS_OF_REFUSAL[refusal]
    assert 400 <= answer.status_code < 500
    assert answer.json() == {
        "error": {"code": refusal.value, "message": f"{refusal.value}: change it"}
    }
    assert ("retry-after" in answer.headers) == (answer.status_code == 429)


@pytest.mark.parametrize(
    "params",
    [
        {"wait": "forever"},
        {"timeout_ms": 60_001},
        {"timeout_ms": -1},
        {"timeout_ms": "1e3"},
        {"timeout_ms": "\uff11\uff10"},
        {"timeout": 5},
    ],
)
def test_wrong_query_parameters_are_refused_before_anything_is_submitted(
    client: httpx.Client, signed: Signed, ledger: Any, params: dict[str, str | int]
) -> None:
    one = client.post("/v1/transactions", json=raw(signed()), params=params)
    many = client.post(
        "/v1/transactions/batch", json={"transactions": [raw(signed())]}, params=params
    )
    for answer in (one, many):
        assert answer.status_code == 400
        assert answer.json()["error"]["code"] == "malformed"
        assert "Retry" not in answer.headers
    assert one.json() == many.json()
    assert ledger.submitted == []


@pytest.mark.parametrize("query", ["wait=%FF", "&".join(["a=1"] * 20), "wait=none&wait=forever"])
def test_a_query_string_that_cannot_be_read_is_refused(
    client: httpx.Client, signed: Signed, query: str
) -> None:
    body = {"transactions": [raw(signed())]}
    answer = client.post(f"/v1/transactions/batch?{query}", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "malformed"


def test_the_direct_path_of_batches_is_counted_and_fails_like_the_others(
    client: httpx.Client, signed: Signed, running: Any, log: io.StringIO
) -> None:
    content = encode(Batch((signed(),)))
    client.post("/v1/transactions/batch", content=content, headers=MSGPACK)
    text = running.metrics.render().decode()
    assert 'answer="/v1/transactions/batch 202"' in text
    poison = encode(Batch((signed(method="refuse.no-such-reason"),)))
    answer = client.post("/v1/transactions/batch", content=poison, headers=MSGPACK)
    assert answer.status_code == 500
    assert answer.json()["error"]["code"] == "internal"
    assert "ValueError" not in answer.text
    assert "api_fault" in log.getvalue()


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"nonce": -1}, "nonce"),
        ({"nonce": 2**63}, "nonce"),
        ({"nonce": True}, "nonce"),
        ({"nonce": "7"}, "nonce"),
        ({"expiry": None}, "expiry"),
        ({"chain": "c" * 65}, "chain"),
        ({"sender": "zz"}, "sender"),
        ({"sender": "a"}, "sender"),
        ({"sender": "AB"}, "sender"),
        ({"arguments": ["a"] * 17}, "arguments"),
        ({"arguments": [None]}, "arguments"),
        ({"arguments": [["a"]]}, "arguments"),
        ({"arguments": "ab"}, "arguments"),
        ({"more": 1}, "more"),
    ],
)
def test_a_wrong_field_is_named_in_the_answer(
    client: httpx.Client, change: dict[str, object], place: str
) -> None:
    body = schemas.SignedSubmission.example
    assert client.post("/v1/transactions", json=body).status_code == 202
    wrong = {**body, "transaction": {**body["transaction"], **change}}
    answer = client.post("/v1/transactions", json=wrong)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "malformed"
    assert place in answer.json()["error"]["message"]


@pytest.mark.parametrize("missing", list(schemas.Transaction.example))
def test_a_missing_field_is_refused(client: httpx.Client, missing: str) -> None:
    body = schemas.SignedSubmission.example
    less = {key: value for key, value in body["transaction"].items() if key != missing}
    answer = client.post("/v1/transactions", json={**body, "transaction": less})
    assert answer.status_code == 400
    assert missing in answer.json()["error"]["message"]


# --- Batches. ---


def binary(client: httpx.Client, raws: Sequence[bytes], wait: str = "none") -> BatchAnswer:
    answer = client.post(
        "/v1/transactions/batch",
        content=encode(Batch(tuple(raws))),
        headers=MSGPACK | {"Accept": "application/msgpack"},
        params={"wait": wait, "timeout_ms": 5000},
    )
    assert answer.headers["content-type"] == "application/msgpack"
    return batch_answers.decode(answer.content)


def test_a_binary_batch_is_answered_in_binary(client: httpx.Client, signed: Signed) -> None:
    answer = binary(client, [signed(nonce) for nonce in range(100)])
    assert answer == BatchAnswer(100, (), ())


def test_a_binary_batch_that_waits_says_where_each_was_committed(
    client: httpx.Client, signed: Signed
) -> None:
    raws = [signed(0), signed(1, "refuse.expired"), signed(2, "kv.fail"), b"junk", signed(0)]
    answer = binary(client, raws, "committed")
    assert answer.admitted == 3
    assert answer.refused == ((1, "expired"), (3, "malformed"))
    assert answer.committed == ((0, 1, 0, "ok"), (2, 1, 1, "not_owner"), (4, 1, 0, "ok"))


def test_a_json_batch_answers_in_the_order_of_the_batch(
    client: httpx.Client, signed: Signed
) -> None:
    entries = [raw(signed(0)), raw(signed(1, "refuse.bad_signature")), raw(signed(2))]
    body = {"transactions": [*entries, schemas.SignedSubmission.example]}
    answer = client.post("/v1/transactions/batch", json=body)
    assert answer.status_code == 202
    schemas.BatchResults.model_validate(answer.json())
    results = answer.json()["results"]
    assert [entry["status"] for entry in results] == ["admitted", "refused", "admitted", "admitted"]
    assert results[1]["error"]["code"] == "bad_signature"
    answer = client.post("/v1/transactions/batch", json=body, params={"wait": "committed"})
    assert answer.status_code == 200
    schemas.BatchResults.model_validate(answer.json())
    results = answer.json()["results"]
    assert [entry.get("index") for entry in results] == [0, None, 1, 2]
    assert [entry.get("duplicate", False) for entry in results] == [True, False, True, True]


def test_a_binary_batch_may_be_answered_in_json(client: httpx.Client, signed: Signed) -> None:
    content = encode(Batch((signed(0),)))
    answer = client.post("/v1/transactions/batch", content=content, headers=MSGPACK)
    assert answer.json()["results"][0]["status"] == "admitted"


def test_a_batch_of_which_nothing_was_taken_for_lack_of_room_is_429(
    client: httpx.Client, signed: Signed
) -> None:
    full = [signed(0, "refuse.mempool_full"), signed(1, "refuse.sender_quota")]
    body = {"transactions": [raw(encoding) for encoding in full]}
    answer = client.post("/v1/transactions/batch", json=body)
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "1"
    assert answer.json()["error"]["code"] == "mempool_full"
    assert len(answer.json()["results"]) == 2
    body["transactions"].append(raw(signed(2)))
    some = client.post("/v1/transactions/batch", json=body)
    assert some.status_code == 202
    assert some.headers["retry-after"] == "1"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x01",
        b"\x02" + encode(Batch(()))[1:],
        encode(Batch((b"x",)))[:-1],
        encode(Batch((b"x",))) + b"\x00",
        encode([["text"]]),
        encode([[b"x"], 1]),
        b"\x01\x91\x91\xc5\x00\x01x",
        b"\x01" + b"\x91" * 5000,
        b"\x01\xdd\xff\xff\xff\xff",
    ],
)
def test_a_batch_that_is_not_canonical_is_refused(client: httpx.Client, content: bytes) -> None:
    answer = client.post("/v1/transactions/batch", content=content, headers=MSGPACK)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "malformed"


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        {"transactions": {}},
        {"transactions": [], "more": 1},
        {"transactions": []},
        {"transactions": [1]},
        {"transactions": [{"raw": "00", "signature": "00"}]},
    ],
)
def test_a_json_batch_of_another_shape_is_refused(client: httpx.Client, body: object) -> None:
    answer = client.post("/v1/transactions/batch", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "malformed"


def test_an_empty_batch_and_one_too_many_are_refused(client: httpx.Client, signed: Signed) -> None:
    def post(count: int) -> httpx.Response:
        content = encode(Batch(tuple(signed(nonce) for nonce in range(count))))
        return client.post("/v1/transactions/batch", content=content, headers=MSGPACK)

    assert post(0).status_code == 400
    assert post(100).status_code == 202
    assert post(101).status_code == 413


def test_the_codec_of_the_answer_refuses_what_is_not_one() -> None:
    assert isinstance(batch_answers, Codec)
    value = BatchAnswer(1, ((0, "expired"),), ((1, 2, 3, "ok"),))
    assert batch_answers.decode(encode(value)) == value


# --- Waiting is bounded. ---


def test_too_many_waiting_requests_are_refused_and_nothing_of_them_is_submitted(
    running: Any, serve: Callable[..., Any], signed: Signed
) -> None:
    running.ledger.commit_at_once = False
    limits = replace(ApiLimits(), waiting_requests_max=2, waiting_transactions_max=3)
    server = serve(limits)
    wait = {"wait": "committed", "timeout_ms": "10000"}
    with (
        httpx.Client(base_url=server.url, trust_env=False, verify=False) as client,
        ThreadPoolExecutor(2) as pool,
    ):

        def post(nonce: int, count: int = 1) -> httpx.Response:
            raws = tuple(signed(nonce + offset) for offset in range(count))
            url = "/v1/transactions/batch"
            return client.post(url, content=encode(Batch(raws)), headers=MSGPACK, params=wait)

        first = pool.submit(post, 0)
        while len(running.ledger.submitted) < 1:
            time.sleep(0.001)
        refused = post(100, count=3)
        second = pool.submit(post, 1)
        while len(running.ledger.submitted) < 2:
            time.sleep(0.001)
        also_refused = post(200)
        assert len(running.ledger.submitted) == 2
        running.do(running.ledger.commit)
        assert [first.result(5).status_code, second.result(5).status_code] == [200, 200]
        for answer in (refused, also_refused):
            assert answer.status_code == 429
            assert answer.json()["error"]["code"] == "too_many_waiting"
            assert answer.headers["retry-after"] == "1"
        running.ledger.commit_at_once = True
        assert post(300).status_code == 200


def test_a_request_that_waits_ends_as_pending_when_the_node_stops(
    running: Any, serve: Callable[..., Any], signed: Signed
) -> None:
    running.ledger.commit_at_once = False
    server = serve()
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(
            httpx.post,
            f"{server.url}/v1/transactions?wait=committed&timeout_ms=60000",
            json=raw(signed()),
            trust_env=False,
            verify=False,
            timeout=20,
        )
        while not running.ledger.submitted:
            time.sleep(0.001)
        running.call(server.stop())
        answer = future.result(5)
    assert answer.status_code == 202
    assert answer.json()["status"] == "pending"
