import base64
import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from pydantic import BaseModel

from node.api import schemas
from node.api.admin import create_admin_app
from node.api.app import ApiApp
from node.api.public import create_public_app
from node.logs import Logs
from node.metrics import Metrics

CONTRACT = {
    ("post", "/v1/transactions"),
    ("post", "/v1/transactions/batch"),
    ("get", "/v1/transactions/{id}"),
    ("get", "/v1/transactions/{id}/proof"),
    ("get", "/v1/blocks/{height}"),
    ("get", "/v1/headers/{height}"),
    ("get", "/v1/proofs/inclusion"),
    ("get", "/v1/proofs/consistency"),
    ("get", "/v1/query/{app}/{path}"),
    ("get", "/v1/validators"),
    ("get", "/v1/status"),
    ("get", "/v1/events"),
    ("get", "/health"),
    ("get", "/ready"),
    ("get", "/metrics"),
}


@pytest.fixture(params=["public", "admin"])
def app(request: pytest.FixtureRequest, ledger: Any) -> ApiApp:
    if request.param == "public":
        return create_public_app(ledger, Metrics())
    return create_admin_app(ledger, Logs("info"))


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method, path, operation


def references(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def test_the_document_is_served_and_lists_exactly_the_contract(client: httpx.Client) -> None:
    document = client.get("/openapi.json").json()
    assert {(method, path) for method, path, _ in operations(document)} == CONTRACT


def test_the_document_is_whole(app: ApiApp) -> None:
    document = json.loads(json.dumps(app.openapi()))
    assert document["openapi"].startswith("3.1")
    assert document["info"]["title"]
    for reference in references(document):
        node = document
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(names) == len(set(names))
    for _, path, operation in operations(document):
        assert operation["summary"]
        declared = {
            item["name"] for item in operation.get("parameters", []) if item["in"] == "path"
        }
        assert declared == set(re.findall(r"{(\w+)}", path))
        for status, answer in operation["responses"].items():
            assert re.fullmatch(r"[2-5]\d\d", status)
            assert answer["description"]
    assert "HTTPValidationError" not in json.dumps(document)


def test_every_route_has_an_example_of_its_answer_and_of_its_body(app: ApiApp) -> None:
    for method, path, operation in operations(app.openapi()):
        for status, answer in operation["responses"].items():
            for content in answer["content"].values():
                assert "example" in content, f"{method} {path} {status}"
        if method in ("post", "put"):
            for content in operation["requestBody"]["content"].values():
                assert "example" in content or "examples" in content, f"{method} {path}"


def test_every_post_says_what_it_refuses(app: ApiApp) -> None:
    for method, _, operation in operations(app.openapi()):
        if method in ("post", "put"):
            assert {"400", "413", "415", "500"} <= set(operation["responses"])


MODELS = [
    model
    for model in vars(schemas).values()
    if isinstance(model, type) and issubclass(model, schemas.Model) and model.example
]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_example_is_an_example_of_its_model(model: type[schemas.Model]) -> None:
    model.model_validate(model.example)
    with pytest.raises(ValueError, match="Extra inputs"):
        model.model_validate(model.example | {"surprise": 1})


def test_the_examples_of_bodies_are_taken_by_the_real_routes(
    client: httpx.Client,
) -> None:
    document = client.get("/openapi.json").json()
    for method, path, operation in operations(document):
        if method != "post":
            continue
        for example in operation["requestBody"]["content"]["application/json"]["examples"].values():
            answer = client.post(path, json=example["value"])
            assert answer.status_code == 202, answer.text
            assert "refused" not in answer.text
        binary = operation["requestBody"]["content"].get("application/msgpack")
        if binary is not None:
            body = base64.b64decode(binary["example"])
            kind = {"Content-Type": "application/msgpack"}
            assert client.post(path, content=body, headers=kind).status_code == 202


def test_models_have_no_optional_coercion() -> None:
    class Loose(BaseModel):
        count: int

    assert Loose.model_validate({"count": "1"}).count == 1
    with pytest.raises(ValueError, match="valid integer"):
        schemas.QueryAnswer.model_validate({"height": "1", "value": None})
