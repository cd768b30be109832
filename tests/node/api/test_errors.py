import io
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from fastapi.responses import StreamingResponse

from node.api.app import ApiApp


def test_a_path_that_does_not_exist_is_a_typed_404(client: httpx.Client) -> None:
    for path in ("/", "/v2/status", "/v1/status/", "/docs"):
        answer = client.get(path)
        assert answer.status_code in (404, 405)
        assert set(answer.json()["error"]) == {"code", "message"}
    assert client.get("/v1/nowhere").json()["error"]["code"] == "not_found"


def test_a_wrong_method_is_a_typed_405_that_names_the_right_one(client: httpx.Client) -> None:
    for path in ("/v1/status", "/health", "/v1/blocks/1"):
        answer = client.request("DELETE", path)
        assert answer.status_code == 405
        assert answer.json()["error"]["code"] == "method_not_allowed"
        assert answer.headers["allow"] == "GET"


def test_an_unforeseen_fault_is_a_500_with_an_id_whose_details_are_in_the_log_only(
    client: httpx.Client, log: io.StringIO
) -> None:
    answer = client.get("/v1/query/broken/x")
    assert answer.status_code == 500
    error = answer.json()["error"]
    assert error["code"] == "internal"
    assert "hunter2" not in answer.text
    assert "Traceback" not in answer.text
    (line,) = [json.loads(text) for text in log.getvalue().splitlines()]
    assert line["event"] == "api_fault"
    assert line["id"] in error["message"]
    assert "RuntimeError" in line["exception"]
    assert client.get("/health").status_code == 200


def test_a_refusal_is_not_a_line_in_the_log(client: httpx.Client, log: io.StringIO) -> None:
    client.get("/v1/nowhere")
    client.post("/v1/transactions", content=b"junk")
    client.get("/v1/blocks/x")
    assert log.getvalue() == ""


def test_an_error_message_does_not_repeat_what_the_caller_sent(client: httpx.Client) -> None:
    canary = "canary" * 10
    for answer in (
        client.get(f"/v1/blocks/{canary}"),
        client.get("/v1/status", params={canary: canary}),
        client.post("/v1/transactions", json={"raw": canary}),
        client.get(f"/v1/transactions/{canary}"),
    ):
        assert canary not in answer.text


def test_answers_are_counted_under_a_bounded_number_of_names(
    client: httpx.Client, running: Any
) -> None:
    for number in range(50):
        client.get(f"/v1/elsewhere/{number}")
    text = running.metrics.render().decode()
    assert "elsewhere" not in text
    assert 'answer="other 404"' in text


def test_a_node_with_other_routes_shares_the_same_errors(
    serve: Callable[..., Any], log: io.StringIO
) -> None:
    app = ApiApp("Odd", "", None)

    @app.get("/half", response_model=None)
    async def half() -> StreamingResponse:
        async def parts() -> AsyncIterator[bytes]:
            yield b"begun"
            raise RuntimeError("too late for a status")

        return StreamingResponse(parts())

    server = serve(app=app)
    with pytest.raises(httpx.RemoteProtocolError):
        httpx.get(f"{server.url}/half", trust_env=False, verify=False)
    assert "api_fault" in log.getvalue()
