"""The routes that answer from the ledger and the state, and the event stream.

Nothing is shown that is not certified, and nothing has to be believed: headers come with their
certificate, transactions with a proof, and the tree with RFC 6962 paths.
"""

from typing import Annotated
from urllib.parse import unquote_to_bytes

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from apps.interface import QueryRefused
from crypto import bundle
from crypto.interface import Digest
from node.api import schemas
from node.api.app import Height, HeightInPath, IdInPath, Size, answers
from node.api.errors import JSON, ApiError, answer, malformed
from node.api.limits import HEIGHT_MAX, QUERY_BYTES_MAX, QUERY_SEGMENTS_MAX
from node.api.stream import MEDIA_TYPE, BlockStream, Feed
from node.api.views import (
    block_fields,
    header_view,
    outcome_fields,
    transaction_fields,
    validators_fields,
)
from node.service import NodeService, OutOfRange, Unknown

_QUERY_PREFIX_PARTS = 4
"""Of `/v1/query/{application}/...`, split at slashes: empty, v1, query, application."""


class InclusionQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")
    index: Annotated[Size, Field(examples=[2])]
    size: Annotated[Height, Field(examples=[4])]


class ConsistencyQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")
    old: Annotated[Size, Field(examples=[3])]
    new: Annotated[Size, Field(examples=[4])]


class EventsQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")
    start: Annotated[Height | None, Field(alias="from", examples=[1])] = None


def routes(service: NodeService) -> APIRouter:
    """Transactions, blocks, proofs, queries and the validators."""
    router = APIRouter()
    _transactions(router, service)
    _blocks(router, service)
    _proofs(router, service)
    _state(router, service)
    return router


def event_routes(feed: Feed) -> APIRouter:
    """`GET /v1/events`."""
    router = APIRouter(tags=["network"])
    example = (
        'event: block\nid: 52\ndata: {"height":52,"header":"77...","state_root":"66...",'
        '"time_ms":1800000000000,"first_index":419,"receipts":[{"id":"9f...","code":"ok"}]}\n\n'
    )

    @router.get(
        "/v1/events",
        response_model=None,
        response_class=Response,
        summary="Follow the committed blocks (server-sent events)",
        responses={
            **answers(None, "", 400, 503),
            200: {"description": __doc__ or "", "content": {MEDIA_TYPE: {"example": example}}},
        },
    )
    async def events(
        query: Annotated[EventsQuery, Query()],
        last_event_id: Annotated[
            str | None, Header(description="Continue after this height", examples=["51"])
        ] = None,
    ) -> BlockStream:
        """Blocks from `from` on, or after `Last-Event-ID`, or from now on; then live."""
        return feed.open(_after(last_event_id) if last_event_id is not None else query.start)

    return router


def _after(last_event_id: str) -> int:
    text = last_event_id.strip()
    if not (text.isascii() and text.isdecimal() and len(text) < len(str(HEIGHT_MAX))):
        raise malformed("Last-Event-ID must be the height of the last block that was seen")
    return int(text) + 1


def _transactions(router: APIRouter, service: NodeService) -> None:
    @router.get(
        "/v1/transactions/{id}",
        response_model=None,
        tags=["transactions"],
        summary="A transaction and its receipt",
        responses=answers(schemas.TransactionView, "Pending or committed", 400, 404),
    )
    async def transaction(id: IdInPath) -> Response:
        identity = Digest(bytes.fromhex(id))
        # Asked first: what is committed between the two questions was pending at this one.
        pending = service.is_pending(identity)
        outcome = await service.outcome(identity)
        if outcome is None:
            if not pending:
                raise _unknown()
            return answer({"id": id, "status": "pending"})
        content = {"id": id, "status": "committed"} | outcome_fields(outcome)
        view = await service.block(outcome.height)
        if view is not None:
            content |= transaction_fields(view.transactions[outcome.position])
        return answer(content)

    @router.get(
        "/v1/transactions/{id}/proof",
        response_model=None,
        tags=["transactions"],
        summary="A proof bundle, to be verified offline with the genesis file alone",
        responses=answers(
            schemas.Proof,
            "The canonical bundle; `assay verify` checks these very bytes",
            *(400, 404),
        ),
    )
    async def proof(id: IdInPath) -> Response:
        identity = Digest(bytes.fromhex(id))
        pending = service.is_pending(identity)
        found = await service.bundle(identity)
        if found is None:
            if pending:
                text = "it is not committed yet; ask again, or submit with wait=committed"
                raise ApiError(404, "not_committed", text)
            raise _unknown()
        return Response(bundle.to_json(found), media_type=JSON)


def _blocks(router: APIRouter, service: NodeService) -> None:
    @router.get(
        "/v1/blocks/{height}",
        response_model=None,
        tags=["ledger"],
        summary="A block with its transactions and receipts",
        responses=answers(schemas.BlockAnswer, "The block", 400, 404),
    )
    async def block(height: HeightInPath) -> Response:
        view = await service.block(height)
        if view is None:
            raise _no_block(service, height)
        return answer(block_fields(view))

    @router.get(
        "/v1/headers/{height}",
        response_model=None,
        tags=["ledger"],
        summary="A header with its certificate",
        responses=answers(schemas.HeaderView, "The header", 400, 404),
    )
    async def header(height: HeightInPath) -> Response:
        found = await service.header(height)
        if found is None:
            raise _no_block(service, height)
        fields, certificate = found
        if certificate is not None:
            return answer(header_view(fields, certificate.header, certificate))
        view = await service.block(height)
        if view is None:
            raise _no_block(service, height)
        return answer(header_view(view.header, view.digest, view.certificate))


def _proofs(router: APIRouter, service: NodeService) -> None:
    @router.get(
        "/v1/proofs/inclusion",
        response_model=None,
        tags=["ledger"],
        summary="RFC 6962 audit path",
        responses=answers(schemas.Inclusion, "The path, from the leaf to the root", 400, 404),
    )
    async def inclusion(query: Annotated[InclusionQuery, Query()]) -> Response:
        """That transaction `index` is in the tree of the first `size` transactions.

        A size means a root only where it is the `ledger_size` of a header: then the root is that
        header's `ledger_root`. The leaf is the signed encoding of the transaction.
        """
        try:
            hashes = await service.inclusion(query.index, query.size)
        except OutOfRange as error:
            raise ApiError(404, "out_of_range", str(error)) from None
        found = [item.hex() for item in hashes]
        return answer({"index": query.index, "size": query.size, "hashes": found})

    @router.get(
        "/v1/proofs/consistency",
        response_model=None,
        tags=["ledger"],
        summary="RFC 6962 consistency proof",
        responses=answers(schemas.Consistency, "The proof", 400, 404),
    )
    async def consistency(query: Annotated[ConsistencyQuery, Query()]) -> Response:
        """That the tree of size `new` begins with the tree of size `old`.

        Sizes are numbers of transactions; the roots are the `ledger_root` of the headers whose
        `ledger_size` they are.
        """
        try:
            hashes = await service.consistency(query.old, query.new)
        except OutOfRange as error:
            raise ApiError(404, "out_of_range", str(error)) from None
        found = [item.hex() for item in hashes]
        return answer({"old": query.old, "new": query.new, "hashes": found})


def _state(router: APIRouter, service: NodeService) -> None:
    async def query_state(request: Request, app: str) -> Response:
        segments = _segments(request)
        try:
            height, value = await service.query(app, segments)
        except Unknown as error:
            raise ApiError(404, "unknown_application", str(error)) from None
        except QueryRefused as error:
            raise ApiError(404, "query_refused", str(error)) from None
        return answer({"height": height, "value": value})

    @router.get(
        "/v1/query/{app}/{path:path}",
        response_model=None,
        tags=["state"],
        summary="Ask an application about its state",
        responses=answers(schemas.QueryAnswer, "The value, and the height it is of", 400, 404),
        openapi_extra={
            "parameters": [
                _path_parameter("app", "The application", "kv"),
                _path_parameter("path", "What to ask; `%2F` is a slash within a part", "colour"),
            ]
        },
    )
    async def query(request: Request) -> Response:
        return await query_state(request, str(request.path_params["app"]))

    @router.get(
        "/v1/validators",
        response_model=None,
        tags=["network"],
        summary="The validators, and how many of them are a quorum",
        responses=answers(schemas.Validators, "The committee"),
    )
    async def validators() -> Response:
        return answer(validators_fields(service.genesis))


def _segments(request: Request) -> list[str]:
    """The parts of a query's path, split before decoding, so that `%2F` stays in its part."""
    raw: bytes = request.scope["raw_path"]
    if len(raw) > QUERY_BYTES_MAX:
        raise malformed(f"the path is longer than {QUERY_BYTES_MAX} bytes")
    parts = raw.split(b"/")[_QUERY_PREFIX_PARTS:]
    if parts == [b""]:
        return []
    if len(parts) > QUERY_SEGMENTS_MAX:
        raise malformed(f"the path has more than {QUERY_SEGMENTS_MAX} parts")
    try:
        return [unquote_to_bytes(part).decode("utf-8") for part in parts]
    except UnicodeDecodeError:
        raise malformed("the path is not UTF-8") from None


def _path_parameter(name: str, text: str, example: str) -> dict[str, object]:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": text,
        "schema": {"type": "string", "maxLength": QUERY_BYTES_MAX},
        "example": example,
    }


def _unknown() -> ApiError:
    text = "no such transaction here: not submitted, not yet known to this node, or dropped"
    return ApiError(404, "unknown_transaction", text)


def _no_block(service: NodeService, height: int) -> ApiError:
    text = f"no block {height} here; the highest is {service.status().certified}"
    return ApiError(404, "out_of_range", text)
