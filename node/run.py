"""One node as a process: starts everything, serves until SIGTERM or SIGINT, stops cleanly."""

import asyncio
import gc
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import structlog

from crypto.interface import CryptoError
from mechanisms.registry import MechanismError
from node import logs
from node.api.admin import create_admin_app
from node.api.public import create_public_app
from node.api.server import ApiServer, CannotServe
from node.config import ConfigError, NodeConfig, address
from node.executor import Diverged
from node.home import Home, HomeError
from node.keyfiles import KeyFileError
from node.logs import Log
from node.wiring import Assembled, assemble
from p2p.membership import BadMembership
from p2p.transports.tcp import CannotListen
from storage.interface import StorageError

DONE = 0
COULD_NOT = 3

OPERATOR_ERRORS = (
    BadMembership,
    CannotListen,
    CannotServe,
    ConfigError,
    CryptoError,
    Diverged,
    HomeError,
    KeyFileError,
    MechanismError,
    StorageError,
)

COLLECT_AFTER = (50_000, 10, 20)
"""Why not Python's 700: transactions come and go by the thousand and make no cycles."""


def run(path: Path) -> int:
    """Run the node whose home is `path` until it is told to stop; the exit code."""
    try:
        home = Home(path)
        config, genesis = home.read()
        control = logs.configure(config.log.level)
    except OPERATOR_ERRORS as error:
        sys.stderr.write(f"error: {error}\n")
        return COULD_NOT
    log = structlog.get_logger().bind(node=config.name)
    gc.set_threshold(*COLLECT_AFTER)
    try:
        with assemble(home, config, genesis, log) as assembled:
            gc.freeze()
            with asyncio.Runner(loop_factory=_new_loop) as runner:
                runner.run(_serve(assembled, config, control, log))
    except OPERATOR_ERRORS as error:
        log.error("stopped", reason=str(error))
        return COULD_NOT
    except ExceptionGroup as group:
        operator, ours = group.split(OPERATOR_ERRORS)
        for leaf in _leaves(operator):
            log.error("stopped", reason=str(leaf))
        if ours is not None:
            raise ours from None
        return COULD_NOT
    log.info("stopped_cleanly")
    return DONE


async def _serve(assembled: Assembled, config: NodeConfig, control: logs.Logs, log: Log) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    public = ApiServer(
        create_public_app(assembled.answers, assembled.metrics),
        *address(config.listen.api, "listen.api"),
    )
    admin = ApiServer(
        create_admin_app(assembled.answers, control),
        *address(config.listen.admin, "listen.admin"),
    )
    async with asyncio.TaskGroup() as tasks:
        node = tasks.create_task(assembled.node.run())
        try:
            await public.start()
            await admin.start()
            log.info("started", api=config.listen.api, peer=config.listen.peer)
            await stop.wait()
            log.info("stopping")
        finally:
            assembled.events.close()
            await public.stop()
            await admin.stop()
            node.cancel()


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop  # noqa: PLC0415 - not on every platform
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def _leaves(group: BaseExceptionGroup[Exception] | None) -> Iterator[Exception]:
    for error in group.exceptions if group is not None else ():
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
