"""The arithmetic that every agreement rests on, for every committee up to 200."""

import pytest

from crypto.quorum import FaultModel, faults_max, quorum

MEMBERS = range(1, 201)
MODELS = [(FaultModel.BYZANTINE, 3), (FaultModel.CRASH, 2)]
"""With k of n > k * f."""


def test_two_byzantine_quorums_share_a_correct_member() -> None:
    for members in MEMBERS:
        size = quorum(members, FaultModel.BYZANTINE)
        assert 2 * size - members >= faults_max(members, FaultModel.BYZANTINE) + 1


def test_two_crash_quorums_share_a_member() -> None:
    for members in MEMBERS:
        assert 2 * quorum(members, FaultModel.CRASH) - members >= 1


@pytest.mark.parametrize("model", FaultModel)
def test_the_correct_members_alone_are_a_quorum(model: FaultModel) -> None:
    for members in MEMBERS:
        assert 1 <= quorum(members, model) <= members - faults_max(members, model)


def test_one_member_less_is_no_quorum() -> None:
    # The smallest size that does: waiting for more would cost liveness for nothing.
    for members in MEMBERS:
        smaller = quorum(members, FaultModel.BYZANTINE) - 1
        assert 2 * smaller - members < faults_max(members, FaultModel.BYZANTINE) + 1
        assert 2 * (quorum(members, FaultModel.CRASH) - 1) - members < 1


@pytest.mark.parametrize(("model", "factor"), MODELS)
def test_the_faults_are_the_most_that_the_model_bears(model: FaultModel, factor: int) -> None:
    for members in MEMBERS:
        faulty = faults_max(members, model)
        assert factor * faulty < members <= factor * (faulty + 1)


@pytest.mark.parametrize(
    ("members", "faulty", "size"), [(1, 0, 1), (3, 0, 2), (4, 1, 3), (6, 1, 4), (7, 2, 5)]
)
def test_the_well_known_byzantine_sizes(members: int, faulty: int, size: int) -> None:
    assert faults_max(members, FaultModel.BYZANTINE) == faulty
    assert quorum(members, FaultModel.BYZANTINE) == size


@pytest.mark.parametrize(
    ("members", "faulty", "size"), [(1, 0, 1), (3, 1, 2), (4, 1, 3), (5, 2, 3)]
)
def test_the_well_known_crash_sizes(members: int, faulty: int, size: int) -> None:
    assert faults_max(members, FaultModel.CRASH) == faulty
    assert quorum(members, FaultModel.CRASH) == size
