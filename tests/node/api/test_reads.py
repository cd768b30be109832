from collections.abc import Callable
from typing import Any

import httpx
import pytest

from crypto import bundle
from node.api import schemas

Signed = Callable[..., bytes]
UNKNOWN = "00" * 32


@pytest.fixture
def chain(client: httpx.Client, signed: Signed) -> list[str]:
    """Three blocks of one transaction; the ids."""
    return [
        client.post("/v1/transactions", json={"raw": signed(nonce).hex()}).json()["id"]
        for nonce in range(3)
    ]


def test_a_committed_transaction_is_shown_with_its_receipt(
    client: httpx.Client, chain: list[str]
) -> None:
    answer = client.get(f"/v1/transactions/{chain[1]}")
    assert answer.status_code == 200
    body = answer.json()
    schemas.TransactionView.model_validate(body)
    assert (body["status"], body["height"], body["index"]) == ("committed", 2, 1)
    assert body["transaction"]["nonce"] == 1
    assert body["signature"] == (b"s" * 64).hex()


def test_a_pending_transaction_and_an_unknown_one_are_told_apart(
    client: httpx.Client, signed: Signed, ledger: Any
) -> None:
    ledger.commit_at_once = False
    sent = client.post("/v1/transactions", json={"raw": signed().hex()}).json()
    pending = client.get(f"/v1/transactions/{sent['id']}")
    assert (pending.status_code, pending.json()["status"]) == (200, "pending")
    proof = client.get(f"/v1/transactions/{sent['id']}/proof")
    assert (proof.status_code, proof.json()["error"]["code"]) == (404, "not_committed")
    for path in (f"/v1/transactions/{UNKNOWN}", f"/v1/transactions/{UNKNOWN}/proof"):
        unknown = client.get(path)
        assert unknown.status_code == 404
        assert unknown.json()["error"]["code"] == "unknown_transaction"


def test_a_proof_is_exactly_the_bundle_that_the_offline_verifier_reads(
    client: httpx.Client, chain: list[str]
) -> None:
    answer = client.get(f"/v1/transactions/{chain[2]}/proof")
    assert answer.status_code == 200
    schemas.Proof.model_validate(answer.json())
    proof = bundle.from_json(answer.content)
    assert bundle.to_json(proof) == answer.content
    assert proof.receipt.transaction.hex() == chain[2]


@pytest.mark.parametrize("identity", ["0", "zz" * 32, "AB" * 32, "00" * 31, "00" * 33])
def test_an_id_is_64_hexadecimal_digits(client: httpx.Client, identity: str) -> None:
    answer = client.get(f"/v1/transactions/{identity}")
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "malformed"


def test_a_block_is_shown_whole(client: httpx.Client, chain: list[str]) -> None:
    answer = client.get("/v1/blocks/2")
    assert answer.status_code == 200
    body = answer.json()
    schemas.BlockAnswer.model_validate(body)
    assert body["first_index"] == 1
    assert [entry["id"] for entry in body["transactions"]] == [chain[1]]
    assert body["certificate"]["header"] == body["digest"]


def test_a_header_comes_with_its_digest_and_certificate(
    client: httpx.Client, chain: list[str]
) -> None:
    body = client.get("/v1/headers/3").json()
    schemas.HeaderView.model_validate(body)
    assert body["header"]["height"] == 3
    assert body["header"]["parent"] == client.get("/v1/headers/2").json()["digest"]
    assert body["certificate"]["votes"][0]["validator"] == 0


@pytest.mark.parametrize("route", ["blocks", "headers"])
@pytest.mark.parametrize(
    ("height", "status"),
    [("1", 200), ("4", 404), (str(2**63 - 1), 404)]
    + [(text, 400) for text in ("0", "-1", "1.0", "01", "+1", "1_0", "%201", "\uff11", "x")]
    + [(str(2**63), 400), ("9" * 5000, 400)],
)
def test_heights_are_bounded_whole_numbers(
    client: httpx.Client, chain: list[str], route: str, height: str, status: int
) -> None:
    answer = client.get(f"/v1/{route}/{height}")
    assert answer.status_code == status
    if status != 200:
        assert answer.json()["error"]["code"] in ("malformed", "out_of_range")


def test_proofs_of_the_tree(client: httpx.Client, chain: list[str]) -> None:
    inclusion = client.get("/v1/proofs/inclusion", params={"index": 1, "size": 3})
    schemas.Inclusion.model_validate(inclusion.json())
    assert (inclusion.json()["index"], len(inclusion.json()["hashes"])) == (1, 2)
    consistency = client.get("/v1/proofs/consistency", params={"old": 1, "new": 3})
    schemas.Consistency.model_validate(consistency.json())
    assert (consistency.json()["old"], len(consistency.json()["hashes"])) == (1, 1)


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("inclusion?index=3&size=3", 404),
        ("inclusion?index=0&size=4", 404),
        ("inclusion?index=0", 400),
        ("inclusion?index=-1&size=3", 400),
        (f"inclusion?index=0&size={2**63}", 400),
        ("inclusion?index=0&size=3&more=1", 400),
        ("consistency?old=2&new=1", 404),
        ("consistency?old=1&new=NaN", 400),
    ],
)
def test_proofs_that_cannot_be_are_refused(
    client: httpx.Client, chain: list[str], path: str, status: int
) -> None:
    answer = client.get(f"/v1/proofs/{path}")
    assert answer.status_code == status
    assert answer.json()["error"]["message"]


def test_a_query_is_answered_with_the_height_it_was_read_at(
    client: httpx.Client, chain: list[str]
) -> None:
    body = client.get("/v1/query/kv/a/b").json()
    schemas.QueryAnswer.model_validate(body)
    assert body == {"height": 3, "value": ["a", "b"]}


@pytest.mark.parametrize(
    ("path", "parts"),
    [
        ("", []),
        ("a%2Fb/c", ["a/b", "c"]),
        ("gr%C3%BCn", ["grün"]),
        ("a//b", ["a", "", "b"]),
        ("%2e%2e/x", ["..", "x"]),
        ("100%25", ["100%"]),
    ],
)
def test_a_query_path_is_split_before_it_is_decoded(
    client: httpx.Client, path: str, parts: list[str]
) -> None:
    assert client.get(f"/v1/query/kv/{path}").json()["value"] == parts


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("nowhere/x", 404, "unknown_application"),
        ("kv/nonsense", 404, "query_refused"),
        ("kv/%FF", 400, "malformed"),
        ("kv/" + "a/" * 20, 400, "malformed"),
        ("kv/" + "a" * 5000, 400, "malformed"),
    ],
)
def test_queries_that_make_no_sense_are_refused(
    client: httpx.Client, path: str, status: int, code: str
) -> None:
    answer = client.get(f"/v1/query/{path}")
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


def test_the_validators_are_listed_with_their_quorum(client: httpx.Client) -> None:
    body = client.get("/v1/validators").json()
    schemas.Validators.model_validate(body)
    assert body["quorum"] == 3
    assert body["fault_model"] == "byzantine"
    assert [entry["name"] for entry in body["validators"]] == ["v1", "v2", "v3", "v4"]


def test_the_status_has_the_fields_that_scripts_rely_on(
    client: httpx.Client, chain: list[str]
) -> None:
    body = client.get("/v1/status").json()
    schemas.Status.model_validate(body)
    assert (body["name"], body["leader"], body["height"]) == ("v2", "v1", 3)
    assert body["peers"] == [{"name": "v1", "role": "validator"}]


def test_ready_means_a_first_block_and_not_catching_up(
    client: httpx.Client, ledger: Any, signed: Signed
) -> None:
    def ready() -> tuple[int, str]:
        answer = client.get("/ready")
        body = answer.json()
        return answer.status_code, body.get("status") or body["error"]["message"]

    assert ready() == (503, "all is well")
    client.post("/v1/transactions", json={"raw": signed().hex()})
    assert ready() == (200, "ready")
    ledger.syncing = True
    assert ready() == (503, "catching up")
    assert client.get("/health").json() == {"status": "alive"}


def test_metrics_are_prometheus_text_and_count_the_answers(client: httpx.Client) -> None:
    client.get("/v1/blocks/77")
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'assay_api_answers_total{answer="/v1/blocks/{height} 404"}' in answer.text
