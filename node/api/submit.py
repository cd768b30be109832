"""The two routes that take transactions: one at a time in JSON, and batches in either form.

`202` promises admission by this node and nothing more; *committed* means that this node decided,
executed and stored the transaction and holds the certificate. Submitting the same transaction
again is harmless: it is answered like the first time, with `duplicate`.
The binary batch is the path for load: no model, no dictionary and no task per transaction.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Annotated, Any
from urllib.parse import parse_qsl

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, ValidationError

from crypto.encoding import Malformed, encode
from crypto.interface import PublicKey, Signature
from crypto.transaction import SignedTransaction, Transaction
from node.api import schemas
from node.api.app import TimeoutMs, answers
from node.api.batch import Batch, BatchAnswer, batch_codec
from node.api.body import MSGPACK, MSGPACK_NAMES, Bodies, media_type, parse_json, require_json
from node.api.errors import (
    JSON,
    TRY_AGAIN,
    ApiError,
    answer,
    describe,
    error_body,
    malformed,
    refusal_text,
    refused,
)
from node.api.limits import RETRY_AFTER_SECONDS, TIMEOUT_MS_DEFAULT, ApiLimits
from node.api.views import outcome_fields
from node.api.waiting import Waiting
from node.service import NodeService, Outcome, Refusal, Verdict

BATCH_PATH = "/v1/transactions/batch"
QUERIES_REMEMBERED = 64


class Wait(StrEnum):
    NONE = "none"
    COMMITTED = "committed"


class WaitQuery(BaseModel):
    """`wait=none` answers at once; `wait=committed` after the commitment or the time."""

    model_config = ConfigDict(extra="forbid")
    wait: Wait = Wait.NONE
    timeout_ms: TimeoutMs = TIMEOUT_MS_DEFAULT


@lru_cache(maxsize=QUERIES_REMEMBERED)
def wait_query(query: bytes) -> WaitQuery:
    """The query string as FastAPI would read it, remembered, for the path past FastAPI."""
    try:
        fields = parse_qsl(query.decode("ascii"), keep_blank_values=True, max_num_fields=8)
        return WaitQuery.model_validate(dict(fields))
    except ValidationError as error:
        raise malformed(f"query.{describe(list(map(dict, error.errors())))}") from None
    except ValueError:
        raise malformed("the query string cannot be read") from None


@dataclass(frozen=True, slots=True)
class Result:
    """What became of a batch: verdicts, and the outcome of each admitted position."""

    verdicts: Sequence[Verdict]
    admitted: Sequence[int]
    """Positions that this node has, new or already."""
    refused: Sequence[int]
    outcomes: Sequence[Outcome | None]
    """In the order of `admitted`; empty without waiting."""

    @property
    def status(self) -> int:
        """200: all that was admitted is committed. 429: nothing was, and later may help."""
        if self.admitted:
            return 200 if self.outcomes and all(self.outcomes) else 202
        return 429 if self.retry else 202

    @property
    def retry(self) -> bool:
        return any(self.verdicts[position].refusal in TRY_AGAIN for position in self.refused)


def is_here(verdict: Verdict) -> bool:
    """Admitted now, or a duplicate of what waits or was committed here."""
    if verdict.refusal is None:
        return True
    return verdict.refusal is Refusal.DUPLICATE and verdict.id is not None


class Submission:
    """Handlers of the two routes."""

    def __init__(self, service: NodeService, waiting: Waiting, limits: ApiLimits) -> None:
        self._service = service
        self._waiting = waiting
        self._limits = limits
        self._bodies = Bodies(limits)
        self._batches = batch_codec(limits.batch_bytes_max)

    async def one(self, request: Request, query: WaitQuery) -> Response:
        require_json(request)
        async with self._bodies.read(request, self._limits.json_bytes_max) as body:
            raw = signed_encoding(parse_json(body, self._limits), "body")
        result = await self._submit([raw], query)
        verdict = result.verdicts[0]
        if not is_here(verdict):
            raise refused(verdict)
        assert verdict.id is not None
        content: dict[str, object] = {"id": verdict.id.hex()}
        outcome = result.outcomes[0] if result.outcomes else None
        if outcome is not None:
            content |= {"status": "committed"} | outcome_fields(outcome)
        else:
            content["status"] = "pending" if query.wait is Wait.COMMITTED else "admitted"
        if verdict.refusal is not None:
            content["duplicate"] = True
        return answer(content, 200 if outcome is not None else 202)

    async def batch_directly(self, request: Request) -> Response:
        """The same as the route, without what FastAPI does for each request (0.3 ms)."""
        return await self.batch(request, wait_query(request.scope["query_string"]))

    async def batch(self, request: Request, query: WaitQuery) -> Response:
        async with self._bodies.read(request, self._limits.batch_bytes_max) as body:
            raws = self._raws(request, body)
        result = await self._submit(raws, query)
        headers = {"Retry-After": str(RETRY_AFTER_SECONDS)} if result.retry else {}
        if request.headers.get("accept", "").startswith(MSGPACK):
            content = encode(batch_answer(result))
            return Response(content, result.status, headers, MSGPACK)
        return answer(batch_results(result, query), result.status, headers)

    def _raws(self, request: Request, body: bytes) -> Sequence[bytes]:
        kind = media_type(request)
        raws: Sequence[bytes]
        if kind in MSGPACK_NAMES:
            try:
                raws = self._batches.decode(body).transactions
            except Malformed as error:
                raise malformed(f"the body is no canonical Batch: {error}") from None
        elif kind == JSON:
            raws = self._raws_of_json(parse_json(body, self._limits))
        else:
            text = f"send the batch as Content-Type: {MSGPACK} or {JSON}"
            raise ApiError(415, "unsupported_media_type", text)
        self._check_count(len(raws))
        return raws

    def _raws_of_json(self, value: object) -> Sequence[bytes]:
        entries = value.get("transactions") if isinstance(value, dict) else None
        if not isinstance(value, dict) or len(value) != 1 or not isinstance(entries, list):
            raise malformed('the body must be {"transactions": [...]} and nothing else')
        self._check_count(len(entries))
        return [
            signed_encoding(entry, f"transactions.{position}")
            for position, entry in enumerate(entries)
        ]

    def _check_count(self, count: int) -> None:
        if count == 0:
            raise malformed("the batch is empty")
        if count > self._limits.batch_transactions_max:
            text = (
                f"{count} transactions; a batch has at most {self._limits.batch_transactions_max}"
            )
            raise ApiError(413, Refusal.TOO_LARGE.value, text)

    async def _submit(self, raws: Sequence[bytes], query: WaitQuery) -> Result:
        if query.wait is Wait.NONE:
            return _sorted_out(await self._service.submit(raws))
        async with self._waiting.place(len(raws)):
            result = _sorted_out(await self._service.submit(raws))
            verdicts = result.verdicts
            ids = [identity for at in result.admitted if (identity := verdicts[at].id) is not None]
            assert len(ids) == len(result.admitted), "ingress admitted a transaction without id"
            outcomes = await self._waiting.outcomes(ids, query.timeout_ms)
            return Result(verdicts, result.admitted, result.refused, outcomes)


def _sorted_out(verdicts: Sequence[Verdict]) -> Result:
    admitted: list[int] = []
    refusals: list[int] = []
    for position, verdict in enumerate(verdicts):
        if verdict.refusal is None or is_here(verdict):
            admitted.append(position)
        else:
            refusals.append(position)
    return Result(verdicts, admitted, refusals, ())


def signed_encoding(value: object, place: str) -> bytes:
    """The canonical bytes of one JSON submission, or raise `ApiError` that names the field."""
    raw = isinstance(value, dict) and "raw" in value
    model = schemas.RawSubmission if raw else schemas.SignedSubmission
    try:
        submission = model.model_validate(value)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        raise malformed(f"{place}.{describe(list(map(dict, problems)))}") from None
    if isinstance(submission, schemas.RawSubmission):
        return bytes.fromhex(submission.raw)
    body = submission.transaction
    transaction = Transaction(
        chain=body.chain,
        sender=PublicKey(bytes.fromhex(body.sender)),
        nonce=body.nonce,
        expiry=body.expiry,
        method=body.method,
        arguments=tuple(body.arguments),
    )
    signature = Signature(bytes.fromhex(submission.signature))
    return encode(SignedTransaction(transaction, signature))


def batch_answer(result: Result) -> BatchAnswer:
    """The binary answer."""
    refusals = tuple(
        (position, str(result.verdicts[position].refusal)) for position in result.refused
    )
    committed = tuple(
        (position, outcome.height, outcome.index, outcome.receipt.code)
        for position, outcome in zip(result.admitted, result.outcomes, strict=False)
        if outcome is not None
    )
    return BatchAnswer(len(result.admitted), refusals, committed)


def batch_results(result: Result, query: WaitQuery) -> dict[str, object]:
    """The JSON answer."""
    outcomes = dict(zip(result.admitted, result.outcomes, strict=False))
    waited = query.wait is Wait.COMMITTED
    entries = [
        _entry(verdict, outcomes.get(position), waited)
        for position, verdict in enumerate(result.verdicts)
    ]
    content: dict[str, object] = {"results": entries}
    if result.status == 429:
        first = next(verdict for verdict in result.verdicts if verdict.refusal in TRY_AGAIN)
        content |= error_body(str(first.refusal), refusal_text(first))
    return content


def _entry(verdict: Verdict, outcome: Outcome | None, waited: bool) -> dict[str, object]:
    entry: dict[str, object] = {}
    if verdict.id is not None:
        entry["id"] = verdict.id.hex()
    if not is_here(verdict):
        return (
            entry | {"status": "refused"} | error_body(str(verdict.refusal), refusal_text(verdict))
        )
    if outcome is None:
        entry["status"] = "pending" if waited else "admitted"
    else:
        entry |= {
            "status": "committed",
            "height": outcome.height,
            "index": outcome.index,
            "code": outcome.receipt.code,
        }
    if verdict.refusal is not None:
        entry["duplicate"] = True
    return entry


def routes(submission: Submission) -> APIRouter:
    """The two routes, with what the OpenAPI document says of them."""
    router = APIRouter(tags=["transactions"])

    @router.post(
        "/v1/transactions",
        status_code=202,
        response_model=None,
        summary="Submit one transaction",
        responses={
            **answers(schemas.Committed, "Committed (with wait=committed)"),
            **answers(
                schemas.Admitted,
                "Admitted; or still pending when the time ran out",
                *(400, 403, 408, 409, 413, 415, 421, 422, 429, 503),
                status=202,
            ),
        },
        openapi_extra=_json_body(schemas.SignedSubmission, schemas.RawSubmission),
    )
    async def submit_one(request: Request, query: Annotated[WaitQuery, Query()]) -> Response:
        return await submission.one(request, query)

    example = bytes.fromhex(schemas.RawSubmission.example["raw"])
    body = _json_body(schemas.BatchSubmission)
    body["requestBody"]["content"][MSGPACK] = {
        "schema": {
            "type": "string",
            "format": "binary",
            "description": "Canonical encoding of the record Batch(transactions: [bytes, ...]): "
            "the format byte 01, then MessagePack [[bin, ...]]. With Accept: application/msgpack "
            "the answer is BatchAnswer(admitted, [[position, code], ...], "
            "[[position, height, index, code], ...])",
        },
        "example": base64.b64encode(encode(Batch((example,)))).decode(),
    }

    @router.post(
        BATCH_PATH,
        status_code=202,
        response_model=None,
        summary="Submit many transactions",
        responses={
            **answers(schemas.BatchResults, "All that was admitted is committed"),
            **answers(
                schemas.BatchResults,
                "One result for each, in order; some may be refused",
                *(400, 408, 413, 415, 429, 503),
                status=202,
            ),
        },
        openapi_extra=body,
    )
    async def submit_batch(request: Request, query: Annotated[WaitQuery, Query()]) -> Response:
        return await submission.batch(request, query)

    return router


def _json_body(*models: type[schemas.Model]) -> dict[str, Any]:
    """The `requestBody` of a route that parses its body itself."""
    forms = [_inlined(model.model_json_schema()) for model in models]
    schema = forms[0] if len(forms) == 1 else {"oneOf": forms}
    examples = {model.__name__: {"value": model.example} for model in models}
    content = {JSON: {"schema": schema, "examples": examples}}
    return {"requestBody": {"required": True, "content": content}}


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema without `$defs`, which an OpenAPI document has elsewhere."""
    definitions = schema.pop("$defs", {})

    def resolve(node: object) -> object:
        if isinstance(node, dict):
            reference = node.get("$ref")
            if isinstance(reference, str):
                return resolve(definitions[reference.rsplit("/", 1)[1]])
            return {key: resolve(value) for key, value in node.items()}
        if isinstance(node, list):
            return [resolve(item) for item in node]
        return node

    return {key: resolve(value) for key, value in schema.items()}
