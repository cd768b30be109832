"""Request bodies: read under a cap, and JSON that is strict before it is interesting.

A body is refused by its announced length before it is read and by its real length while it is
read; compressed bodies are refused outright, so that no small body ever becomes a large one.
JSON is bounded in depth and in the number of its values before the parser sees it, and floats,
`NaN`, infinities, duplicate keys and lone surrogates are refused: one body has one meaning.
"""

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Request
from starlette.requests import ClientDisconnect

from node.api.errors import JSON, ApiError, malformed
from node.api.limits import ApiLimits

MSGPACK = "application/msgpack"
MSGPACK_NAMES = frozenset({MSGPACK, "application/x-msgpack", "application/vnd.msgpack"})
DRAIN_BYTES_MAX = 8 * 1024 * 1024
"""Of a body that is refused, so much is read and dropped: closing a connection on bytes that
nobody read makes the kernel reset it, and the caller would never see why."""

_STRING = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_BRACKET = re.compile(r"[\[\]{}]")
_DIGITS_MAX = 20


class Bodies:
    """Reads bodies, all together within `limits.bodies_bytes_max`."""

    def __init__(self, limits: ApiLimits) -> None:
        self._limits = limits
        self._held = 0

    @asynccontextmanager
    async def read(self, request: Request, bytes_max: int) -> AsyncIterator[bytes]:
        """The body, for as long as the context is open. Raises `ApiError`."""
        _refuse_compressed(request)
        taken = 0
        parts: list[bytes] = []
        try:
            stream = request.stream()
            if _announced(request) > bytes_max:
                if "expect" not in request.headers:  # Such a caller waits for leave to send.
                    await _drain(stream)
                raise _too_large(bytes_max)
            async for part in stream:
                taken += len(part)
                self._held += len(part)
                if taken > bytes_max:
                    parts.clear()
                    await _drain(stream)
                    raise _too_large(bytes_max)
                if self._held > self._limits.bodies_bytes_max:
                    parts.clear()
                    await _drain(stream)
                    raise ApiError(503, "overloaded", "this node is busy; try again")
                parts.append(part)
            body = parts[0] if len(parts) == 1 else b"".join(parts)
            parts.clear()
            yield body
        except ClientDisconnect:
            raise ApiError(400, "disconnected", "the connection ended within the body") from None
        finally:
            self._held -= taken


def media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def require_json(request: Request) -> None:
    if media_type(request) != JSON:
        raise ApiError(415, "unsupported_media_type", f"send the body as Content-Type: {JSON}")


def parse_json(raw: bytes, limits: ApiLimits) -> object:
    """One strict JSON value, or raise `ApiError`."""
    try:
        # Decoded here, because `json.loads` would guess UTF-16 and UTF-32 from bytes.
        text = raw.decode("utf-8")
        _bound(_STRING.sub('""', text), limits)
        value: object = json.loads(
            text,
            object_pairs_hook=_unique,
            parse_float=_no_float,
            parse_constant=_no_float,
            parse_int=_integer,
        )
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeError:
        raise malformed("the body is not JSON in UTF-8") from None
    except json.JSONDecodeError as error:
        raise malformed(f"the body is not JSON: {error.msg} at character {error.pos}") from None
    return value


def _refuse_compressed(request: Request) -> None:
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        raise ApiError(
            415, "compressed_body", "compressed bodies are not accepted; send it uncompressed"
        )


def _announced(request: Request) -> int:
    length = request.headers.get("content-length", "0")
    return int(length) if length.isdecimal() and len(length) <= _DIGITS_MAX else 0


def _too_large(bytes_max: int) -> ApiError:
    return ApiError(
        413,
        "too_large",
        f"the body is larger than {bytes_max} bytes; send less at a time",
        {"Connection": "close"},
    )


async def _drain(stream: AsyncIterator[bytes]) -> None:
    dropped = 0
    async for part in stream:
        dropped += len(part)
        if dropped > DRAIN_BYTES_MAX:
            return


def _bound(skeleton: str, limits: ApiLimits) -> None:
    """Depth and number of values, counted on the text without its strings."""
    nodes = skeleton.count(",") + skeleton.count(":") + skeleton.count("[") + skeleton.count("{")
    if nodes >= limits.json_nodes_max:
        raise malformed(f"the JSON has more than {limits.json_nodes_max} values")
    depth = 0
    for bracket in _BRACKET.finditer(skeleton):
        depth += 1 if bracket.group() in "[{" else -1
        if depth > limits.json_depth_max:
            raise malformed(f"the JSON is nested deeper than {limits.json_depth_max}")
        if depth < 0:
            raise malformed("the body is not JSON: a bracket closes that was never opened")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise malformed("the JSON has the same key twice in one object")
    return value


def _no_float(_text: str) -> object:
    raise malformed("only whole numbers are accepted: no fractions, exponents, NaN or Infinity")


def _integer(text: str) -> int:
    if len(text) > _DIGITS_MAX:
        raise malformed("a number is too large")
    return int(text)
