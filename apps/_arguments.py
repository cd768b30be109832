"""Checks a call against the methods of an application: its name, and its arguments' types."""

from collections.abc import Mapping, Sequence

from apps.interface import Rejected
from crypto.transaction import Transaction

UNKNOWN_METHOD = "unknown_method"
BAD_ARGUMENTS = "bad_arguments"

_WORDS: Mapping[type, str] = {str: "text", int: "number"}


def check_arguments(methods: Mapping[str, Sequence[type]], transaction: Transaction) -> None:
    """Raise `Rejected` (`unknown_method`, `bad_arguments`) unless the call fits `methods`."""
    application, _, method = transaction.method.partition(".")
    expected = methods.get(method)
    if expected is None:
        known = ", ".join(sorted(methods))
        raise Rejected(UNKNOWN_METHOD, f"{application} has no method {method!r}; it has: {known}")
    arguments = transaction.arguments
    if len(arguments) != len(expected):
        raise Rejected(
            BAD_ARGUMENTS, f"{_usage(transaction.method, expected)}; {len(arguments)} were given"
        )
    for index, kind in enumerate(expected):
        if type(arguments[index]) is not kind:
            usage = _usage(transaction.method, expected)
            raise Rejected(BAD_ARGUMENTS, f"{usage}; argument {index + 1} is of another type")


def _usage(method: str, expected: Sequence[type]) -> str:
    kinds = ", ".join(_WORDS[kind] for kind in expected)
    return f"{method} takes {len(expected)} arguments ({kinds})"
