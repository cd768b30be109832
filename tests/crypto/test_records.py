"""Every record that is signed, stored or sent: each field missing, extra, null or of another type.

The cases are made from the schema, so that a new record or field is covered without a new line
here. The bytes are packed by the independent `msgpack` package.
"""

import importlib
import pkgutil
import re
from collections.abc import Iterator
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.inspect import (
    BoolType,
    BytesType,
    Field,
    IntType,
    Metadata,
    StrType,
    StructType,
    Type,
    UnionType,
    VarTupleType,
    type_info,
)

import crypto
from consensus.interface import Signed
from consensus.protocols import _pbft_messages
from crypto.bundle import bundles
from crypto.certificate import certificates
from crypto.encoding import Codec, Malformed, Record, encode
from crypto.header import headers
from crypto.transaction import receipts, signed_transactions
from node import wire
from node.wire import host_messages

SIZE_TRIED_MAX = 1 << 20
"""Lengths above this bound are not built just to see them refused."""

ANYTHING: tuple[object, ...] = (
    None,
    False,
    True,
    -1,
    1,
    2**64 - 1,
    1.0,
    float("nan"),
    "text",
    b"bytes",
    [],
    [[]],
    [1, 2, 3],
    {},
    {"height": 1},
    msgpack.ExtType(1, b"x"),
    msgpack.Timestamp(1, 0),
)


def modules() -> list[Any]:
    found = pkgutil.walk_packages(crypto.__path__, "crypto.")
    return [*(importlib.import_module(item.name) for item in found), wire, _pbft_messages]


def schemas() -> dict[str, Any]:
    """Each record by its name, and the unions that peers send."""
    records: dict[str, Any] = {
        f"{module.__name__}.{name}": value
        for module in modules()
        for name, value in vars(module).items()
        if isinstance(value, type)
        and issubclass(value, Record)
        and value.__module__ == module.__name__
        and value is not Record
    }
    records["HostMessage"] = wire.HostMessage
    records["Signed[Message]"] = Signed[_pbft_messages.Message]
    return records


SCHEMAS = schemas()
CODECS: dict[str, Codec[Any]] = {
    "signed_transactions": signed_transactions,
    "receipts": receipts,
    "headers": headers,
    "certificates": certificates,
    "bundles": bundles,
    "host_messages": host_messages,
    **{name: Codec(kind, bytes_max=1 << 24) for name, kind in SCHEMAS.items()},
}


def packed(value: object) -> bytes:
    content = msgpack.packb(value, use_bin_type=True)
    assert isinstance(content, bytes)
    return b"\x01" + content


def described(kind: object) -> Type:
    return bare(type_info(kind))


def bare(kind: Type) -> Type:
    while isinstance(kind, Metadata):
        kind = kind.type
    return kind


def examples(kind: Type) -> list[object]:
    """Values on the wire, one for each alternative."""
    match bare(kind):
        case IntType(ge=ge):
            return [ge or 0]
        case BoolType():
            return [True]
        case StrType(min_length=length):
            return ["x" * (length or 1)]
        case BytesType(min_length=length):
            return [b"x" * (length or 1)]
        case VarTupleType(item_type=item, max_length=length):
            return [[]] if length == 0 else [[value] for value in examples(item)]
        case StructType() as struct:
            return list(structs(struct))
        case UnionType(types=types):
            return [value for member in types for value in examples(member)]
        case other:
            raise AssertionError(f"no example of {other}")


def structs(kind: StructType) -> Iterator[object]:
    """One for each alternative of each field; the others take their first."""
    head = [] if kind.tag is None else [kind.tag]
    choices = [examples(field.type) for field in kind.fields]
    first = [options[0] for options in choices]
    yield [*head, *first]
    for at, options in enumerate(choices):
        for option in options[1:]:
            yield [*head, *first[:at], option, *first[at + 1 :]]


def fits(kind: Type, value: Any) -> bool:
    """Whether a value of `ANYTHING` may stand where `kind` is expected."""
    match bare(kind):
        case IntType(ge=ge, le=le, lt=lt):
            return (
                type(value) is int
                and (ge is None or value >= ge)
                and (le is None or value <= le)
                and (lt is None or value < lt)
            )
        case BoolType():
            return type(value) is bool
        case StrType(max_length=most):
            return isinstance(value, str) and len(value) <= (most or len(value))
        case BytesType(min_length=least):
            return isinstance(value, bytes) and len(value) >= (least or 0)
        case VarTupleType(item_type=item, max_length=most):
            return (
                type(value) is list
                and (most is None or len(value) <= most)
                and all(fits(item, each) for each in value)
            )
        case StructType():
            return False
        case UnionType(types=types):
            return any(fits(member, value) for member in types)
        case other:
            raise AssertionError(f"unknown kind {other}")


def outside(kind: Type) -> Iterator[tuple[str, object]]:
    """Values of the right type just beyond its bounds."""
    match bare(kind):
        case IntType(ge=ge, le=le, lt=lt):
            yield from [("below", ge - 1)] if ge is not None else []
            yield from [("above", le + 1)] if le is not None else []
            yield from [("above", lt)] if lt is not None else []
        case StrType(min_length=least, max_length=most):
            yield from lengths("x", least, most)
        case BytesType(min_length=least, max_length=most):
            yield from lengths(b"x", least, most)
        case VarTupleType(item_type=item, max_length=most) if most is not None:
            yield "too many", [examples(item)[0]] * (most + 1)
        case _:
            return


def lengths(one: Any, least: int | None, most: int | None) -> Iterator[tuple[str, object]]:
    if least:
        yield "too short", one * (least - 1)
    if most is not None and most < SIZE_TRIED_MAX:
        yield "too long", one * (most + 1)


def flaws(kind: Type, value: Any) -> Iterator[tuple[str, object]]:
    """Each way in which one place of a valid value can be wrong, and how it is called."""
    kind = bare(kind)
    for other in ANYTHING:
        if not fits(kind, other):
            yield f"{other!r} instead", other
    match kind:
        case StructType() as struct:
            yield from struct_flaws(struct, value)
        case VarTupleType(item_type=item) if value:
            for label, wrong in flaws(item, value[0]):
                yield f"[0] {label}", [wrong]
        case UnionType(types=types):
            found = flaws(member_of(types, value), value)
            yield from ((label, wrong) for label, wrong in found if not fits(kind, wrong))
            return
    yield from outside(kind)


def struct_flaws(kind: StructType, value: list[object]) -> Iterator[tuple[str, object]]:
    shift = 0 if kind.tag is None else 1
    yield "no field at all", []
    extras: tuple[object, ...] = (None, 0, "x", [])
    for extra in extras:
        yield f"an extra {extra!r}", [*value, extra]
    if shift:
        yield "an unknown tag", [99, *value[1:]]
        yield "a tag as text", [str(value[0]), *value[1:]]
    for at, field in enumerate(kind.fields, shift):
        yield f"{field.name} missing", [*value[:at], *value[at + 1 :]]
        yield from field_flaws(field, value, at)


def field_flaws(field: Field, value: list[object], at: int) -> Iterator[tuple[str, object]]:
    for label, wrong in flaws(field.type, value[at]):
        yield f"{field.name}: {label}", [*value[:at], wrong, *value[at + 1 :]]


def member_of(types: tuple[Type, ...], value: Any) -> Type:
    members = [bare(member) for member in types]
    for member in members:
        if isinstance(member, StructType):
            if isinstance(value, list) and value and value[0] == member.tag:
                return member
        elif fits(member, value):
            return member
    raise AssertionError(f"{value!r} is of no member")


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_valid_record_is_read_and_written_alike(name: str) -> None:
    values = examples(described(SCHEMAS[name]))
    assert values
    for value in values:
        raw = packed(value)
        assert encode(CODECS[name].decode(raw)) == raw


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_field_missing_extra_null_or_of_another_type_is_malformed(name: str) -> None:
    kind = described(SCHEMAS[name])
    count = 0
    for value in examples(kind):
        for label, wrong in flaws(kind, value):
            count += 1
            with pytest.raises(Malformed):
                CODECS[name].decode(packed(wrong))
                pytest.fail(f"{name}: {label} was taken")
    assert count > len(ANYTHING)


@pytest.mark.parametrize("name", SCHEMAS)
def test_numbers_on_the_wire_are_bounded_by_63_bits(name: str) -> None:
    # A height or a view plus one must never be more than everybody can write down.
    assert not list(unbounded(described(SCHEMAS[name])))


def unbounded(kind: Type) -> Iterator[str]:
    match bare(kind):
        case IntType(le=le, lt=lt):
            if not ((le is not None and le < 2**63) or (lt is not None and lt <= 2**63)):
                yield "an integer"
        case VarTupleType(item_type=item):
            yield from unbounded(item)
        case UnionType(types=types):
            for member in types:
                yield from unbounded(member)
        case StructType(fields=fields):
            for field in fields:
                yield from (f"{field.name}: {found}" for found in unbounded(field.type))


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_digest_has_32_bytes(name: str) -> None:
    def digests(kind: Type) -> Iterator[tuple[str, Type]]:
        match bare(kind):
            case StructType(fields=fields):
                for field in fields:
                    if re.search("root|parent|payload|header|genesis|committee", field.name):
                        yield field.name, bare(field.type)
                    yield from digests(field.type)
            case VarTupleType(item_type=item):
                yield from digests(item)

    for field, kind in digests(described(SCHEMAS[name])):
        if isinstance(kind, BytesType) and (name, field) != ("node.wire.PayloadOffer", "payload"):
            assert (kind.min_length, kind.max_length) == (32, 32), f"{name}: {field}"


@pytest.mark.parametrize("name", CODECS)
@given(raw=st.binary(max_size=120), framed=st.booleans())
@settings(max_examples=30, deadline=None)
def test_random_bytes_raise_nothing_but_malformed(name: str, raw: bytes, framed: bool) -> None:
    raw = b"\x01" + raw if framed else raw
    try:
        value = CODECS[name].decode(raw)
    except Malformed:
        return
    assert encode(value) == raw


@pytest.mark.parametrize("name", SCHEMAS)
@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_a_valid_record_with_bytes_replaced_raises_nothing_but_malformed(
    name: str, data: st.DataObject
) -> None:
    raw = packed(data.draw(st.sampled_from(examples(described(SCHEMAS[name])))))
    at = data.draw(st.integers(0, len(raw) - 1))
    changed = raw[:at] + data.draw(st.binary(max_size=9)) + raw[at + 1 :]
    try:
        value = CODECS[name].decode(changed)
    except Malformed:
        return
    assert encode(value) == changed
