"""A client of one node's REST API, for the command line, the test network and tests.

It speaks JSON, and MessagePack for batches. It believes nothing: what a node says is data, and a
proof is checked by `crypto.bundle`, not here. Every call has a deadline.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx
import msgspec

from crypto.encoding import encode
from testnet.errors import ApiError, Unreachable

TIMEOUT_S = 10.0
ANSWER_BYTES_MAX = 64 * 1024 * 1024
MSGPACK = "application/msgpack"
SLACK_S = 5.0
"""How much longer than a node's own deadline we wait for its answer."""

Json = dict[str, Any]


class Event(msgspec.Struct, frozen=True):
    """One server-sent event."""

    id: str
    kind: str
    data: Json


class Client:
    """One node, by the address of its API."""

    def __init__(self, base_url: str, timeout_s: float = TIMEOUT_S) -> None:
        self.base_url = base_url.rstrip("/")
        self._timeout_s = timeout_s
        # A network on this machine is never reached through a proxy.
        self._http = httpx.Client(base_url=self.base_url, timeout=timeout_s, trust_env=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    # --- Transactions. ---

    def submit(self, raw: bytes, *, wait: bool = False, timeout_ms: int = 10_000) -> Json:
        """Hand in one signed encoding; with `wait`, return when it is committed."""
        return self._json(
            "POST",
            "/v1/transactions",
            params=_waiting(wait, timeout_ms),
            json={"raw": raw.hex()},
            timeout_s=self._patience(wait, timeout_ms),
        )

    def submit_batch(
        self, raws: Sequence[bytes], *, wait: bool = False, timeout_ms: int = 10_000
    ) -> list[Json]:
        """Hand in many, in the binary form; the results in the same order."""
        answer = self._json(
            "POST",
            "/v1/transactions/batch",
            params=_waiting(wait, timeout_ms),
            content=batch_body(raws),
            headers={"content-type": MSGPACK, "accept": "application/json"},
            timeout_s=self._patience(wait, timeout_ms),
        )
        results: list[Json] = answer["results"]
        return results

    def transaction(self, identity: str) -> Json:
        return self._json("GET", f"/v1/transactions/{identity}")

    def proof(self, identity: str) -> bytes:
        """The bundle, byte for byte as the node made it."""
        return self._request("GET", f"/v1/transactions/{identity}/proof").content

    # --- The chain. ---

    def block(self, height: int) -> Json:
        return self._json("GET", f"/v1/blocks/{height}")

    def header(self, height: int) -> Json:
        return self._json("GET", f"/v1/headers/{height}")

    def inclusion(self, index: int, size: int) -> Json:
        return self._json("GET", "/v1/proofs/inclusion", params={"index": index, "size": size})

    def consistency(self, old: int, new: int) -> Json:
        return self._json("GET", "/v1/proofs/consistency", params={"old": old, "new": new})

    def query(self, application: str, *path: str) -> Json:
        parts = "/".join(_quoted(part) for part in path)
        return self._json("GET", f"/v1/query/{_quoted(application)}/{parts}")

    # --- The node. ---

    def status(self) -> Json:
        return self._json("GET", "/v1/status")

    def validators(self) -> Json:
        return self._json("GET", "/v1/validators")

    def metrics(self) -> dict[str, float]:
        """Each sample of `/metrics`, by its name with labels."""
        samples = {}
        for line in self._request("GET", "/metrics").text.splitlines():
            name, _, value = line.rpartition(" ")
            if name and not line.startswith("#"):
                samples[name] = float(value)
        return samples

    def is_ready(self) -> bool:
        try:
            self._request("GET", "/ready")
        except (ApiError, Unreachable):
            return False
        return True

    def events(self, last_id: str | None = None, timeout_s: float = 30.0) -> Iterator[Event]:
        """The stream of blocks and receipts, from after `last_id` on."""
        headers = {"accept": "text/event-stream"}
        if last_id is not None:
            headers["last-event-id"] = last_id
        try:
            with self._http.stream(
                "GET", "/v1/events", headers=headers, timeout=timeout_s
            ) as answer:
                if answer.is_error:
                    answer.read()
                    raise _refusal(answer)
                yield from _events(answer.iter_lines())
        except httpx.TransportError as error:
            raise self._unreachable(error) from None

    # --- Requests. ---

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:  # noqa: ANN401
        """Any request, and the answer as it is, refusals included; for tests of the API."""
        try:
            return self._http.request(method, path, **options)
        except httpx.TransportError as error:
            raise self._unreachable(error) from None

    def _json(self, method: str, path: str, **options: Any) -> Json:  # noqa: ANN401
        answer = self._request(method, path, **options)
        try:
            value = answer.json()
        except ValueError:
            raise ApiError(
                answer.status_code, "not_json", f"{self.base_url} sent no JSON"
            ) from None
        if not isinstance(value, dict):
            raise ApiError(answer.status_code, "not_an_object", f"{path} did not send an object")
        return value

    def _request(
        self,
        method: str,
        path: str,
        *,
        timeout_s: float | None = None,
        **options: Any,  # noqa: ANN401
    ) -> httpx.Response:
        answer = self.request(method, path, timeout=timeout_s or self._timeout_s, **options)
        if answer.is_error:
            raise _refusal(answer)
        return answer

    def _patience(self, wait: bool, timeout_ms: int) -> float:
        return timeout_ms / 1000 + SLACK_S if wait else self._timeout_s

    def _unreachable(self, error: httpx.TransportError) -> Unreachable:
        what = (
            "did not answer in time" if isinstance(error, httpx.TimeoutException) else "is not up"
        )
        return Unreachable(f"{self.base_url} {what}")


def batch_body(raws: Sequence[bytes]) -> bytes:
    """The body of `POST /v1/transactions/batch`: a record of one field, the encodings."""
    return encode([list(raws)])


def _waiting(wait: bool, timeout_ms: int) -> Mapping[str, str | int]:
    return {"wait": "committed", "timeout_ms": timeout_ms} if wait else {"wait": "none"}


def _quoted(part: str) -> str:
    """One segment of a path, whatever it contains."""
    return quote(part, safe="")


def _refusal(answer: httpx.Response) -> ApiError:
    try:
        error = answer.json()["error"]
        code, text = str(error["code"]), str(error["message"])
    except (ValueError, KeyError, TypeError):
        code, text = "http", f"the node answered with status {answer.status_code}"
    try:
        retry_after_s = float(answer.headers.get("retry-after", "0"))
    except ValueError:
        retry_after_s = 0.0
    return ApiError(answer.status_code, code, text, retry_after_s)


def _events(lines: Iterator[str]) -> Iterator[Event]:
    fields: dict[str, str] = {}
    for line in lines:
        if line == "":
            if "data" in fields:
                yield Event(
                    fields.get("id", ""), fields.get("event", "message"), json.loads(fields["data"])
                )
            fields = {}
        elif not line.startswith(":"):
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            fields[name] = f"{fields[name]}\n{value}" if name == "data" in fields else value
