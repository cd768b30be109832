"""A run as a space-time diagram: one self-contained HTML page, for people to look at.

Each replica is a line from left (earlier) to right; a message is a stroke from its sender to its
receiver. Source: Lamport, "Time, Clocks, and the Ordering of Events", CACM 1978.
"""

import html
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass

EVENTS_MAX = 4_000
"""Later events of a long run are not drawn; the page says so."""

_LEFT, _TOP, _LANE = 70, 60, 90
_COLOURS = ("#1f6feb", "#bf5700", "#1a7f37", "#8250df", "#bf3989", "#57606a", "#9a6700", "#0550ae")


@dataclass(frozen=True, slots=True)
class Happening:
    """One line of a trace."""

    at_ms: int
    who: str
    what: str
    """`send`, `lost`, `receive`, `timer`, `view`, `execute`, `crash` or `start`."""
    particulars: str


def diagram(title: str, verdict: str, trace: Sequence[Happening]) -> str:
    """The page. Messages of one type have one colour; what a mark means is shown on hovering."""
    shown = trace[:EVENTS_MAX]
    places = sorted({each.who for each in trace})
    lane = {who: _TOP + index * _LANE for index, who in enumerate(places)}
    x = _positions(shown)
    kinds: dict[str, str] = {}
    drawn: list[str] = []
    waiting: defaultdict[tuple[str, str, str], deque[int]] = defaultdict(deque)
    for index, each in enumerate(shown):
        at = x[index]
        if each.what in {"send", "lost"}:
            text, _, to = each.particulars.rpartition(" to ")
            if each.what == "send":
                waiting[each.who.rstrip("'"), to, text].append(at)
            else:
                drawn.append(_lost(each, at, lane, to))
        elif each.what == "receive":
            text, _, sender = each.particulars.rpartition(" from ")
            queue = waiting[sender, each.who, text]
            if queue:
                kind = text.split(" ", 1)[0]
                colour = kinds.setdefault(kind, _COLOURS[len(kinds) % len(_COLOURS)])
                begin = (queue.popleft(), lane.get(sender, _TOP))
                drawn.append(_stroke(begin, (at, lane[each.who]), colour, each))
        else:
            drawn.append(_mark(each, at, lane[each.who]))
    width = (x[-1] if x else 0) + 120
    lines = [
        f'<line x1="{_LEFT}" y1="{y}" x2="{width - 20}" y2="{y}" class="lane"/>'
        f'<text x="12" y="{y + 4}" class="name">{html.escape(who)}</text>'
        for who, y in lane.items()
    ]
    legend = "".join(
        f'<span style="color:{colour}">&#9473; {html.escape(kind)}</span> '
        for kind, colour in kinds.items()
    )
    left_out = len(trace) - len(shown)
    note = f"{left_out} later events are not drawn." if left_out else ""
    height = _TOP + _LANE * len(places)
    return _PAGE.format(
        title=html.escape(title),
        verdict=html.escape(verdict),
        legend=legend,
        note=note,
        width=width,
        height=height,
        drawing="\n".join(lines + drawn),
    )


def _positions(trace: Sequence[Happening]) -> list[int]:
    """Where each is drawn: in order, wider where more happens, never too wide for quiet times."""
    places, at, before = [], _LEFT + 10, 0
    for each in trace:
        at += min(60, max(3, each.at_ms - before))
        before = each.at_ms
        places.append(at)
    return places


def _stroke(begin: tuple[int, int], end: tuple[int, int], colour: str, each: Happening) -> str:
    tip = html.escape(f"{each.at_ms} ms: {each.who} {each.what} {each.particulars}")
    return (
        f'<line x1="{begin[0]}" y1="{begin[1]}" x2="{end[0]}" y2="{end[1]}" stroke="{colour}" '
        f'class="message"><title>{tip}</title></line>'
    )


def _lost(each: Happening, at: int, lane: dict[str, int], to: str) -> str:
    y = lane[each.who]
    towards = 1 if lane.get(to, y) > y else -1
    tip = html.escape(f"{each.at_ms} ms: {each.who} lost {each.particulars}")
    return (
        f'<line x1="{at}" y1="{y}" x2="{at + 10}" y2="{y + towards * 22}" class="lost">'
        f"<title>{tip}</title></line>"
    )


def _mark(each: Happening, at: int, y: int) -> str:
    tip = html.escape(f"{each.at_ms} ms: {each.who} {each.what} {each.particulars}")
    label = {
        "execute": each.particulars.split(" ", 1)[0],
        "view": f"view {each.particulars}",
        "timer": each.particulars,
    }.get(each.what, each.what)
    below = y + 18 if each.what == "timer" else y - 10
    shape = (
        f'<circle cx="{at}" cy="{y}" r="5"/>'
        if each.what == "execute"
        else f'<rect x="{at - 3}" y="{y - 3}" width="6" height="6"/>'
    )
    return (
        f'<g class="{each.what}">{shape}<text x="{at}" y="{below}">{html.escape(label)}</text>'
        f"<title>{tip}</title></g>"
    )


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 14px/1.4 system-ui, sans-serif; margin: 1rem; color: #1f2328; background: #fff; }}
.scroll {{ overflow-x: auto; border: 1px solid #d0d7de; border-radius: 6px; }}
.lane {{ stroke: #8c959f; stroke-width: 1.5; }}
.name {{ font-weight: 600; }}
.message {{ stroke-width: 1.3; opacity: .75; }}
.message:hover {{ stroke-width: 4; opacity: 1; }}
.lost {{ stroke: #cf222e; stroke-dasharray: 3 2; }}
svg text {{ font-size: 11px; }}
.execute circle {{ fill: #1a7f37; }}
.view rect, .start rect {{ fill: #0550ae; }}
.timer rect {{ fill: #9a6700; }} .timer text {{ fill: #9a6700; }}
.crash rect {{ fill: #cf222e; }} .crash text {{ fill: #cf222e; font-weight: 600; }}
</style></head><body>
<h1>{title}</h1>
<p>Verdict: <strong>{verdict}</strong>. {note}</p>
<p>{legend} <span style="color:#cf222e">&#9476; lost</span>
<span style="color:#1a7f37">&#9679; executed</span></p>
<div class="scroll"><svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}">
{drawing}
</svg></div></body></html>
"""
