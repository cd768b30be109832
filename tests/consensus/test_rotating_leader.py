"""The leader of a height and a view is their sum modulo the committee."""

from collections import Counter

from consensus.interface import Committee, Height, View
from consensus.leaders import rotating
from crypto.interface import NodeId

COMMITTEE = Committee(0, tuple(map(NodeId, ("v1", "v2", "v3", "v4"))))
LEADER = rotating.create(rotating.Options())


def test_heights_take_turns_and_so_do_the_views_of_a_height() -> None:
    by_height = [LEADER.leader(COMMITTEE, Height(height), View(0)) for height in range(6)]
    assert by_height == ["v1", "v2", "v3", "v4", "v1", "v2"]
    by_view = [LEADER.leader(COMMITTEE, Height(2), View(view)) for view in range(6)]
    assert by_view == ["v3", "v4", "v1", "v2", "v3", "v4"]


def test_everybody_leads_as_often_as_the_others_and_it_is_claimed_so() -> None:
    led = Counter(LEADER.leader(COMMITTEE, Height(height), View(1)) for height in range(40))
    assert set(led.values()) == {10}
    assert rotating.CLAIMS.rotates_each_height


def test_a_protocol_that_asks_with_height_0_gets_turns_by_view() -> None:
    led = [LEADER.leader(COMMITTEE, Height(0), View(view)) for view in range(5)]
    assert led == ["v1", "v2", "v3", "v4", "v1"]
