"""Frames: joined, cut at any place, and read back."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto.interface import Digest
from p2p.framing import FrameReader, join_frames, prologue
from p2p.interface import FRAME_BYTES_MAX, ChannelError


@given(
    frames=st.lists(st.binary(max_size=40), max_size=20),
    sizes=st.lists(st.integers(1, 50), min_size=1, max_size=10),
)
def test_frames_survive_any_cutting_of_the_stream(frames: list[bytes], sizes: list[int]) -> None:
    stream, reader, read = join_frames(frames), FrameReader(), []
    at = turn = 0
    while at < len(stream):
        size = sizes[turn % len(sizes)]
        read += reader.feed(stream[at : at + size])
        at, turn = at + size, turn + 1
    assert read == frames
    assert reader.at_boundary


def test_the_longest_frame_passes_and_one_byte_more_is_refused_from_its_prefix() -> None:
    frame = bytes(FRAME_BYTES_MAX)
    assert FrameReader().feed(join_frames([frame])) == [frame]
    with pytest.raises(ChannelError) as refused:
        FrameReader().feed((FRAME_BYTES_MAX + 1).to_bytes(4, "big"))
    assert refused.value.reason == "frame_too_long"


def test_a_length_prefix_of_2_to_the_32_minus_1_is_refused_before_allocating() -> None:
    # faults.md 2
    with pytest.raises(ChannelError, match="4294967295"):
        FrameReader().feed(b"\xff\xff\xff\xff")


def test_reading_a_long_frame_in_small_pieces_takes_linear_time() -> None:
    # With a copy of what is held at each piece this would move 32 GB.
    frame = bytes(FRAME_BYTES_MAX)
    stream, reader, read = memoryview(join_frames([frame])), FrameReader(), []
    began = time.process_time()
    for start in range(0, len(stream), 1024):
        read += reader.feed(bytes(stream[start : start + 1024]))
    assert read == [frame]
    assert time.process_time() - began < 2  # linear: 0.03


def test_our_own_too_long_frame_is_our_fault() -> None:
    with pytest.raises(AssertionError):
        join_frames([bytes(FRAME_BYTES_MAX + 1)])


def test_the_prologue_binds_the_genesis_digest() -> None:
    one, other = prologue(Digest(bytes(32))), prologue(Digest(b"\x01" * 32))
    assert one != other
    with pytest.raises(ValueError, match="32 bytes"):
        prologue(Digest(b"short"))
