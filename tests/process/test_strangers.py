"""Who does not belong: a node of another genesis that dials this network."""

import msgspec

from node.config import render
from node.home import Home
from testnet.network import Testnet
from tests.process.lab import Lab, wait_same_height
from tests.process.load import Load


def point_at(home: Home, peers: dict[str, str]) -> None:
    """Make the node of `home` dial other addresses."""
    config, _ = home.read()
    section = msgspec.structs.replace(config.peers, addresses=peers)
    home.config.write_text(render(msgspec.structs.replace(config, peers=section)))


def log_of(net: Testnet, name: str) -> str:
    return net.log_file(name).read_text()


def test_nodes_of_different_genesis_refuse_each_other(lab: Lab) -> None:
    net = lab.running(log__level="debug")
    other = lab.network()
    addresses = {each.name: each.peer for each in net.manifest.nodes}
    home = Home(other.home("v4"))
    point_at(home, {name: address for name, address in addresses.items() if name != "v4"})
    other.start_node("v4")
    other.wait_answer("v4")
    other.wait(
        lambda: (
            log_of(other, "v4").count("peer_is_of_another_network") == 3
            # The one who dialled finds out first, and hangs up.
            and all("truncated" in log_of(net, name) for name in ("v1", "v2", "v3"))
        ),
        "both sides say that and why they refuse each other",
        20,
    )
    assert net.client("v1").status()["height"] >= 1
    status = other.client("v4").status()
    assert status["peers"] == []
    assert "1 of 4 validators are reachable" in status["reason"]
    with Load(net) as load:
        load.wait_more(20, 20)
    wait_same_height(net)
    for name in net.names():
        assert {peer["name"] for peer in net.client(name).status()["peers"]} == set(net.names()) - {
            name
        }
