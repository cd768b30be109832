"""The leader of a view is its number modulo the committee."""

from consensus.interface import Committee, Height, View
from consensus.leaders import sticky
from crypto.interface import NodeId

COMMITTEE = Committee(0, tuple(map(NodeId, ("v1", "v2", "v3", "v4"))))


def test_views_take_turns_and_heights_have_no_say() -> None:
    leader = sticky.create(sticky.Options())
    for height in (0, 1, 7):
        led = [leader.leader(COMMITTEE, Height(height), View(view)) for view in range(6)]
        assert led == ["v1", "v2", "v3", "v4", "v1", "v2"]
