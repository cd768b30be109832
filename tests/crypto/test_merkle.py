"""The tree against RFC 6962 as written down there, its published roots, and every bad proof.

Covers bad inclusion proofs (extra or missing step, swapped sides, leaf as node, wrong index, size
0, too long a path) and bad consistency proofs (equal sizes, from 0, shrinking, forked).
"""

import hashlib
from collections.abc import Iterator, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crypto.encoding import Malformed, encode
from crypto.interface import Digest, Hash
from crypto.merkle import (
    PROOF_LENGTH_MAX,
    SIZE_MAX,
    Frontier,
    InvalidProof,
    consistency_proof,
    inclusion_proof,
    leaf_digest,
    node_digest,
    nodes_of,
    root_of,
    verify_consistency,
    verify_inclusion,
)

SIZES = range(1, 41)

# The test vectors of the Certificate Transparency reference implementation
# (google/certificate-transparency, cpp/merkletree/merkle_tree_test.cc; transparency-dev/merkle,
# testonly/constants.go): these leaves, and the root of the first 0, 1, ... 8 of them.
CT_LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
CT_ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
# Proofs of the same file.
CT_INCLUSION_0_OF_8 = [
    "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
    "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
    "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
]
CT_CONSISTENCY = {
    (1, 1): [],
    (1, 8): CT_INCLUSION_0_OF_8,
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 5): [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}


# --- RFC 6962, section 2.1, word for word and slow. ------------------------------------------


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def split(n: int) -> int:
    """k: the largest power of two smaller than n."""
    return max(1 << i for i in range(64) if 1 << i < n)


def mth(data: Sequence[bytes]) -> bytes:
    if not data:
        return sha256(b"")
    if len(data) == 1:
        return sha256(b"\x00" + data[0])
    k = split(len(data))
    return sha256(b"\x01" + mth(data[:k]) + mth(data[k:]))


def path(m: int, data: Sequence[bytes]) -> list[bytes]:
    if len(data) == 1:
        return []
    k = split(len(data))
    if m < k:
        return [*path(m, data[:k]), mth(data[k:])]
    return [*path(m - k, data[k:]), mth(data[:k])]


def proof(m: int, data: Sequence[bytes]) -> list[bytes]:
    return subproof(m, data, True)


def subproof(m: int, data: Sequence[bytes], whole: bool) -> list[bytes]:
    if m == len(data):
        return [] if whole else [mth(data)]
    k = split(len(data))
    if m <= k:
        return [*subproof(m, data[:k], whole), mth(data[k:])]
    return [*subproof(m - k, data[k:], False), mth(data[:k])]


# --- The tree of the tests. ------------------------------------------------------------------


def data_of(size: int) -> list[bytes]:
    return [b"leaf %d" % i for i in range(size)]


DATA = data_of(SIZES[-1])
ROOTS = [Digest(mth(DATA[:size])) for size in range(SIZES[-1] + 1)]
OTHER = Digest(sha256(b"something else"))


@pytest.fixture(scope="module")
def leaves(hash_: Hash) -> list[Digest]:
    return [leaf_digest(item, hash_) for item in DATA]


def flaws(good: Sequence[Digest]) -> Iterator[tuple[str, list[Digest]]]:
    """Each way in which one proof can be a little wrong."""
    for i in range(len(good) + 1):
        yield f"extra step at {i}", [*good[:i], OTHER, *good[i:]]
        if good:
            yield f"a step again at {i}", [*good[:i], good[min(i, len(good) - 1)], *good[i:]]
    for i in range(len(good)):
        yield f"missing step {i}", [*good[:i], *good[i + 1 :]]
        yield f"other step {i}", [*good[:i], OTHER, *good[i + 1 :]]
        bit = bytes([good[i][0] ^ 1]) + good[i][1:]
        yield f"one bit of step {i}", [*good[:i], Digest(bit), *good[i + 1 :]]
    for i, (one, other) in enumerate(pairwise(good)):
        if one != other:
            yield f"steps {i}, {i + 1} swapped", [*good[:i], other, one, *good[i + 2 :]]


# --- Roots. ----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", range(len(CT_ROOTS)))
def test_the_published_roots_come_out(size: int, hash_: Hash) -> None:
    leaves = [leaf_digest(item, hash_) for item in CT_LEAVES[:size]]
    assert root_of(leaves, hash_).hex() == CT_ROOTS[size] == mth(CT_LEAVES[:size]).hex()


@pytest.mark.parametrize(("sizes", "expected"), CT_CONSISTENCY.items())
def test_the_published_consistency_proofs_come_out(
    sizes: tuple[int, int], expected: list[str], hash_: Hash
) -> None:
    leaves = [leaf_digest(item, hash_) for item in CT_LEAVES]
    made = consistency_proof(*sizes, nodes_of(leaves, hash_), hash_)
    assert [step.hex() for step in made] == expected


def test_the_published_inclusion_proof_comes_out(hash_: Hash) -> None:
    leaves = [leaf_digest(item, hash_) for item in CT_LEAVES]
    made = inclusion_proof(0, 8, nodes_of(leaves, hash_), hash_)
    assert [step.hex() for step in made] == CT_INCLUSION_0_OF_8


def test_the_roots_are_those_of_the_rfc_for_every_size(leaves: list[Digest], hash_: Hash) -> None:
    for size, root in enumerate(ROOTS):
        assert root_of(leaves[:size], hash_) == root


def test_a_node_is_no_leaf_and_sides_matter(hash_: Hash) -> None:
    left, right = leaf_digest(b"l", hash_), leaf_digest(b"r", hash_)
    assert node_digest(left, right, hash_) != node_digest(right, left, hash_)
    assert node_digest(left, right, hash_) != leaf_digest(left + right, hash_)


# --- The growing edge. -----------------------------------------------------------------------


@given(st.lists(st.integers(1, 9), max_size=8))
def test_growing_in_pieces_is_growing_at_once(hash_: Hash, pieces: list[int]) -> None:
    frontier, leaves = Frontier(hash_), [Digest(sha256(item)) for item in data_of(sum(pieces))]
    done, nodes = 0, []
    for piece in pieces:
        nodes += frontier.extend(leaves[done : done + piece])
        frontier = Frontier.load(frontier.dump(), hash_)
        done += piece
    assert frontier.root() == root_of(leaves, hash_)
    assert nodes == Frontier(hash_).extend(leaves)


def test_the_completed_subtrees_are_exactly_those_of_the_tree(
    leaves: list[Digest], hash_: Hash
) -> None:
    nodes = Frontier(hash_).extend(leaves)
    expected = {
        (level, index): mth(DATA[index << level : (index + 1) << level])
        for level in range(6)
        for index in range(len(leaves) >> level)
    }
    assert {(level, index): digest for level, index, digest in nodes} == expected
    assert len(nodes) == len(expected)


@pytest.mark.parametrize("step", [2, 3])
def test_a_step_keeps_only_its_levels(step: int, leaves: list[Digest], hash_: Hash) -> None:
    everything = Frontier(hash_).extend(leaves)
    some = Frontier(hash_).extend(leaves, step=step)
    assert some == [node for node in everything if node[0] % step == 0]


def test_a_copy_grows_alone(leaves: list[Digest], hash_: Hash) -> None:
    frontier = Frontier(hash_)
    frontier.extend(leaves[:5])
    copy = frontier.copy()
    copy.extend(leaves[5:7])
    assert (frontier.size, frontier.root()) == (5, ROOTS[5])
    assert (copy.size, copy.root()) == (7, ROOTS[7])


@pytest.mark.parametrize(
    ("size", "peaks"),
    [(1, []), (0, [OTHER]), (3, [OTHER]), (2, [OTHER, OTHER]), (1, [OTHER[:31]]), (-1, [OTHER])],
)
def test_peaks_that_are_not_of_that_size_are_refused(
    size: int, peaks: list[Digest], hash_: Hash
) -> None:
    with pytest.raises(InvalidProof):
        Frontier(hash_, size, peaks)
    assert Frontier(hash_, 3, [OTHER, OTHER]).size == 3


@pytest.mark.parametrize(
    "dumped", [b"", encode([1, []]), encode([1, [b"short"]]), encode([-1, [OTHER]]), encode([1])]
)
def test_a_damaged_dump_is_refused(dumped: bytes, hash_: Hash) -> None:
    with pytest.raises((Malformed, InvalidProof)):
        Frontier.load(dumped, hash_)


# --- Inclusion. ------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES)
def test_every_leaf_is_proven_by_the_path_of_the_rfc(
    size: int, leaves: list[Digest], hash_: Hash
) -> None:
    node = nodes_of(leaves[:size], hash_)
    for index in range(size):
        made = inclusion_proof(index, size, node, hash_)
        assert list(made) == path(index, DATA[:size])
        verify_inclusion(leaves[index], index, size, made, ROOTS[size], hash_)


@pytest.mark.parametrize("size", SIZES)
def test_every_flaw_in_an_audit_path_is_refused(
    size: int, leaves: list[Digest], hash_: Hash
) -> None:
    node = nodes_of(leaves[:size], hash_)
    for index in range(size):
        made = inclusion_proof(index, size, node, hash_)
        for flaw, steps in flaws(made):
            with pytest.raises(InvalidProof):
                verify_inclusion(leaves[index], index, size, steps, ROOTS[size], hash_)
                pytest.fail(flaw)


@pytest.mark.parametrize("size", SIZES)
def test_a_proof_holds_for_no_other_index_leaf_or_root(
    size: int, leaves: list[Digest], hash_: Hash
) -> None:
    node = nodes_of(leaves[:size], hash_)
    for index in range(size):
        made = inclusion_proof(index, size, node, hash_)
        for other in (*range(-2, index), *range(index + 1, size + 3), 2**64 + index):
            with pytest.raises(InvalidProof):
                verify_inclusion(leaves[index], other, size, made, ROOTS[size], hash_)
        for leaf, root in [(OTHER, ROOTS[size]), (leaves[index], OTHER), (OTHER, ROOTS[0])]:
            with pytest.raises(InvalidProof):
                verify_inclusion(leaf, index, size, made, root, hash_)


def test_swapped_sides_are_refused(leaves: list[Digest], hash_: Hash) -> None:
    verify_inclusion(leaves[0], 0, 2, [leaves[1]], ROOTS[2], hash_)
    with pytest.raises(InvalidProof, match="another root"):
        verify_inclusion(leaves[0], 1, 2, [leaves[1]], ROOTS[2], hash_)
    with pytest.raises(InvalidProof, match="another root"):
        verify_inclusion(leaves[1], 0, 2, [leaves[0]], ROOTS[2], hash_)


def test_an_inner_node_does_not_pass_as_a_leaf(leaves: list[Digest], hash_: Hash) -> None:
    # 4 leaves look like 2 to somebody who is shown the inner nodes: the data of such a leaf would
    # have to hash, behind 0x00, to what stands behind 0x01 in the tree.
    left, right = (node_digest(leaves[i], leaves[i + 1], hash_) for i in (0, 2))
    with pytest.raises(InvalidProof):
        verify_inclusion(leaf_digest(leaves[0] + leaves[1], hash_), 0, 2, [right], ROOTS[4], hash_)
    with pytest.raises(InvalidProof, match="too short"):
        verify_inclusion(left, 0, 4, [right], ROOTS[4], hash_)


@pytest.mark.parametrize("index", [0, 1, -1])
@pytest.mark.parametrize("root", [ROOTS[0], ROOTS[1]])
def test_nothing_is_in_a_tree_of_size_0(
    index: int, root: Digest, leaves: list[Digest], hash_: Hash
) -> None:
    with pytest.raises(InvalidProof, match="not in a tree of 0"):
        verify_inclusion(leaves[0], index, 0, [], root, hash_)
    verify_inclusion(leaves[0], 0, 1, [], ROOTS[1], hash_)


@pytest.mark.parametrize("index", [3, 4, 2**63, -1])
def test_an_index_beyond_the_tree_is_refused(index: int, leaves: list[Digest], hash_: Hash) -> None:
    made = inclusion_proof(2, 3, nodes_of(leaves[:3], hash_), hash_)
    with pytest.raises(InvalidProof, match="not in a tree"):
        verify_inclusion(leaves[2], index, 3, made, ROOTS[3], hash_)


def test_a_path_longer_than_any_tree_is_refused_before_it_is_hashed(hash_: Hash) -> None:
    steps = [OTHER] * (PROOF_LENGTH_MAX + 1)
    with pytest.raises(InvalidProof, match="no tree needs more"):
        verify_inclusion(OTHER, 0, SIZE_MAX, steps, OTHER, hash_)
    with pytest.raises(InvalidProof, match="no tree needs more"):
        verify_consistency(1, SIZE_MAX, OTHER, OTHER, steps, hash_)
    with pytest.raises(InvalidProof, match="another root"):
        verify_inclusion(OTHER, 0, SIZE_MAX, steps[:63], OTHER, hash_)
    with pytest.raises(InvalidProof, match="not in a tree"):
        verify_inclusion(OTHER, 0, SIZE_MAX + 1, steps[:63], OTHER, hash_)


@pytest.mark.parametrize("bad", [b"", OTHER[:31], OTHER + b"\x00"], ids=len)
def test_a_digest_of_another_length_is_refused_wherever_it_stands(
    bad: bytes, leaves: list[Digest], hash_: Hash
) -> None:
    wrong = Digest(bad)
    for leaf, steps, root in [
        (wrong, [leaves[1]], ROOTS[2]),
        (leaves[0], [wrong], ROOTS[2]),
        (leaves[0], [leaves[1]], wrong),
    ]:
        with pytest.raises(InvalidProof, match="32 bytes"):
            verify_inclusion(leaf, 0, 2, steps, root, hash_)
        with pytest.raises(InvalidProof, match="32 bytes"):
            verify_consistency(1, 2, leaf, root, steps, hash_)


@pytest.mark.parametrize(("index", "size"), [(0, 0), (1, 1), (-1, 3), (3, 3)])
def test_no_proof_is_made_of_what_is_not_there(
    index: int, size: int, leaves: list[Digest], hash_: Hash
) -> None:
    with pytest.raises(ValueError, match="index"):
        inclusion_proof(index, size, nodes_of(leaves, hash_), hash_)


# --- Consistency. ----------------------------------------------------------------------------


@pytest.mark.parametrize("new", SIZES)
def test_every_older_tree_is_proven_by_the_proof_of_the_rfc(
    new: int, leaves: list[Digest], hash_: Hash
) -> None:
    node = nodes_of(leaves[:new], hash_)
    for old in range(1, new + 1):
        made = consistency_proof(old, new, node, hash_)
        assert list(made) == proof(old, DATA[:new])
        verify_consistency(old, new, ROOTS[old], ROOTS[new], made, hash_)


@pytest.mark.parametrize("new", SIZES)
def test_every_flaw_in_a_consistency_proof_is_refused(
    new: int, leaves: list[Digest], hash_: Hash
) -> None:
    node = nodes_of(leaves[:new], hash_)
    for old in range(1, new + 1):
        made = consistency_proof(old, new, node, hash_)
        for flaw, steps in flaws(made):
            with pytest.raises(InvalidProof):
                verify_consistency(old, new, ROOTS[old], ROOTS[new], steps, hash_)
                pytest.fail(flaw)


@pytest.mark.parametrize("new", SIZES)
def test_a_consistency_proof_holds_for_no_other_sizes_or_roots(
    new: int, leaves: list[Digest], hash_: Hash
) -> None:
    node = nodes_of(leaves[:new], hash_)
    for old in range(1, new + 1):
        made = consistency_proof(old, new, node, hash_)
        for other in range(-1, new + 2):
            if other != old:
                with pytest.raises(InvalidProof):
                    verify_consistency(other, new, ROOTS[old], ROOTS[new], made, hash_)
        for roots in [(OTHER, ROOTS[new]), (ROOTS[old], OTHER), (ROOTS[0], ROOTS[new])]:
            with pytest.raises(InvalidProof):
                verify_consistency(old, new, *roots, made, hash_)


def test_equal_sizes_need_equal_roots_and_an_empty_proof(hash_: Hash) -> None:
    verify_consistency(5, 5, ROOTS[5], ROOTS[5], [], hash_)
    with pytest.raises(InvalidProof, match="equal sizes"):
        verify_consistency(5, 5, ROOTS[5], ROOTS[5], [OTHER], hash_)
    with pytest.raises(InvalidProof, match="forked"):
        verify_consistency(5, 5, ROOTS[5], OTHER, [], hash_)


@pytest.mark.parametrize("new", [0, 1, 8])
def test_nothing_is_consistent_from_size_0(new: int, leaves: list[Digest], hash_: Hash) -> None:
    with pytest.raises(InvalidProof, match="no consistency from size 0"):
        verify_consistency(0, new, ROOTS[0], ROOTS[new], [], hash_)
    with pytest.raises(ValueError, match="no consistency proof"):
        consistency_proof(0, new, nodes_of(leaves, hash_), hash_)


@pytest.mark.parametrize(("old", "new"), [(2, 1), (8, 7), (1, 0), (-1, 1), (1, SIZE_MAX + 1)])
def test_a_shrinking_tree_and_impossible_sizes_are_refused(old: int, new: int, hash_: Hash) -> None:
    with pytest.raises(InvalidProof, match="no consistency from"):
        verify_consistency(old, new, OTHER, OTHER, [], hash_)


@pytest.mark.parametrize("forked_at", range(8))
def test_a_forked_tree_is_never_consistent(
    forked_at: int, leaves: list[Digest], hash_: Hash
) -> None:
    forked = [*leaves[:forked_at], OTHER, *leaves[forked_at + 1 :]][:13]
    made = consistency_proof(8, 13, nodes_of(forked, hash_), hash_)
    root = root_of(forked, hash_)
    verify_consistency(8, 13, root_of(forked[:8], hash_), root, made, hash_)
    with pytest.raises(InvalidProof):
        verify_consistency(8, 13, ROOTS[8], root, made, hash_)


@given(
    st.integers(-1, 70), st.integers(-1, 70),
    st.lists(st.binary(min_size=30, max_size=33).map(Digest) | st.sampled_from(ROOTS), max_size=8),
)  # fmt: skip
def test_a_made_up_proof_is_refused_and_nothing_else_is_raised(
    hash_: Hash, one: int, other: int, steps: list[Digest]
) -> None:
    with pytest.raises(InvalidProof):
        verify_inclusion(OTHER, one, other, steps, ROOTS[7], hash_)
    with pytest.raises(InvalidProof):
        verify_consistency(one, other, ROOTS[6], ROOTS[7], steps, hash_)
