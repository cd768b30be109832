"""The public REST plane under `/v1`, with health, readiness and metrics beside it.

`create_public_app` puts it together; `node/api/submit.py` takes transactions, `node/api/reads.py`
answers from the ledger, `node/api/stream.py` follows it. Nothing here calls out: no address that
a client sends is ever fetched.
"""

from fastapi.responses import PlainTextResponse, Response

from node.api import reads, schemas, submit
from node.api.app import ApiApp, answers
from node.api.errors import ApiError, answer
from node.api.limits import ApiLimits
from node.api.stream import Feed
from node.api.views import status_fields
from node.api.waiting import Waiting
from node.metrics import CONTENT_TYPE, Metrics
from node.service import NodeService

_DESCRIPTION = """
A permissioned ledger's node. Bytes are lower-case hexadecimal; whole numbers are below 2^63.
Every error is `{"error": {"code", "message"}}`: the code is for programs and stable, the message
says what to change. 429 and 503 come with `Retry-After`. Compressed bodies are refused.
"""


def create_public_app(
    service: NodeService, metrics: Metrics, limits: ApiLimits | None = None
) -> ApiApp:
    """The application of the public plane; serve it with `ApiServer`."""
    limits = limits or ApiLimits()
    app = ApiApp("Assay", _DESCRIPTION, metrics)
    waiting = Waiting(service, limits)
    feed = Feed(service, limits, metrics)
    app.on_closing(waiting.close)
    app.on_closing(feed.close)
    submission = submit.Submission(service, waiting, limits)
    app.include_router(submit.routes(submission))
    app.answer_directly("POST", submit.BATCH_PATH, submission.batch_directly)
    app.include_router(reads.routes(service))
    app.include_router(reads.event_routes(feed))
    _operations(app, service, metrics)
    return app


def _operations(app: ApiApp, service: NodeService, metrics: Metrics) -> None:
    @app.get(
        "/v1/status",
        response_model=None,
        tags=["network"],
        summary="Where this node is, and why the chain moves or does not",
        responses=answers(schemas.Status, "Status"),
    )
    async def status() -> Response:
        return answer(status_fields(service))

    @app.get(
        "/health",
        response_model=None,
        tags=["operations"],
        summary="Whether the process answers",
        responses=answers(schemas.Alive, "Alive"),
    )
    async def health() -> Response:
        return answer({"status": "alive"})

    @app.get(
        "/ready",
        response_model=None,
        tags=["operations"],
        summary="Whether this node is up to date and of use to clients",
        responses=answers(schemas.Ready, "Ready", 503),
    )
    async def ready() -> Response:
        now = service.status()
        if now.syncing or now.height < 1:
            raise ApiError(503, "not_ready", now.reason or "the first block is not there yet")
        return answer({"status": "ready", "height": now.height})

    @app.get(
        "/metrics",
        response_model=None,
        response_class=PlainTextResponse,
        tags=["operations"],
        summary="Counters for Prometheus",
        responses={
            200: {
                "description": "Prometheus text format",
                "content": {"text/plain": {"example": "assay_height 52.0\n"}},
            }
        },
    )
    async def metrics_text() -> Response:
        return Response(metrics.render(), media_type=CONTENT_TYPE)
