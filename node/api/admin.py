"""The admin plane: a second listener, for the operator of this node only.

It has no authentication yet and therefore serves loopback addresses only. A page in a browser on
the same machine can reach loopback too: requests whose `Host` is no loopback name (DNS rebinding)
are refused, and a change needs `Content-Type: application/json`, which no foreign page may send
without asking first.
"""

import os
import time
from typing import Any

import psutil
from fastapi import Request
from fastapi.responses import Response
from pydantic import ValidationError
from starlette.types import ASGIApp, Receive, Scope, Send

from node.api import schemas
from node.api.app import ApiApp, answers, is_loopback
from node.api.body import Bodies, parse_json, require_json
from node.api.errors import JSON, ApiError, answer, answer_error, malformed
from node.api.limits import ApiLimits
from node.api.views import status_fields
from node.logs import LEVELS, Logs
from node.service import NodeService

BODY_BYTES_MAX = 1024


def create_admin_app(service: NodeService, logs: Logs, limits: ApiLimits | None = None) -> ApiApp:
    """The application; `ApiServer` refuses to serve it on any address but loopback."""
    limits = limits or ApiLimits()
    app = ApiApp("Assay's admin plane", __doc__ or "", None, loopback_only=True)
    bodies = Bodies(limits)
    process = psutil.Process()
    started = time.monotonic()
    app.add_middleware(_LoopbackHost)

    @app.get(
        "/admin/v1/status",
        response_model=None,
        summary="The public status, and the process",
        responses=answers(schemas.AdminStatus, "Status"),
    )
    async def status() -> Response:
        return answer(
            status_fields(service)
            | {
                "process": {
                    "pid": os.getpid(),
                    "uptime_seconds": int(time.monotonic() - started),
                    "rss_bytes": process.memory_info().rss,
                    "log_level": logs.level,
                }
            }
        )

    @app.get(
        "/admin/v1/log-level",
        response_model=None,
        summary="The level of the logs",
        responses=answers(schemas.LogLevel, "The level"),
    )
    async def log_level() -> Response:
        return answer({"level": logs.level})

    body_schema: dict[str, Any] = {
        "requestBody": {
            "required": True,
            "content": {
                JSON: {
                    "schema": schemas.LogLevel.model_json_schema(),
                    "example": schemas.LogLevel.example,
                }
            },
        }
    }

    @app.put(
        "/admin/v1/log-level",
        response_model=None,
        summary="Change the level of the logs, until the node stops",
        responses=answers(schemas.LogLevel, "The new level", 400, 413, 415),
        openapi_extra=body_schema,
    )
    async def set_log_level(request: Request) -> Response:
        require_json(request)
        async with bodies.read(request, BODY_BYTES_MAX) as body:
            value = parse_json(body, limits)
        try:
            level = schemas.LogLevel.model_validate(value).level
        except ValidationError:
            raise malformed('the body must be {"level": "..."} and nothing else') from None
        if level not in LEVELS:
            raise malformed(f"no such log level; there are {', '.join(LEVELS)}")
        logs.set_level(level)
        return answer({"level": logs.level})

    return app


class _LoopbackHost:
    """Refuses requests that were addressed to a name which only resolves to loopback."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not is_loopback(_host_of(scope)):
            text = "address the admin plane as 127.0.0.1 or localhost"
            refusal = answer_error(ApiError(403, "wrong_host", text))
            await refusal(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _host_of(scope: Scope) -> str:
    hosts = [value for name, value in scope["headers"] if name == b"host"]
    if len(hosts) != 1:
        return ""
    host: str = hosts[0].decode("latin-1")
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]
