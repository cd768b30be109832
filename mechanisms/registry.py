"""From a name to a mechanism: the mechanism `x` of a kind is the file `x.py` in its folder.

A mechanism file defines `CLAIMS`, `Options` (a frozen dataclass) and `create`. There is no table
to edit: `interface` and names that start with an underscore are reserved, every other file of the
folder is a mechanism. Promises: nothing is imported before it is chosen; a name cannot reach
outside its folder; an unknown name or option is refused with the choices; a name that ends in
`_lab` (insecure on purpose) is refused unless `lab` is true. Other packages offer mechanisms
through entry points `assay.KIND`; only those that are allowed by name exist, and none may take
the name of one of ours. Does not judge what a mechanism claims.

Source: entry points as in the PyPA's entry points specification.
"""

import dataclasses
import difflib
import importlib
import math
import pkgutil
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_RESERVED = frozenset({"interface"})
_PARTS = ("CLAIMS", "Options", "create")
_SHOWN_MAX = 80
"""Characters of a refused value that a message repeats."""

LAB_SUFFIX = "_lab"


class Kind(StrEnum):
    """What can be chosen. The value is the word in entry points and in the command line."""

    APPLICATION = "application"
    CHANNEL = "channel"
    COMMITMENT = "commitment"
    CONSENSUS = "consensus"
    ENGINE = "engine"
    HASH = "hash"
    KEY_STORE = "key_store"
    LEADER = "leader"
    SIGNATURE = "signature"
    TRANSPORT = "transport"


FOLDERS: dict[Kind, str] = {
    Kind.APPLICATION: "apps",
    Kind.CHANNEL: "p2p.channels",
    Kind.COMMITMENT: "storage.commitments",
    Kind.CONSENSUS: "consensus.protocols",
    Kind.ENGINE: "storage.engines",
    Kind.HASH: "crypto.hashes",
    Kind.KEY_STORE: "crypto.keystores",
    Kind.LEADER: "consensus.leaders",
    Kind.SIGNATURE: "crypto.signatures",
    Kind.TRANSPORT: "p2p.transports",
}
"""The package that holds the mechanisms of each kind."""

TITLES: dict[Kind, str] = {
    Kind.APPLICATION: "application",
    Kind.CHANNEL: "peer channel",
    Kind.COMMITMENT: "state commitment",
    Kind.CONSENSUS: "consensus protocol",
    Kind.ENGINE: "storage engine",
    Kind.HASH: "hash function",
    Kind.KEY_STORE: "key store",
    Kind.LEADER: "leader rule",
    Kind.SIGNATURE: "signature scheme",
    Kind.TRANSPORT: "transport",
}
"""What a sentence calls one of them."""

_DISTRIBUTIONS = {"nacl": "pynacl"}
"""Where the name to install differs from the name to import."""


class MechanismError(Exception):
    """A name or an option that cannot be used. The message says what there is instead."""


class NotInstalled(MechanismError):
    """The mechanism exists, but a package that it needs does not. `package` is to be installed."""

    def __init__(self, title: str, package: str) -> None:
        super().__init__(
            f"{title} is not installed here: it needs the package {package}.\n"
            f"Run: {sys.executable} -m pip install {package}"
        )
        self.package = package


@dataclass(frozen=True, slots=True)
class Mechanism:
    """A mechanism that was found, imported, and has all its parts."""

    kind: Kind
    name: str
    module: ModuleType

    @property
    def title(self) -> str:
        return _title(self.kind, self.name)

    @property
    def claims(self) -> Any:  # noqa: ANN401 - each kind has its own
        """What it promises; a dataclass of the kind's interface."""
        return self.module.CLAIMS

    @property
    def options_type(self) -> type[Any]:
        """The dataclass that `create` takes first."""
        return self.module.Options  # type: ignore[no-any-return]  # each mechanism has its own

    @property
    def create(self) -> Callable[..., Any]:
        """Options, and what the kind's interface says, to a working part."""
        create: Callable[..., Any] = self.module.create
        return create


def names(kind: Kind, *, allow: Sequence[str] = ()) -> list[str]:
    """The mechanisms of a kind, sorted: ours, and those of other packages in `allow`.

    Imports none of them.
    """
    return sorted({*_own(kind), *(entry.name for entry in _offered(kind) if entry.name in allow)})


def load(kind: Kind, name: str, *, lab: bool, allow: Sequence[str] = ()) -> Mechanism:
    """Import the mechanism. Raises `MechanismError`; `NotInstalled` if only a package lacks."""
    target = _target(kind, name, allow)
    if name.endswith(LAB_SUFFIX) and not lab:
        raise MechanismError(
            f"{_title(kind, name)} is insecure on purpose. Set lab = true if that is what you "
            "want to measure"
        )
    module = _import(kind, name, target)
    missing = [part for part in _PARTS if not hasattr(module, part)]
    if missing:
        raise MechanismError(f"{_title(kind, name)} ({target}) defines no {', no '.join(missing)}")
    if not dataclasses.is_dataclass(module.Options):
        raise MechanismError(f"{_title(kind, name)} ({target}): Options is not a dataclass")
    return Mechanism(kind, name, module)


def options(mechanism: Mechanism, given: Mapping[str, object]) -> Any:  # noqa: ANN401 - its own type
    """The mechanism's `Options` from values of a configuration file. Raises `MechanismError`.

    Types are strict: no text for a number, no truth value for a whole number; a list is a tuple.
    """
    accepts = mechanism.options_type
    hints = get_type_hints(accepts, include_extras=True)
    known = {field.name: field for field in dataclasses.fields(accepts) if field.init}
    values = {}
    for key, value in given.items():
        if key not in known:
            raise MechanismError(
                _unknown(f"{mechanism.title} has no option {key!r}", key, [*known])
            )
        values[key] = _converted(mechanism, key, value, hints[key])
    missing = [key for key, field in known.items() if key not in values and _required(field)]
    if missing:
        raise MechanismError(f"{mechanism.title} needs a value for {', '.join(missing)}")
    try:
        return accepts(**values)
    except ValueError as error:
        raise MechanismError(f"{mechanism.title}: {error}") from None


def create(
    kind: Kind,
    name: str,
    given: Mapping[str, object],
    *parts: object,
    lab: bool,
    allow: Sequence[str] = (),
    **named_parts: object,
) -> Any:  # noqa: ANN401 - what it makes is the kind's own type
    """Load a mechanism and make one with options `given`; `parts` are what its kind hands in."""
    mechanism = load(kind, name, lab=lab, allow=allow)
    return mechanism.create(options(mechanism, given), *parts, **named_parts)


# --- From a name to a module. -------------------------------------------------------------------


def _own(kind: Kind) -> list[str]:
    package = importlib.import_module(FOLDERS[kind])
    return [
        module.name
        for module in pkgutil.iter_modules(package.__path__)
        if _NAME.fullmatch(module.name) and module.name not in _RESERVED and not module.ispkg
    ]


def _offered(kind: Kind) -> Sequence[EntryPoint]:
    """What other packages offer, allowed or not. Reads metadata only."""
    return [entry for entry in entry_points(group=f"assay.{kind}") if _NAME.fullmatch(entry.name)]


def _target(kind: Kind, name: str, allow: Sequence[str]) -> str:
    """The module to import for `name`."""
    offers = [entry for entry in _offered(kind) if entry.name == name]
    if name in _own(kind):
        if offers and name in allow:
            raise MechanismError(
                f"{_origin(offers[0])} offers a second {_title(kind, name)}; no other package may "
                "take the name of a mechanism that is part of Assay"
            )
        return f"{FOLDERS[kind]}.{name}"
    known = names(kind, allow=allow)
    if not offers:
        raise MechanismError(_unknown(f"no {TITLES[kind]} is called {name!r}", name, known))
    if name not in allow:
        raise MechanismError(
            f"{_title(kind, name)} is offered by {_origin(offers[0])}, which is not part of Assay; "
            f"it has to be allowed by name, with allow = {name}. There are: {_listed(known)}"
        )
    if len(offers) > 1:
        origins = " and ".join(sorted(map(_origin, offers)))
        raise MechanismError(f"{_title(kind, name)} is offered by {origins}; uninstall all but one")
    if offers[0].attr:
        raise MechanismError(
            f"{_origin(offers[0])}: the entry point of {_title(kind, name)} must name a module, "
            f"not {offers[0].value}"
        )
    return offers[0].module


def _import(kind: Kind, name: str, target: str) -> ModuleType:
    try:
        return importlib.import_module(target)
    except ImportError as error:
        absent = (error.name or "").partition(".")[0]
        if absent in {"", target.partition(".")[0]}:
            raise  # its own file is wrong: that is nothing to install
        if isinstance(error, ModuleNotFoundError):
            package = _DISTRIBUTIONS.get(absent, absent)
            raise NotInstalled(_title(kind, name), package) from None
        raise MechanismError(f"{_title(kind, name)} cannot be loaded: {error}") from error


def _origin(entry: EntryPoint) -> str:
    return f"the package {entry.dist.name}" if entry.dist else "another package"


# --- From configuration to options. -------------------------------------------------------------


def _required(field: "dataclasses.Field[Any]") -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _converted(mechanism: Mechanism, key: str, value: object, expected: object) -> object:
    try:
        converted: object = msgspec.convert(value, expected, strict=True)
        if isinstance(converted, float) and not math.isfinite(converted):
            raise msgspec.ValidationError("Expected a finite number")
    except msgspec.ValidationError as error:
        shown = repr(value)
        shown = shown if len(shown) <= _SHOWN_MAX else f"{shown[:_SHOWN_MAX]}…"
        bounds = f" ({error})" if get_origin(expected) is Annotated else ""
        raise MechanismError(
            f"{mechanism.title}: option {key!r} must be {_type_name(expected)}{bounds}, not {shown}"
        ) from None
    return converted


def _type_name(expected: object) -> str:
    if get_origin(expected) is Annotated:
        return _type_name(get_args(expected)[0])
    if get_origin(expected) is Literal:
        return f"one of {', '.join(map(repr, get_args(expected)))}"
    if expected is float:
        return "a finite float"
    return expected.__name__ if type(expected) is type else str(expected)


# --- Words. -------------------------------------------------------------------------------------


def _title(kind: Kind, name: str) -> str:
    return f"{TITLES[kind]} {name!r}"


def _unknown(title: str, name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {close[0]}?" if close else ""
    return f"{title}.{hint}\nThere are: {_listed(known)}"


def _listed(known: Sequence[str]) -> str:
    return " ".join(known) or "none"
