"""The arithmetic that every agreement rests on, for every committee up to 200."""

import pytest

from crypto.quorum import FaultModel, faults_max, quorum

MEMBERS = range(1, 201)


@pytest.mark.parametrize("members", MEMBERS)
def test_two_byzantine_quorums_share_a_correct_member(members: int) -> None:
    size, faulty = quorum(members, FaultModel.BYZANTINE), faults_max(members, FaultModel.BYZANTINE)
    assert 2 * size - members >= faulty + 1


@pytest.mark.parametrize("members", MEMBERS)
def test_two_crash_quorums_share_a_member(members: int) -> None:
    assert 2 * quorum(members, FaultModel.CRASH) - members >= 1


@pytest.mark.parametrize("model", FaultModel)
@pytest.mark.parametrize("members", MEMBERS)
def test_the_correct_members_alone_are_a_quorum(members: int, model: FaultModel) -> None:
    assert quorum(members, model) <= members - faults_max(members, model)


@pytest.mark.parametrize("members", MEMBERS)
def test_one_member_less_is_no_quorum(members: int) -> None:
    # The smallest size that does: waiting for more would cost liveness for nothing.
    smaller = quorum(members, FaultModel.BYZANTINE) - 1
    assert 2 * smaller - members < faults_max(members, FaultModel.BYZANTINE) + 1
    assert 2 * (quorum(members, FaultModel.CRASH) - 1) - members < 1


@pytest.mark.parametrize(("model", "factor"), [(FaultModel.BYZANTINE, 3), (FaultModel.CRASH, 2)])
@pytest.mark.parametrize("members", MEMBERS)
def test_the_faults_are_the_most_that_the_model_bears(
    members: int, model: FaultModel, factor: int
) -> None:
    faulty = faults_max(members, model)
    assert members > factor * faulty
    assert members <= factor * (faulty + 1)


@pytest.mark.parametrize(
    ("members", "faulty", "size"), [(1, 0, 1), (3, 0, 2), (4, 1, 3), (7, 2, 5), (10, 3, 7)]
)
def test_the_well_known_byzantine_sizes(members: int, faulty: int, size: int) -> None:
    assert faults_max(members, FaultModel.BYZANTINE) == faulty
    assert quorum(members, FaultModel.BYZANTINE) == size


@pytest.mark.parametrize(("members", "faulty", "size"), [(1, 0, 1), (3, 1, 2), (4, 1, 3), (5, 2, 3)])
def test_the_well_known_crash_sizes(members: int, faulty: int, size: int) -> None:
    assert faults_max(members, FaultModel.CRASH) == faulty
    assert quorum(members, FaultModel.CRASH) == size
