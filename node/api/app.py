"""The FastAPI application that both planes are built on: typed errors, and an end.

No interactive documentation page is served (it would load scripts from elsewhere); the OpenAPI
document is at `/openapi.json`.
"""

import ipaddress
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any, TypeAlias

from fastapi import FastAPI, Path, Request
from fastapi.responses import Response
from fastapi.telemetry import TelemetryConfig
from pydantic import BeforeValidator, Field
from starlette.types import ASGIApp, Receive, Scope, Send

from node.api import errors
from node.api.limits import HEIGHT_MAX, TIMEOUT_MS_MAX
from node.api.schemas import Error, Model
from node.metrics import Metrics

VERSION = "1"
_NO_TELEMETRY: TelemetryConfig = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}
"""FastAPI would otherwise look for exporters in the environment; a node calls nobody but peers."""
_AUTOMATIC_SCHEMAS = ("HTTPValidationError", "ValidationError")
_DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}")


def decimal(value: object) -> object:
    """A whole number in its one usual spelling: no sign, space, underscore or leading zero."""
    if isinstance(value, int):
        return value
    if isinstance(value, str) and _DECIMAL.fullmatch(value):
        return int(value)
    raise ValueError(f"must be a whole number from 0 to {HEIGHT_MAX} in decimal digits")


Handler: TypeAlias = Callable[[Request], Awaitable[Response]]

# The bounds come before the validator, or pydantic could not tell OpenAPI about them.
Size = Annotated[int, Field(ge=0, le=HEIGHT_MAX), BeforeValidator(decimal)]
Height = Annotated[int, Field(ge=1, le=HEIGHT_MAX), BeforeValidator(decimal)]
TimeoutMs = Annotated[int, Field(ge=0, le=TIMEOUT_MS_MAX), BeforeValidator(decimal)]
HeightInPath = Annotated[Height, Path(examples=[52])]
IdInPath = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$", examples=["9f" * 32])]


class _Direct:
    """One handler as an ASGI application; errors of the API become answers, as elsewhere."""

    def __init__(self, handler: Handler, path: str) -> None:
        self._handler = handler
        self.path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["route"] = self  # What answers are counted under.
        try:
            response = await self._handler(Request(scope, receive))
        except errors.ApiError as error:
            response = errors.answer_error(error)
        await response(scope, receive, send)


class ApiApp(FastAPI):
    """A FastAPI application that can be told that the end is near."""

    def __init__(
        self,
        title: str,
        description: str,
        metrics: Metrics | None,
        *,
        loopback_only: bool = False,
    ) -> None:
        super().__init__(
            title=title,
            description=description,
            version=VERSION,
            docs_url=None,
            redoc_url=None,
            redirect_slashes=False,
            telemetry=_NO_TELEMETRY,
        )
        self._metrics = metrics
        self._direct: dict[tuple[str, str], ASGIApp] = {}
        self.loopback_only = loopback_only
        """Whether the server must refuse to serve this on any address but loopback."""
        self._closers: list[Callable[[], None]] = []
        errors.install(self, metrics)

    def answer_directly(self, method: str, path: str, handler: Handler) -> None:
        """Have `handler` answer these requests, past FastAPI's routing and validation.

        For the path of the load; the route must exist as well, for the document.
        """
        self._direct[method, path] = errors.Rim(_Direct(handler, path), self._metrics)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._direct:
            direct = self._direct.get((scope["method"], scope["path"]))
            if direct is not None:
                await direct(scope, receive, send)
                return
        await super().__call__(scope, receive, send)

    def on_closing(self, close: Callable[[], None]) -> None:
        """Have `close` called when the server begins to stop; it must not wait."""
        self._closers.append(close)

    def begin_closing(self) -> None:
        """End what would otherwise last: event streams and requests that wait."""
        for close in self._closers:
            close()

    def openapi(self) -> dict[str, Any]:
        """The document, without FastAPI's own form of validation errors, which is not ours."""
        if self.openapi_schema is None:
            document = super().openapi()
            for operations in document.get("paths", {}).values():
                for operation in operations.values():
                    responses = operation["responses"]
                    if _is_automatic(responses.get("422", {})):
                        del responses["422"]
            schemas = document.get("components", {}).get("schemas", {})
            for name in _AUTOMATIC_SCHEMAS:
                schemas.pop(name, None)
        assert self.openapi_schema is not None
        return self.openapi_schema


def answers(
    model: type[Model] | None, text: str, *failures: int, status: int = 200
) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route: its success with an example, and how it may fail."""
    result: dict[int | str, dict[str, Any]] = {}
    if model is not None:
        result[status] = {
            "description": text,
            "model": model,
            "content": {errors.JSON: {"example": model.example}},
        }
    for failure in (*failures, 500):
        result[failure] = {
            "description": _FAILURES[failure],
            "model": Error,
            "content": {errors.JSON: {"example": Error.example}},
        }
    return result


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`; names other than `localhost` count as no."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_automatic(response: Mapping[str, Any]) -> bool:
    schema = response.get("content", {}).get(errors.JSON, {}).get("schema", {})
    return bool(str(schema.get("$ref", "")).endswith("/HTTPValidationError"))


_FAILURES: Mapping[int, str] = {
    400: "`malformed`: the message names the place",
    403: "`unknown_client`: the sender is not on the ledger's list",
    404: "No such thing here: `unknown_transaction`, `out_of_range`, `unknown_application`, ...",
    408: "`request_timeout`: the body came too slowly",
    409: "`duplicate`",
    413: "`too_large`: the body, the transaction or the batch",
    415: "`unsupported_media_type` or `compressed_body`",
    421: "`not_a_validator`: this node only follows; submit to a validator",
    422: "Well formed and refused: `wrong_chain`, `expired`, `lifetime_too_long`, "
    "`bad_signature`, `unknown_method`, `bad_arguments`",
    429: "`mempool_full`, `sender_quota`, `too_many_waiting`: try again after `Retry-After`",
    500: "`internal`: a fault of this node; the id in the message is in its log",
    503: "`not_ready`, `overloaded`, `too_many_streams`, `stopping`: try later or elsewhere",
}
