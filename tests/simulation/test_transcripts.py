"""The teaching cases of every protocol, as text that is kept: a change in what is said shows.

`ASSAY_WRITE_TRANSCRIPTS=1 pytest tests/simulation/test_transcripts.py` writes them again; read the
difference before it is committed.
"""

import os
from pathlib import Path

import msgspec
import pytest

from crypto.quorum import FaultModel
from mechanisms.registry import Kind, names
from mechanisms.registry import load as mechanism
from simulation.diagram import Happening
from simulation.run import Verdict, run
from simulation.scenario import load
from simulation.transcript import transcript

CASES = ("normal", "silent_leader", "equivocation", "restart")
FOLDER = Path(__file__).parent / "transcripts"
SCENARIOS = Path(__file__).parents[2] / "simulation" / "scenarios"
WRITE = os.environ.get("ASSAY_WRITE_TRANSCRIPTS") == "1"
LINES_MAX = 250
"""What is kept of each: the beginning teaches, the rest repeats."""


def kept(protocol: str, case: str) -> str:
    scenario = msgspec.structs.replace(load(SCENARIOS / f"{case}.toml"), protocol=protocol)
    trace: list[Happening] = []
    result = run(scenario, lambda *facts: trace.append(Happening(*facts)))
    assert result.verdict is Verdict.PASS, result
    lines = transcript(f"{scenario.name}: {protocol}", result, trace).splitlines()
    more = [f"... and {len(lines) - LINES_MAX} more lines"] if len(lines) > LINES_MAX else []
    return "\n".join(lines[:LINES_MAX] + more) + "\n"


def cases() -> list[tuple[str, str]]:
    """Those that the protocol bears."""
    unborne = {
        FaultModel.BYZANTINE: set[str](),
        FaultModel.CRASH: {"equivocation"},
        FaultModel.NONE: {"silent_leader", "equivocation"},
    }
    return [
        (protocol, case)
        for protocol in names(Kind.CONSENSUS)
        for case in CASES
        if case not in unborne[mechanism(Kind.CONSENSUS, protocol, lab=False).claims.fault_model]
    ]


@pytest.mark.parametrize(("protocol", "case"), cases())
def test_what_is_said_is_what_was_said(protocol: str, case: str) -> None:
    path = FOLDER / f"{protocol}-{case}.txt"
    text = kept(protocol, case)
    if WRITE:
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8"), f"{path.name} differs; see the top of the test"


def test_no_transcript_is_left_over() -> None:
    expected = {f"{protocol}-{case}.txt" for protocol, case in cases()}
    assert {path.name for path in FOLDER.glob("*.txt")} == expected
