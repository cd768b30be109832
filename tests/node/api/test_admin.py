import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from node.api import schemas
from node.api.admin import create_admin_app
from node.api.server import ApiServer, CannotServe
from node.logs import Logs


@pytest.fixture
def logs() -> Logs:
    return Logs("info")


@pytest.fixture
def admin(running: Any, serve: Callable[..., ApiServer], logs: Logs) -> Iterator[httpx.Client]:
    server = serve(app=create_admin_app(running.ledger, logs))
    with httpx.Client(base_url=server.url, trust_env=False, verify=False) as client:
        yield client


def test_the_admin_status_is_the_public_one_and_the_process(admin: httpx.Client) -> None:
    body = admin.get("/admin/v1/status").json()
    schemas.AdminStatus.model_validate(body)
    assert body["process"]["rss_bytes"] > 1_000_000


def test_the_log_level_can_be_read_and_changed(admin: httpx.Client, logs: Logs) -> None:
    assert admin.get("/admin/v1/log-level").json() == {"level": "info"}
    answer = admin.put("/admin/v1/log-level", json={"level": "debug"})
    assert answer.json() == {"level": "debug"}
    assert logs.level == "debug"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"level": "loud"}', 400),
        (b'{"level": 1}', 400),
        (b'{"level": "info", "more": 1}', 400),
        (b"[]", 400),
        (b"{", 400),
        (b" " * 5000, 413),
    ],
)
def test_a_wrong_level_is_refused_and_nothing_changes(
    admin: httpx.Client, logs: Logs, body: bytes, status: int
) -> None:
    headers = {"Content-Type": "application/json"}
    answer = admin.put("/admin/v1/log-level", content=body, headers=headers)
    assert answer.status_code == status
    assert set(answer.json()) == {"error"}
    assert logs.level == "info"


def test_a_page_in_a_browser_cannot_change_the_level(admin: httpx.Client, logs: Logs) -> None:
    body = b'{"level": "debug"}'
    form = admin.put("/admin/v1/log-level", content=body, headers={"Content-Type": "text/plain"})
    assert form.status_code == 415
    for host in ("evil.example", "evil.example:80", "127.0.0.1.evil.example", ""):
        headers = {"Content-Type": "application/json", "Host": host}
        rebound = admin.put("/admin/v1/log-level", content=body, headers=headers)
        assert rebound.status_code == 403
        assert rebound.json()["error"]["code"] == "wrong_host"
    assert logs.level == "info"
    assert admin.get("/admin/v1/log-level", headers={"Host": "[::1]:80"}).status_code == 200


def test_nothing_of_the_admin_plane_is_on_the_public_one(
    client: httpx.Client, admin: httpx.Client
) -> None:
    assert client.get("/admin/v1/status").status_code == 404
    assert admin.get("/v1/status").status_code == 404


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org", ""])
def test_the_admin_plane_refuses_every_address_but_loopback(
    running: Any, logs: Logs, host: str
) -> None:
    async def scenario() -> None:
        server = ApiServer(create_admin_app(running.ledger, logs), host, 0)
        with pytest.raises(CannotServe, match=r"set its address to 127\.0\.0\.1"):
            await server.start()

    asyncio.run(scenario())


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "localhost"])
def test_the_admin_plane_serves_on_loopback(running: Any, logs: Logs, host: str) -> None:
    async def scenario() -> None:
        server = ApiServer(create_admin_app(running.ledger, logs), host, 0)
        await server.start()
        await server.stop()

    asyncio.run(scenario())
