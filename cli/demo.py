"""The first minute: what `make testnet` shows."""

import statistics
import time
from pathlib import Path

from cli import testnet as commands
from cli.output import Output
from cli.verify import verified
from testnet import manifest
from testnet.network import Testnet
from testnet.process import Life
from testnet.wallet import LIFETIME

TRANSACTIONS = 100
PER_REQUEST = 10


def tell(directory: Path, base_port: int | None, out: Output) -> None:
    """Bring a network up, use it, prove something, and leave it up."""
    network = commands.prepared(directory, None, base_port, [])
    commands.announce(network, out)
    if all(network.life(name) is Life.RUNNING for name in network.names("validator")):
        out.say(f"  up already; end it with: assay testnet down --dir {directory}")
        seconds = 0.0
    else:
        # What is left of a run that was broken off would be in the way.
        network.down()
        seconds = _start(network, out)
    facts = {"directory": str(network.directory), "ready_s": round(seconds, 3)}
    submitted = submit_many(network, out)
    proven = prove(network, out)
    _suggest(directory, out)
    nodes = [
        {"name": each.name, "home": each.home, "pid": each.pid, "api": each.api, "peer": each.peer}
        for each in network.manifest.nodes
    ]
    out.give({**facts, "nodes": nodes, "submitted": submitted, "proof": proven})
    network.close()


def submit_many(network: Testnet, out: Output) -> dict[str, object]:
    """Submit transactions to all nodes in turn, and say how long they took."""
    wallet, names = network.wallet(), network.names("validator")
    expiry = expiry_of(network)
    times, heights, committed = [], set(), 0
    for request in range(TRANSACTIONS // PER_REQUEST):
        signed = [
            wallet.sign("kv.set", f"demo-{request}-{item}", str(item), expiry=expiry)
            for item in range(PER_REQUEST)
        ]
        began = time.perf_counter()
        client = network.client(names[request % len(names)])
        results = client.submit_batch([each.raw for each in signed], wait=True)
        times.append((time.perf_counter() - began) * 1000)
        good = [each for each in results if each.get("code") == "ok"]
        committed += len(good)
        heights |= {each["height"] for each in good}
    median_ms = statistics.median(times)
    out.say(
        f"Submitted {TRANSACTIONS} transactions: {committed} committed in {len(heights)} blocks, "
        f"median {median_ms:.1f} ms"
    )
    return {"count": TRANSACTIONS, "committed": committed, "median_ms": round(median_ms, 1)}


def prove(network: Testnet, out: Output) -> dict[str, object]:
    """Submit one to the first node, fetch its proof from the last, and check it offline."""
    names = network.names("validator")
    signed = network.wallet().sign("kv.set", "greeting", "hello", expiry=expiry_of(network))
    place = network.client(names[0]).submit(signed.raw, wait=True)
    identity = signed.id.hex()
    network.wait_height(place["height"], [names[-1]])
    network.wait(
        lambda: network.client(names[-1]).transaction(identity)["status"] == "committed",
        f"{names[-1]} has the certificate",
        10.0,
    )
    bundle = network.directory / "bundle.json"
    manifest.write_atomically(bundle, network.client(names[-1]).proof(identity))
    verified(bundle, network.genesis_file)
    out.say(
        f"Proof of kv.set greeting=hello at height {place['height']}, index {place['index']}: "
        f"verified offline with {manifest.GENESIS_FILE} alone"
    )
    return {"id": identity, "height": place["height"], "file": str(bundle), "verified": True}


def expiry_of(network: Testnet) -> int:
    return LIFETIME + max(node.height or 0 for node in network.status().nodes)


def _start(network: Testnet, out: Output) -> float:
    seconds = network.start()
    if not out.as_json:  # the object of this command is printed at its end
        commands.ready(network, seconds, out)
    return seconds


def _suggest(directory: Path, out: Output) -> None:
    out.say()
    out.say("The network is up. Try:")
    for words in (
        f"tx submit --dir {directory} --wait kv.set colour blue",
        f"testnet kill v1 --dir {directory}      # and watch it go on",
        f"testnet status --dir {directory} --watch",
        f"testnet down --dir {directory}",
    ):
        out.say(f"  .venv/bin/assay {words}")
