"""Who is known, and lists that contradict themselves."""

import pytest

from crypto.interface import NodeId
from p2p.interface import ChannelKey, Peer, Role
from p2p.limits import Limits
from p2p.membership import BadMembership, StaticMembership


def key(number: int) -> ChannelKey:
    return ChannelKey(bytes([number]) * 32)


V1, V2, O1 = NodeId("v1"), NodeId("v2"), NodeId("o1")


def test_a_key_is_identified_by_the_list_it_is_on() -> None:
    members = StaticMembership({V1: key(1)}, {O1: key(2)})
    assert members.identify(key(1)) == Peer(V1, Role.VALIDATOR)
    assert members.identify(key(2)) == Peer(O1, Role.OBSERVER)
    assert members.identify(key(3)) is None
    assert members.identify(ChannelKey(b"")) is None


def test_with_open_observers_an_unknown_key_is_an_observer_of_its_own_name() -> None:
    members = StaticMembership({V1: key(1)}, {}, open_observers=True)
    one, other = members.identify(key(3)), members.identify(key(4))
    assert one is not None
    assert other is not None
    assert one.role is Role.OBSERVER
    assert one.name != other.name
    assert members.identify(key(1)) == Peer(V1, Role.VALIDATOR)


@pytest.mark.parametrize(
    ("validators", "observers"),
    [
        ({V1: key(1), V2: key(1)}, {}),
        ({V1: key(1)}, {O1: key(1)}),
        ({V1: key(1)}, {V1: key(2)}),
        ({V1: ChannelKey(b"")}, {}),
        ({V1: ChannelKey(bytes(32))}, {}),
        ({V1: ChannelKey(b"\x01" * 31)}, {}),
        ({NodeId("observer-x"): key(1)}, {}),
    ],
)
def test_lists_that_contradict_themselves_are_refused_and_change_nothing(
    validators: dict[NodeId, ChannelKey], observers: dict[NodeId, ChannelKey]
) -> None:
    # faults.md 25
    with pytest.raises(BadMembership):
        StaticMembership(validators, observers)
    members = StaticMembership({V2: key(9)}, {})
    with pytest.raises(BadMembership):
        members.update(validators, observers)
    assert members.identify(key(9)) == Peer(V2, Role.VALIDATOR)


def test_an_update_replaces_the_lists() -> None:
    members = StaticMembership({V1: key(1)}, {})
    members.update({V2: key(2)}, {})
    assert members.identify(key(1)) is None
    assert members.identify(key(2)) == Peer(V2, Role.VALIDATOR)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"pending_connections_max": 0}, "pending_connections_max"),
        ({"silence_max_ms": 100, "heartbeat_interval_ms": 90}, "heartbeat_interval_ms"),
        ({"reconnect_min_ms": 10, "reconnect_max_ms": 9}, "reconnect_min_ms"),
    ],
)
def test_contradicting_limits_are_refused_by_name(wrong: dict[str, int], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        Limits(**wrong)
