"""From configuration values to options."""

import re
from pathlib import Path
from typing import Any

import pytest

from mechanisms.registry import Kind, Mechanism, MechanismError, load, options

BODY = """
from dataclasses import dataclass, field
from typing import Annotated, Literal

from msgspec import Meta

CLAIMS = None


@dataclass(frozen=True, slots=True)
class Options:
    count: int
    word: str = "w"
    flag: bool = False
    share: float = 0.5
    sizes: tuple[int, ...] = ()
    limit: int | None = None
    mode: Literal["fast", "safe"] = "safe"
    level: Annotated[int, Meta(ge=1)] = 1
    names: tuple[str, ...] = field(default_factory=tuple)
    hidden: int = field(default=0, init=False)

    def __post_init__(self):
        if self.count > 1000:
            raise ValueError("count must be at most 1000")


def create(options):
    return options
"""


@pytest.fixture
def mechanism(folder: Path) -> Mechanism:
    (folder / "many.py").write_text(BODY)
    return load(Kind.HASH, "many", lab=False)


def test_values_of_the_right_type_become_options(mechanism: Mechanism) -> None:
    made = options(
        mechanism,
        {
            "count": 3,
            "word": "x",
            "flag": True,
            "share": 2,
            "sizes": [1, 2],
            "limit": 7,
            "mode": "fast",
            "level": 9,
            "names": ["a"],
        },
    )
    assert isinstance(made, mechanism.options_type)
    assert (made.count, made.word, made.flag, made.share) == (3, "x", True, 2.0)
    assert (made.sizes, made.limit, made.mode, made.level) == ((1, 2), 7, "fast", 9)
    assert made.names == ("a",)


def test_what_is_not_given_has_its_default(mechanism: Mechanism) -> None:
    made = options(mechanism, {"count": 1})
    assert (made.word, made.sizes, made.names) == ("w", (), ())


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("count", "3", "int"),
        ("count", 3.0, "int"),
        ("count", True, "int"),
        ("count", None, "int"),
        ("word", 3, "str"),
        ("word", b"x", "str"),
        ("flag", 1, "bool"),
        ("flag", "true", "bool"),
        ("share", "0.5", "a finite float"),
        ("share", float("nan"), "a finite float"),
        ("share", float("inf"), "a finite float"),
        ("sizes", 1, "tuple[int, ...]"),
        ("sizes", ["1"], "tuple[int, ...]"),
        ("limit", "7", "int | None"),
        ("mode", "slow", "one of 'fast', 'safe'"),
        ("level", 0, "int (Expected `int` >= 1)"),
    ],
)
def test_a_value_of_another_type_is_refused_by_field_and_type(
    mechanism: Mechanism, key: str, value: Any, expected: str
) -> None:
    wanted = f"hash function 'many': option '{key}' must be {expected}, not {value!r}"
    with pytest.raises(MechanismError, match=f"^{re.escape(wanted)}$"):
        options(mechanism, {"count": 1, key: value})


def test_a_long_value_is_shortened(mechanism: Mechanism) -> None:
    with pytest.raises(MechanismError) as refusal:
        options(mechanism, {"count": "9" * 10_000})
    assert len(str(refusal.value)) < 200


def test_an_unknown_option_is_refused_with_the_choices(mechanism: Mechanism) -> None:
    with pytest.raises(MechanismError) as refusal:
        options(mechanism, {"count": 1, "cuont": 2})
    assert str(refusal.value) == (
        "hash function 'many' has no option 'cuont'. Did you mean count?\n"
        "There are: count word flag share sizes limit mode level names"
    )


def test_a_field_that_is_not_the_callers_is_unknown(mechanism: Mechanism) -> None:
    with pytest.raises(MechanismError, match="has no option 'hidden'"):
        options(mechanism, {"count": 1, "hidden": 2})


def test_a_mechanism_without_options_says_so() -> None:
    with pytest.raises(MechanismError, match=r"has no option 'rounds'\.\nThere are: none"):
        options(load(Kind.HASH, "sha256", lab=False), {"rounds": 2})


def test_a_missing_value_is_named(mechanism: Mechanism) -> None:
    with pytest.raises(MechanismError, match=r"needs a value for count$"):
        options(mechanism, {"word": "x"})


def test_what_the_options_refuse_is_the_operators_fault(mechanism: Mechanism) -> None:
    with pytest.raises(MechanismError, match=r"'many': count must be at most 1000"):
        options(mechanism, {"count": 1001})
    assert options(mechanism, {"count": 1000}).count == 1000
