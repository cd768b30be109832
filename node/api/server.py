"""An HTTP server inside the running event loop: started, stopped, and nothing else.

It installs no signal handlers and never ends the process; the address is bound before it starts,
so that an address in use is a named error, and port 0 gives a port that can be read.
"""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Generator

import uvicorn

from node.api.app import ApiApp, is_loopback
from node.api.limits import ApiLimits
from node.api.protocol import bounded

BACKLOG = 512
_STARTED_POLL_SECONDS = 0.005
_CANCELLED_SECONDS = 1.0
"""What cancelled requests get to end in, beyond `ApiLimits.stop_seconds`."""


class CannotServe(Exception):
    """The address cannot be bound. The message says what to change."""


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield  # Signals belong to whoever owns the process.


class ApiServer:
    """Serves one application on one address. `start` once, then `stop` once."""

    def __init__(
        self, app: ApiApp, host: str, port: int, *, limits: ApiLimits | None = None
    ) -> None:
        self._app = app
        self._host = host
        self._port = port
        self._limits = limits or ApiLimits()
        self._server: _Server | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def host(self) -> str:
        return self._host

    @property
    def port(self) -> int:
        """The port that is bound; with port 0, known after `start`."""
        return self._port

    @property
    def url(self) -> str:
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    async def start(self) -> None:
        """Bind and serve. Raises `CannotServe`."""
        assert self._task is None, "an ApiServer starts once"
        if self._app.loopback_only and not is_loopback(self._host):
            raise CannotServe(
                f"{self._app.title} has no authentication and may not listen on {self._host!r}: "
                "set its address to 127.0.0.1 (and reach it from elsewhere through an SSH tunnel)"
            )
        listener = listen(self._host, self._port)
        self._port = listener.getsockname()[1]
        config = uvicorn.Config(
            self._app,
            host=self._host,
            port=self._port,
            http=bounded(self._limits),
            ws="none",
            loop="none",
            lifespan="off",
            log_config=None,
            log_level="error",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=BACKLOG,
            timeout_keep_alive=self._limits.idle_seconds,
            timeout_graceful_shutdown=self._limits.stop_seconds,
        )
        self._server = _Server(config)
        self._task = asyncio.create_task(self._server.serve([listener]), name="api-server")
        while not self._server.started:
            if self._task.done():
                listener.close()
                await self._task
            await asyncio.sleep(_STARTED_POLL_SECONDS)

    async def stop(self) -> None:
        """Take no more connections, end what lasts, wait a little for the rest. Idempotent."""
        if self._server is None or self._task is None:
            return
        self._app.begin_closing()
        self._server.should_exit = True
        done, _ = await asyncio.wait(
            {self._task}, timeout=self._limits.stop_seconds + _CANCELLED_SECONDS
        )
        if not done:
            self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        for connection in tuple(self._server.server_state.connections):
            transport = getattr(connection, "transport", None)
            if transport is not None:
                transport.abort()

    async def wait(self) -> None:
        """Until the server ends, which without `stop` it does only by a fault, which is raised."""
        assert self._task is not None, "start it first"
        await asyncio.shield(self._task)


def listen(host: str, port: int) -> socket.socket:
    """A bound socket, or raise `CannotServe`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol is named because asyncio turns Nagle's algorithm off only where it reads "TCP":
    # without it, each answer would wait 40 ms for a delayed acknowledgement.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.setblocking(False)
    except (OSError, OverflowError) as error:
        listener.close()
        raise CannotServe(_remedy(host, port, error)) from None
    return listener


def _remedy(host: str, port: int, error: OSError | OverflowError) -> str:
    match getattr(error, "errno", None):
        case errno.EADDRINUSE:
            return (
                f"the API address {host}:{port} is in use: stop the program that has it, or "
                "configure another port"
            )
        case errno.EACCES:
            return f"no permission to listen on {host}:{port}: configure a port above 1023"
        case errno.EADDRNOTAVAIL | socket.EAI_NONAME:
            return f"this machine has no address {host}: configure one of its own, or 127.0.0.1"
        case _:
            return f"cannot listen on {host}:{port}: {error}"
