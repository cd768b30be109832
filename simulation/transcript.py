"""A run as text: one line for each thing that happens, for people and for comparison.

The same scenario gives the same transcript, byte for byte; `tests/simulation/transcripts` keeps
those of the cases that teach how a protocol works.
"""

from collections.abc import Sequence

from simulation.diagram import Happening
from simulation.run import Result

_SHOWN = frozenset({"send", "lost", "timer", "view", "execute", "crash", "start"})
"""What a reader needs: receiving follows from sending."""


def transcript(title: str, result: Result, trace: Sequence[Happening]) -> str:
    """Sends of one message to several are one line."""
    lines = [f"# {title}", f"# verdict: {result.verdict}, height {result.height}", ""]
    pending: tuple[int, str, str, str] | None = None
    receivers: list[str] = []

    def flush() -> None:
        if pending is not None:
            at_ms, who, what, text = pending
            lines.append(f"{at_ms:>7} {who:<4} {what:<8} {text} -> {' '.join(receivers)}")
        receivers.clear()

    for each in trace:
        if each.what not in _SHOWN:
            continue
        if each.what in {"send", "lost"}:
            text, _, to = each.particulars.rpartition(" to ")
            key = (each.at_ms, each.who, each.what, text)
            if key != pending:
                flush()
                pending = key
            receivers.append(to)
            continue
        flush()
        pending = None
        lines.append(f"{each.at_ms:>7} {each.who:<4} {each.what:<8} {each.particulars}".rstrip())
    flush()
    return "\n".join(lines) + "\n"
