"""After a fork, who did it: at least f + 1, none of them honest, where a protocol claims it."""

import msgspec
import pytest

from consensus.interface import Accountability, Committee, ConsensusClaims, Signed
from consensus.protocols._pbft_messages import Commit, Prepare, Status
from crypto.interface import Digest, NodeId, Signature
from crypto.quorum import FaultModel
from mechanisms.registry import Kind, load, names
from simulation.explore import STRATEGIES, Search, scenario_of
from simulation.forensics import culprits
from simulation.run import Verdict, evidence, run
from simulation.scenario import Faulty, Partition, Scenario, Submit

BYZANTINE = [
    name
    for name in names(Kind.CONSENSUS)
    if load(Kind.CONSENSUS, name, lab=False).claims.fault_model is FaultModel.BYZANTINE
]
SEEDS = 60
ONE, OTHER = Digest(b"1" * 32), Digest(b"2" * 32)


def claims(protocol: str) -> ConsensusClaims:
    found: ConsensusClaims = load(Kind.CONSENSUS, protocol, lab=False).claims
    return found


def colluders(protocol: str, members: int, count: int) -> Scenario:
    """The first `count` members show one face to one half of the honest, and one to the other."""
    everybody = [f"v{number + 1}" for number in range(members)]
    twins, honest = everybody[:count], everybody[count:]
    middle = len(honest) // 2
    left = (*twins, *honest[:middle])
    right = (*(f"{name}'" for name in twins), *honest[middle:])
    return Scenario(
        name=f"{count} of {members} collude",
        protocol=protocol,
        nodes=members,
        twins=tuple(twins),
        events=(
            Partition(at_ms=0, groups=(left, right)),
            Submit(at_ms=200, to=left[-1:]),
            Submit(at_ms=210, to=right[-1:]),
        ),
    )


@pytest.mark.parametrize(("members", "count"), [(4, 2), (7, 3), (7, 4), (7, 5)])
@pytest.mark.parametrize("protocol", BYZANTINE)
def test_more_colluders_than_are_borne_fork_it_and_are_convicted_if_it_claims_so(
    protocol: str, members: int, count: int
) -> None:
    scenario = colluders(protocol, members, count)
    result = run(scenario)
    assert result.verdict is Verdict.DIVERGED, result.detail
    assert set(result.culprits) <= set(scenario.twins), "an honest member is convicted"
    if claims(protocol).accountable is Accountability.ONE_VIEW:
        assert result.culprits == scenario.twins
    else:
        assert result.culprits == (), "it claims less than it gives"


@pytest.mark.parametrize("protocol", BYZANTINE)
def test_a_fork_across_views_leaves_too_little_evidence(protocol: str) -> None:
    """Why nobody claims more: the colluders' other copies never heard of what they prepared.

    Where every view has a vote of each member, for nothing if need be, these copies are convicted
    by their votes for nothing. Colluders who know that keep silent instead.
    """
    scenario = msgspec.structs.replace(
        colluders(protocol, 4, 2),
        twins=("v3", "v4"),
        events=(
            Partition(at_ms=0, groups=(("v1", "v3", "v4"), ("v2", "v3'", "v4'"))),
            Submit(at_ms=200, to=("v1",)),
            Submit(at_ms=210, to=("v2",)),
        ),
    )
    result = run(scenario)
    assert result.verdict is Verdict.DIVERGED, result.detail
    votes_for_nothing = protocol in {"tendermint", "hotstuff", "jolteon"}
    assert result.culprits == (("v3", "v4") if votes_for_nothing else ())


@pytest.mark.parametrize(("members", "count"), [(4, 1), (7, 2)])
@pytest.mark.parametrize("protocol", BYZANTINE)
def test_as_many_as_are_borne_fork_nothing(protocol: str, members: int, count: int) -> None:
    assert run(colluders(protocol, members, count)).verdict is Verdict.PASS


def test_one_member_with_two_faces_forks_raft_and_nothing_is_left_to_convict_it() -> None:
    result = run(colluders("raft", 5, 1))
    assert result.verdict is Verdict.DIVERGED
    assert result.culprits == ()
    assert claims("raft").accountable is Accountability.NONE


@pytest.mark.parametrize("protocol", BYZANTINE)
@pytest.mark.parametrize("members", [4, 7])
def test_with_one_more_silent_than_is_borne_nothing_is_decided(protocol: str, members: int) -> None:
    everybody = tuple(NodeId(f"v{number + 1}") for number in range(members))
    silent = Committee(0, everybody).faults_max + 1
    scenario = Scenario(
        protocol=protocol,
        nodes=members,
        byzantine=tuple(Faulty(node=name, behaviour="silent") for name in everybody[:silent]),
        calm_ms=1_000,
        progress_within_ms=20_000,
    )
    result = run(scenario)
    assert (result.verdict, result.height) == (Verdict.NO_PROGRESS, 0)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("protocol", BYZANTINE)
def test_no_honest_member_is_ever_convicted(protocol: str, strategy: str) -> None:
    convicted = 0
    for seed in range(SEEDS):
        scenario = scenario_of(Search(protocol, 4, 1, strategy), seed)
        _, records = evidence(scenario)
        guilty = set(culprits(records))
        assert guilty <= scenario.liars, f"seed {seed}"
        convicted += len(guilty)
    if strategy == "random" and claims(protocol).accountable is Accountability.ONE_VIEW:
        assert convicted > 0, "so that it is no wonder that nobody honest is"


# --- What convicts, and what does not. ---


def signed(author: str, message: Commit | Prepare | Status) -> Signed[Commit | Prepare | Status]:
    return Signed(NodeId(author), message, Signature(b"s"))


def test_two_bodies_for_one_slot_convict_and_nothing_else_does() -> None:
    assert set(culprits([signed("v1", Commit(0, 2, ONE)), signed("v1", Commit(0, 2, OTHER))])) == {
        "v1"
    }
    innocent = [
        signed("v1", Commit(0, 2, ONE)),
        signed("v1", Commit(0, 2, ONE)),  # again
        signed("v1", Commit(1, 2, OTHER)),  # in another view
        signed("v1", Commit(0, 3, OTHER)),  # at another height
        signed("v1", Prepare(0, 2, OTHER)),  # of another phase
        signed("v2", Commit(0, 2, OTHER)),  # by another member
        signed("v3", Status(0, False, 1, 0)),  # vouches for nothing
        signed("v3", Status(0, False, 2, 0)),
    ]
    assert culprits(innocent) == {}
