"""`assay node fsck`: a damaged directory is an answer (1), a running node is none (3)."""

import time
from dataclasses import asdict
from pathlib import Path

from cli.output import ExitCode, Output, Stop
from node.fsck import Damaged
from node.fsck import check as checked
from node.home import Home

PROGRESS_S = 0.2


def check(path: Path, out: Output) -> None:
    """Check the ledger and the journal of the node in `path`, and say what was found."""
    began = time.monotonic()
    shown = began

    def progress(height: int, last: int) -> None:
        nonlocal shown
        now = time.monotonic()
        if now - shown >= PROGRESS_S:
            shown = now
            rate = height / (now - began)
            left = (last - height) / rate
            out.progress(f"height {height} of {last}, {rate:.0f} per second, {left:.0f} s left")

    try:
        found = checked(Home(path), progress)
    except Damaged as error:
        facts = {"home": str(path), "clean": False}
        raise Stop(str(error), ExitCode.NO, word="damaged", facts=facts) from None
    finally:
        out.progress_end()
    seconds = time.monotonic() - began
    out.say(
        f"{path} is clean: {found.height} blocks, {found.transactions} transactions, "
        f"certificates up to {found.certified} (checked in {seconds:.1f} s)"
    )
    if found.journal_cut_bytes:
        out.say(f"The journal has {found.journal_cut_bytes} bytes of a torn record at its end.")
    out.give({"home": str(path), "clean": True, "seconds": round(seconds, 3), **asdict(found)})
