import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from node.logs import REDACTED, VALUE_CHARACTERS_MAX, Logs, UnknownLevel, configure, logger


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    yield io.StringIO()
    structlog.reset_defaults()
    root = logging.getLogger()
    for handler in tuple(root.handlers):
        if type(handler).__name__ == "_Forward":
            root.removeHandler(handler)


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_one_json_object_with_time_level_and_event(stream: io.StringIO) -> None:
    configure("info", stream)
    logger(node="v1").info("peer_connected", peer="v2")
    (line,) = lines(stream)
    assert line.pop("time")
    assert line == {"node": "v1", "peer": "v2", "event": "peer_connected", "level": "info"}


def test_the_level_can_be_changed_while_the_node_runs(stream: io.StringIO) -> None:
    logs = configure("warning", stream)
    log = logger()
    log.info("dropped")
    logs.set_level("debug")
    log.debug("kept")
    assert [line["event"] for line in lines(stream)] == ["kept"]
    assert logs.level == "debug"


def test_an_unknown_level_is_refused_with_those_that_exist() -> None:
    with pytest.raises(UnknownLevel, match="debug, info, warning, error"):
        Logs("loud")


@pytest.mark.parametrize("key", ["seed", "client_secret", "password", "PrivateKey", "api_token"])
def test_what_looks_like_a_secret_is_never_written(stream: io.StringIO, key: str) -> None:
    configure("info", stream)
    logger().info("opened", **{key: "hunter2", "inner": {key: b"hunter2", "name": "v1"}})
    assert "hunter2" not in stream.getvalue()
    assert b"hunter2".hex() not in stream.getvalue()
    (line,) = lines(stream)
    assert line[key] == REDACTED
    assert line["inner"] == {key: REDACTED, "name": "v1"}


def test_what_a_peer_sent_cannot_break_or_flood_the_log(stream: io.StringIO) -> None:
    configure("info", stream)
    logger().info("odd", text='"}\n{"event": "forged"', raw=b"\xff\x00", long="x" * 10**6)
    (line,) = lines(stream)
    assert line["event"] == "odd"
    assert line["raw"] == "ff00"
    assert len(str(line["long"])) <= VALUE_CHARACTERS_MAX + 3


def test_what_libraries_log_comes_out_in_the_same_form(stream: io.StringIO) -> None:
    configure("info", stream)
    logging.getLogger("uvicorn.error").error("it %s", "broke")
    logging.getLogger("noisy").info("chatter")
    (line,) = lines(stream)
    assert (line["level"], line["logger"], line["text"]) == ("error", "uvicorn.error", "it broke")


def test_an_exception_is_a_field_of_its_line(stream: io.StringIO) -> None:
    configure("info", stream)
    try:
        raise ValueError("deep inside")
    except ValueError as error:
        logger().error("api_fault", id="ab", exc_info=error)
    (line,) = lines(stream)
    assert "deep inside" in str(line["exception"])
