"""A laboratory for each test: its networks are always taken down, and what they said is checked."""

import os
import random
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.process.lab import Lab
from tests.process.recordings import evidence

SEED = "ASSAY_SEED"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.process)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that failed shows how the logs of its nodes end."""
    report = yield
    lab = getattr(item, "funcargs", {}).get("lab")
    if isinstance(lab, Lab) and report.when == "call" and report.failed:
        report.sections.append(("nodes", lab.logs()))
    return report


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """Networks for this test. `ASSAY_SEED=N` repeats a run's choices."""
    seed = int(os.environ.get(SEED) or random.SystemRandom().randrange(2**32))
    print(f"{SEED}={seed}")
    made = Lab(tmp_path, seed)
    try:
        yield made
    finally:
        made.down()
    for net in made.networks:
        assert evidence(net).contradictions() == []
