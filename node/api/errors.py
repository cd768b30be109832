"""Errors of the API: every one is `{"error": {"code", "message"}}`, and none is a traceback.

The code is a stable word for programs; the message says what to change. The caller's faults are
4xx. A fault of ours is 500 with an opaque id that is also in the log, where the details are.
"""

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from http import HTTPStatus

import msgspec
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from node.api.limits import RETRY_AFTER_SECONDS
from node.logs import logger
from node.metrics import OTHER, Metrics
from node.service import Refusal, Verdict

JSON = "application/json"
MESSAGE_CHARACTERS_MAX = 500

STATUS_OF_REFUSAL: Mapping[Refusal, int] = {
    Refusal.MALFORMED: 400,
    Refusal.TOO_LARGE: 413,
    Refusal.WRONG_CHAIN: 422,
    Refusal.EXPIRED: 422,
    Refusal.LIFETIME: 422,
    Refusal.UNKNOWN_CLIENT: 403,
    Refusal.BAD_SIGNATURE: 422,
    Refusal.BAD_METHOD: 422,
    Refusal.BAD_ARGUMENTS: 422,
    Refusal.DUPLICATE: 409,
    Refusal.SENDER_QUOTA: 429,
    Refusal.FULL: 429,
    Refusal.NOT_VALIDATOR: 421,
}
"""421: the request is right and this node is the wrong one; a validator would take it."""

TRY_AGAIN = frozenset({Refusal.SENDER_QUOTA, Refusal.FULL})
_CODE_OF_STATUS: Mapping[int, str] = {404: "not_found", 405: "method_not_allowed"}
_STATUS_WITH_RETRY = frozenset({429, 503})


class ApiError(Exception):
    """Answered as JSON with `status`; raise it anywhere in a handler."""

    def __init__(
        self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = dict(headers or {})
        if status in _STATUS_WITH_RETRY:
            self.headers.setdefault("Retry-After", str(RETRY_AFTER_SECONDS))


def malformed(message: str) -> ApiError:
    return ApiError(400, Refusal.MALFORMED.value, message)


def refused(verdict: Verdict) -> ApiError:
    """The answer to one transaction that ingress did not admit."""
    assert verdict.refusal is not None
    return ApiError(
        STATUS_OF_REFUSAL[verdict.refusal], verdict.refusal.value, refusal_text(verdict)
    )


def refusal_text(verdict: Verdict) -> str:
    return verdict.text or f"the transaction was refused: {verdict.refusal}"


def error_body(code: str, message: str) -> dict[str, dict[str, str]]:
    return {"error": {"code": code, "message": message[:MESSAGE_CHARACTERS_MAX]}}


def answer(
    content: object, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """JSON, without detours."""
    return Response(msgspec.json.encode(content), status, dict(headers or {}), JSON)


def answer_error(error: ApiError) -> Response:
    return answer(error_body(error.code, error.message), error.status, error.headers)


def install(app: FastAPI, metrics: Metrics | None) -> None:
    """Every way to fail, on `app`: our errors, wrong parameters, no route, and the unknown."""

    def on_api_error(_request: Request, error: Exception) -> Response:
        assert isinstance(error, ApiError)
        return answer_error(error)

    def on_parameters(_request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return answer_error(malformed(describe(error.errors())))

    def on_http(_request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        code = _CODE_OF_STATUS.get(error.status_code, "refused")
        text = f"{HTTPStatus(error.status_code).phrase}; /openapi.json lists what there is"
        return answer_error(ApiError(error.status_code, code, text, error.headers))

    app.add_exception_handler(ApiError, on_api_error)
    app.add_exception_handler(RequestValidationError, on_parameters)
    app.add_exception_handler(HTTPException, on_http)
    app.add_middleware(Rim, metrics=metrics)


def describe(problems: Sequence[Mapping[str, object]]) -> str:
    """The first problem as `where: what`, without repeating what the caller sent."""
    problem = problems[0]
    place = problem.get("loc")
    where = ".".join(str(part)[:64] for part in place) if isinstance(place, tuple) else ""
    return f"{where}: {problem.get('msg')}" if where else str(problem.get("msg"))


class Rim:
    """Where an unforeseen exception of a handler ends, and where answers are counted."""

    def __init__(self, app: ASGIApp, metrics: Metrics | None) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 0

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                self._count(scope, status)
            await send(message)

        try:
            await self._app(scope, receive, counted)
        except asyncio.CancelledError:
            # Only a server that stops cancels a request: after that, there is nothing to cancel.
            if not status:
                stopping = ApiError(503, "stopping", "this node is stopping; ask another one")
                await answer_error(stopping)(scope, receive, counted)
        except Exception as error:
            identity = secrets.token_hex(8)
            logger().error("api_fault", id=identity, path=scope["path"], exc_info=error)
            if status:
                raise _Broken(identity) from None
            text = f"a fault of this node; its log has the details under id {identity}"
            fault = answer_error(ApiError(500, "internal", text))
            await fault(scope, receive, counted)

    def _count(self, scope: Scope, status: int) -> None:
        if self._metrics is not None:
            route = getattr(scope.get("route"), "path", OTHER)
            self._metrics.answered(route, status)


class _Broken(Exception):
    """The answer had begun when the fault happened: the server can only cut the connection."""
