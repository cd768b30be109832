"""How far a long search has come: a small file, so that it can be interrupted and goes on."""

from collections import Counter
from pathlib import Path

import msgspec

from simulation.explore import Found, Search
from simulation.scenario import BadScenario


class Progress(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """All that was run so far of one search."""

    protocol: str
    nodes: int
    byzantine: int
    strategy: str
    next_seed: int
    """All seeds below were run."""
    seeds: int = 0
    seconds: float = 0.0
    verdicts: dict[str, int] = {}
    failures: list[str] = []


def begin(path: Path, search: Search, first: int) -> Progress:
    """What the file says, or a new search. Raises `BadScenario` if it is of another search."""
    if not path.exists():
        return Progress(
            protocol=search.protocol,
            nodes=search.nodes,
            byzantine=search.byzantine,
            strategy=search.strategy,
            next_seed=first,
        )
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Progress)
    except (OSError, msgspec.MsgspecError) as error:
        raise BadScenario(f"{path}: {error}; remove it to begin anew") from None
    named = (found.protocol, found.nodes, found.byzantine, found.strategy)
    if named != (search.protocol, search.nodes, search.byzantine, search.strategy):
        raise BadScenario(
            f"{path} is of another search ({' '.join(map(str, named))}); name another file"
        )
    return found


def advance(before: Progress, found: Found, last: int) -> Progress:
    """With what a run of `explore` has added so far; all seeds up to `last` are done."""
    return msgspec.structs.replace(
        before,
        next_seed=last + 1,
        seeds=before.seeds + found.seeds,
        seconds=round(before.seconds + found.seconds, 1),
        verdicts=dict(Counter(before.verdicts) + found.verdicts),
        failures=[*before.failures, *map(str, found.failures)],
    )


def read(folder: Path) -> list[Progress]:
    """All searches in a folder. Raises `BadScenario` for a file that is none."""
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            found.append(msgspec.json.decode(path.read_bytes(), type=Progress))
        except (OSError, msgspec.MsgspecError) as error:
            raise BadScenario(f"{path}: {error}") from None
    return found


def save(path: Path, progress: Progress) -> None:
    """Whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.new")
    new.write_bytes(msgspec.json.format(msgspec.json.encode(progress), indent=1))
    new.replace(path)
