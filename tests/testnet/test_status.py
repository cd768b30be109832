from dataclasses import replace

from testnet.process import Life
from testnet.status import NodeStatus, from_answer, summarise


def row(name: str, *, up: bool = True, moving: bool = True, note: str = "") -> NodeStatus:
    base = NodeStatus(
        name=name,
        role="validator",
        state=Life.RUNNING if up else Life.DOWN,
        running=up,
        pid=1 if up else None,
        api="http://127.0.0.1:7101",
        note=note,
    )
    if not up:
        return base
    return replace(base, height=5, view=0, leader="v1", moving=moving, reason="because")


def test_all_up_survives_one_failure() -> None:
    state = summarise([row("v1"), row("v2"), row("v3"), row("v4")], quorum=3)
    assert state.moves
    assert state.summary == (
        "The chain moves: 4 of 4 validators, quorum 3. It survives one more failure."
    )


def test_a_bare_quorum_says_that_the_next_failure_stops_it() -> None:
    state = summarise([row("v1", up=False), row("v2"), row("v3"), row("v4")], quorum=3)
    assert state.summary == (
        "The chain moves: 3 of 4 validators, quorum 3. One more failure stops it."
    )


def test_too_few_name_who_is_missing_and_the_last_word() -> None:
    rows = [row("v1", up=False, note="exit by signal 9, 12 s ago"), row("v2", up=False)]
    state = summarise([*rows, row("v3"), row("v4")], quorum=3)
    assert not state.moves
    assert "1 more needed; missing: v1, v2." in state.summary
    assert "v1: exit by signal 9, 12 s ago" in state.summary


def test_enough_nodes_that_do_not_move_say_why() -> None:
    rows = [row(name, moving=False) for name in ("v1", "v2", "v3", "v4")]
    state = summarise(rows, quorum=3)
    assert not state.moves
    assert "v1 says: because" in state.summary


def test_observers_do_not_count() -> None:
    watcher = replace(row("watcher"), role="observer")
    state = summarise([row("v1", up=False), row("v2", up=False), row("v3"), watcher], quorum=2)
    assert not state.moves


def test_an_answer_completes_a_row() -> None:
    answer = {
        "height": 7,
        "view": 2,
        "leader": "v3",
        "state_root": "ab",
        "header": "cd",
        "peers": [{"name": "v3", "role": "validator"}, {"name": "v2", "role": "validator"}],
        "mempool": {"count": 4, "bytes": 1000},
        "next_timeout_ms": 500,
        "waiting_for": ["v4"],
        "moving": True,
        "reason": "fine",
    }
    full = from_answer(row("v1"), answer)
    assert (full.height, full.view, full.leader, full.peers) == (7, 2, "v3", ("v2", "v3"))
    assert full.answers


def test_the_json_has_what_scripts_rely_on() -> None:
    node = summarise([row("v1")], quorum=1).json()["nodes"][0]
    fields = {"name", "running", "height", "view", "leader", "state_root", "peers"}
    assert fields <= set(node)
    assert node["leader"] == "v1"


def test_a_network_that_is_down_says_so_in_short() -> None:
    rows = [row(name, up=False, note="stopped, 3 s ago") for name in ("v1", "v2", "v3", "v4")]
    assert summarise(rows, quorum=3).summary == (
        "The chain stands still: 0 of 4 validators, quorum 3. No validator runs."
    )
