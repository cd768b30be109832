"""One value, one encoding: what comes back, and each other spelling that is refused."""

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crypto.encoding import FORMAT, Codec, Malformed, Record, UnknownFormat, encode
from crypto.interface import CryptoError


class Inner(Record, frozen=True):
    name: str
    flag: bool


class Sample(Record, frozen=True):
    number: int
    text: str
    raw: bytes
    items: tuple[int | str, ...]
    inner: Inner
    maybe: Inner | None


class One(Record, frozen=True, tag=1):
    value: int


class Two(Record, frozen=True, tag=2):
    value: int


SAMPLE = Sample(7, "text", b"raw", (1, "a"), Inner("n", True), None)
samples: Codec[Sample] = Codec(Sample, bytes_max=4096)
numbers: Codec[int] = Codec(int, bytes_max=64)
texts: Codec[str] = Codec(str, bytes_max=1 << 20)
blobs: Codec[bytes] = Codec(bytes, bytes_max=1 << 20)
lists: Codec[tuple[int, ...]] = Codec(tuple[int, ...], bytes_max=1 << 20)
either: Codec[One | Two] = Codec(One | Two, bytes_max=64)

integers = st.integers(-(2**63), 2**64 - 1)
inners = st.builds(Inner, st.text(), st.booleans())
records = st.builds(
    Sample,
    integers,
    st.text(),
    st.binary(),
    st.lists(integers | st.text()).map(tuple),
    inners,
    st.none() | inners,
)


def plain(sample: Sample) -> list[object]:
    """The record as it stands on the wire, made without our code."""

    def inner(value: Inner | None) -> list[object] | None:
        return None if value is None else [value.name, value.flag]

    return [
        sample.number,
        sample.text,
        sample.raw,
        list(sample.items),
        inner(sample.inner),
        inner(sample.maybe),
    ]


def packed(value: object) -> bytes:
    """By the independent `msgpack` package."""
    content = msgpack.packb(value, use_bin_type=True)
    assert isinstance(content, bytes)
    return b"\x01" + content


# --- There and back. -------------------------------------------------------------------------


@given(records)
@settings(deadline=None)
def test_what_was_encoded_decodes_to_itself(sample: Sample) -> None:
    big: Codec[Sample] = Codec(Sample, bytes_max=1 << 20)
    assert big.decode(encode(sample)) == sample


@given(records)
def test_our_encoder_and_an_independent_one_agree_to_the_byte(sample: Sample) -> None:
    assert encode(sample) == packed(plain(sample))


@given(records, records)
def test_two_values_never_share_an_encoding(one: Sample, other: Sample) -> None:
    assert (encode(one) == encode(other)) == (one == other)


EDGES = [0, 31, 127, 128, 255, 256, 2**16 - 1, 2**16, 2**32 - 1, 2**32, 2**63 - 1, 2**63]


@pytest.mark.parametrize("number", [*EDGES, 2**64 - 1, *(-edge for edge in EDGES[1:]), -32, -33])
def test_integers_at_every_edge_come_back(number: int) -> None:
    assert numbers.decode(encode(number)) == number
    assert encode(number) == packed(number)


@pytest.mark.parametrize("size", [0, 31, 32, 255, 256, 2**16 - 1, 2**16])
def test_lengths_at_every_edge_come_back(size: int) -> None:
    assert texts.decode(encode("a" * size)) == "a" * size
    assert blobs.decode(encode(bytes(size))) == bytes(size)
    assert lists.decode(encode((1,) * size)) == (1,) * size
    assert encode("a" * size) == packed("a" * size)
    assert encode(bytes(size)) == packed(bytes(size))
    assert encode((1,) * size) == packed([1] * size)


def test_the_order_in_which_a_mapping_was_filled_does_not_matter() -> None:
    assert encode({"b": 1, "a": {"d": 1, "c": 2}}) == encode({"a": {"c": 2, "d": 1}, "b": 1})


def test_tags_keep_the_members_of_a_union_apart() -> None:
    assert either.decode(encode(One(5))) == One(5)
    assert either.decode(encode(Two(5))) == Two(5)
    assert encode(Two(5)) == packed([2, 5])


def test_records_are_immutable() -> None:
    with pytest.raises(AttributeError):
        SAMPLE.number = 8  # type: ignore[misc]  # what is tested


# --- Other spellings of the same value. ------------------------------------------------------

NUMBER_7 = ["cc07", "cd0007", "ce00000007", "cf0000000000000007", "d007", "d10007", "d200000007",
            "d30000000000000007"]  # fmt: skip
NUMBER_MINUS_1 = ["d0ff", "d1ffff", "d2ffffffff", "d3ffffffffffffffff"]
NUMBER_200 = ["cd00c8", "ce000000c8", "cf00000000000000c8", "d100c8", "d2000000c8"]


@pytest.mark.parametrize("spelling", [*NUMBER_7, *NUMBER_MINUS_1, *NUMBER_200])
def test_an_integer_in_more_bytes_than_it_needs_is_refused(spelling: str) -> None:
    with pytest.raises(Malformed, match="canonical"):
        numbers.decode(bytes.fromhex("01" + spelling))


@pytest.mark.parametrize("codec", [texts, lists], ids=["text", "list"])
@pytest.mark.parametrize("header", ["d900", "da0000", "db00000000", "dc0000", "dd00000000"])
def test_a_long_form_of_an_empty_text_or_list_is_refused(codec: Codec[object], header: str) -> None:
    with pytest.raises(Malformed):
        codec.decode(bytes.fromhex("01" + header))


@pytest.mark.parametrize(
    ("codec", "short", "long"),
    [
        (texts, "a161", ["d90161", "da000161", "db0000000161"]),
        (blobs, "c40161", ["c5000161", "c60000000161"]),
        (lists, "9107", ["dc000107", "dd0000000107"]),
    ],
    ids=["text", "bytes", "list"],
)
def test_a_long_form_of_a_length_is_refused(
    codec: Codec[object], short: str, long: list[str]
) -> None:
    codec.decode(bytes.fromhex("01" + short))
    for spelling in long:
        with pytest.raises(Malformed, match="canonical"):
            codec.decode(bytes.fromhex("01" + spelling))


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(7.0, id="a whole float"),
        pytest.param(7.5, id="a float"),
        pytest.param(float("nan"), id="NaN"),
        pytest.param(float("inf"), id="infinity"),
        pytest.param(-0.0, id="minus zero"),
        pytest.param(True, id="true"),
        pytest.param(None, id="nil"),
        pytest.param("7", id="a text"),
        pytest.param(b"\x07", id="bytes"),
        pytest.param([7], id="a list"),
        pytest.param({}, id="a map"),
        pytest.param(msgpack.ExtType(5, b"\x07"), id="an extension"),
        pytest.param(msgpack.Timestamp(7, 0), id="a time"),
    ],
)
def test_only_an_integer_is_an_integer(value: object) -> None:
    assert numbers.decode(packed(7)) == 7
    with pytest.raises(Malformed):
        numbers.decode(packed(value))


def test_a_float_in_four_bytes_is_refused() -> None:
    with pytest.raises(Malformed):
        numbers.decode(bytes.fromhex("01ca40e00000"))


@pytest.mark.parametrize("kind", ["ca", "cb", "c1", "c7", "c8", "c9", "d4", "d5", "d6", "d7", "d8"])
@pytest.mark.parametrize("codec", [numbers, texts, blobs, lists, samples], ids=lambda c: "")
def test_no_type_takes_floats_extensions_or_the_unused_byte(
    codec: Codec[object], kind: str
) -> None:
    for tail in (b"", bytes(1), bytes(20)):
        with pytest.raises(Malformed):
            codec.decode(b"\x01" + bytes.fromhex(kind) + tail)


def test_a_map_is_no_record() -> None:
    names = ("number", "text", "raw", "items", "inner", "maybe")
    assert samples.decode(packed(plain(SAMPLE))) == SAMPLE
    with pytest.raises(Malformed):
        samples.decode(packed(dict(zip(names, plain(SAMPLE), strict=True))))


def test_text_and_bytes_are_not_taken_for_each_other() -> None:
    for value in (encode("raw"), b"\x01" + msgpack.packb(b"raw", use_bin_type=False)):
        with pytest.raises(Malformed):
            blobs.decode(value)
    with pytest.raises(Malformed):
        texts.decode(encode(b"raw"))


@pytest.mark.parametrize("raw", [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"])
def test_text_that_is_no_utf8_is_refused(raw: bytes) -> None:
    with pytest.raises(Malformed):
        texts.decode(b"\x01" + bytes([0xA0 | len(raw)]) + raw)


# --- Around the value. -----------------------------------------------------------------------


@pytest.mark.parametrize("tail", [b"\x00", b"\x01", b"\xc0", encode(SAMPLE)])
def test_bytes_after_the_value_are_refused(tail: bytes) -> None:
    with pytest.raises(Malformed):
        samples.decode(encode(SAMPLE) + tail)


def test_every_shorter_piece_is_refused() -> None:
    raw = encode(SAMPLE)
    for size in range(len(raw)):
        with pytest.raises(Malformed):
            samples.decode(raw[:size])


@pytest.mark.parametrize("first", [n for n in range(256) if n != FORMAT])
def test_a_foreign_format_number_is_named_and_refused(first: int) -> None:
    with pytest.raises(UnknownFormat, match=f"format {first}; this version knows format 1"):
        samples.decode(bytes([first]) + encode(SAMPLE)[1:])


def test_nothing_at_all_is_refused() -> None:
    with pytest.raises(UnknownFormat, match="empty"):
        samples.decode(b"")
    with pytest.raises(Malformed):
        samples.decode(b"\x01")


def test_the_size_is_bounded_before_anything_is_decoded() -> None:
    raw = encode(SAMPLE)
    fitting: Codec[Sample] = Codec(Sample, bytes_max=len(raw))
    assert fitting.decode(raw) == SAMPLE
    small: Codec[Sample] = Codec(Sample, bytes_max=len(raw) - 1)
    for content in (raw, b"\xff" * len(raw)):
        with pytest.raises(Malformed, match=f"at most {len(raw) - 1}"):
            small.decode(content)


@pytest.mark.parametrize(
    "header",
    ["dbffffffff", "c6ffffffff", "ddffffffff", "dfffffffff", "c9ffffffff00", "dcffff", "deffff"],
)
def test_a_promise_of_billions_costs_nothing(header: str) -> None:
    for codec in (texts, blobs, lists, samples):
        with pytest.raises(Malformed):
            codec.decode(bytes.fromhex("01" + header + "07"))


def test_deep_nesting_is_refused() -> None:
    for opening in (b"\x91", b"\x81\x00", b"\xdc\x00\x01"):
        for codec in (texts, lists, samples):
            with pytest.raises(Malformed):
                codec.decode(b"\x01" + opening * 4000)


def test_a_malformed_message_is_an_error_of_this_folder() -> None:
    assert issubclass(UnknownFormat, Malformed)
    assert issubclass(Malformed, CryptoError)


# --- Anything at all. ------------------------------------------------------------------------


@given(st.binary(max_size=200), st.booleans())
@settings(max_examples=300)
def test_random_bytes_are_the_encoding_of_a_value_or_malformed(raw: bytes, framed: bool) -> None:
    raw = b"\x01" + raw if framed else raw
    for codec in (samples, numbers, texts, blobs, lists, either):
        try:
            value = codec.decode(raw)
        except Malformed:
            continue
        assert encode(value) == raw


@given(st.integers(0, len(encode(SAMPLE)) - 1), st.binary(min_size=0, max_size=3))
@settings(max_examples=300)
def test_a_value_with_bytes_replaced_is_another_value_or_malformed(at: int, by: bytes) -> None:
    raw = encode(SAMPLE)
    changed = raw[:at] + by + raw[at + 1 :]
    try:
        value = samples.decode(changed)
    except Malformed:
        return
    assert (value == SAMPLE) == (changed == raw)
