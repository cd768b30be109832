"""What real nodes tell clients: typed errors, the same answer twice, limits that hold."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from crypto.encoding import encode
from crypto.genesis import from_json
from crypto.interface import Signature
from crypto.transaction import signed_transactions
from testnet.client import Client
from testnet.errors import ApiError
from testnet.keyring import new_signing_key
from testnet.network import Testnet
from testnet.wallet import Wallet
from tests.process.lab import Lab, wait_same_height
from tests.process.load import Load

EXPIRY = 1_000


@pytest.fixture
def net(lab: Lab) -> Testnet:
    return lab.running()


def refusal(client: Client, raw: bytes) -> ApiError:
    with pytest.raises(ApiError) as caught:
        client.submit(raw)
    assert len(str(caught.value)) > 20, "a sentence that says what to change"
    assert "Traceback" not in str(caught.value)
    return caught.value


def changed(raw: bytes, **fields: object) -> bytes:
    """The same signature under a transaction of which `fields` differ."""
    signed = signed_transactions.decode(raw)
    body = msgspec.structs.replace(signed.transaction, **fields)
    return encode(msgspec.structs.replace(signed, transaction=body))


def stranger(net: Testnet, folder: Path) -> Wallet:
    """A client whose key the genesis does not list."""
    genesis = from_json(net.genesis_file.read_bytes())
    path = folder / "stranger.json"
    path.write_bytes(new_signing_key("client", genesis.client_signature, lab=True).file)
    path.chmod(0o600)
    return Wallet.load(net.genesis_file, path)


def test_every_refusal_names_its_reason(net: Testnet, tmp_path: Path) -> None:
    client, wallet = net.client("v2"), net.wallet()
    good = wallet.sign("kv.set", "k", "v", expiry=EXPIRY).raw
    signed = signed_transactions.decode(good)
    forged = encode(msgspec.structs.replace(signed, signature=Signature(bytes(64))))
    far = 10_000_000
    cases: dict[str, tuple[int, Callable[[], bytes]]] = {
        "malformed": (400, lambda: good + b"\0"),
        "too_large": (413, lambda: wallet.sign("kv.set", "k", "v" * 20_000, expiry=EXPIRY).raw),
        "wrong_chain": (422, lambda: changed(good, chain="another")),
        "expired": (422, lambda: wallet.sign("kv.set", "k", "v", expiry=0).raw),
        "lifetime_too_long": (422, lambda: wallet.sign("kv.set", "k", "v", expiry=far).raw),
        "bad_signature": (422, lambda: forged),
        "unknown_method": (422, lambda: wallet.sign("kv.sett", "k", "v", expiry=EXPIRY).raw),
        "bad_arguments": (422, lambda: wallet.sign("kv.set", "k", expiry=EXPIRY).raw),
        "unknown_client": (
            403,
            lambda: stranger(net, tmp_path).sign("kv.set", "k", "v", expiry=EXPIRY).raw,
        ),
    }
    for code, (status, make) in cases.items():
        error = refusal(client, make())
        assert (error.code, error.status) == (code, status)
    assert refusal(client, changed(good, nonce=7)).code == "bad_signature"
    # All of them left the chain alone, and the good one is still good.
    assert client.submit(good, wait=True)["accepted"] is True


def test_a_transaction_sent_again_to_any_node_has_one_place(net: Testnet) -> None:
    raw = net.wallet().sign("kv.set", "k", "v", expiry=EXPIRY).raw
    first = net.client("v1").submit(raw, wait=True)
    for name in net.names():
        again = net.client(name).submit(raw, wait=True)
        assert again["status"] == "committed"
        assert (again["id"], again["height"], again["index"]) == (
            first["id"],
            first["height"],
            first["index"],
        )
    assert net.client("v1").submit(raw, wait=True)["duplicate"] is True
    batch = net.client("v3").submit_batch([raw, raw], wait=True)
    assert [each["index"] for each in batch] == [first["index"]] * 2
    assert net.client("v2").query("kv", "get", "k")["value"]["version"] == 1


def test_a_transaction_that_expires_while_it_waits_is_never_executed(net: Testnet) -> None:
    client = net.client(net.names()[0])
    now = wait_same_height(net)
    raw = net.wallet(3).sign("kv.set", "late", "v", expiry=now + 2).raw
    with Load(net) as load:
        while client.status()["height"] <= now + 3:
            load.wait_more(1, 10)
    error = refusal(client, raw)
    assert (error.code, error.status) == ("expired", 422)
    assert client.query("kv", "get", "late")["value"] is None


def test_a_full_mempool_says_when_to_try_again_and_empties(lab: Lab) -> None:
    net = lab.running(mempool__count_max=20, mempool__sender_count_max=15)
    client, wallet = net.client("v1"), net.wallet()
    others = [name for name in net.names() if name != "v1"]
    for name in others[:2]:
        net.pause(name)  # no quorum: nothing leaves the mempool
    number = iter(range(1_000))

    def one(sender: Wallet) -> bytes:
        return sender.sign("kv.set", f"{next(number)}", "v", expiry=EXPIRY).raw

    first = [one(wallet) for _ in range(15)]
    for raw in first:
        assert client.submit(raw)["status"] == "admitted"
    error = refusal(client, one(wallet))
    assert (error.code, error.status) == ("sender_quota", 429)
    assert error.retry_after_s >= 1
    second = [one(net.wallet(1)) for _ in range(5)]
    for raw in second:
        client.submit(raw)
    error = refusal(client, one(net.wallet(2)))
    assert (error.code, error.status) == ("mempool_full", 429)
    assert error.retry_after_s >= 1
    assert client.status()["mempool"]["count"] == 20
    for name in others[:2]:
        net.resume(name)
    net.wait(lambda: client.status()["mempool"]["count"] == 0, "the mempool empties", 20)
    results = client.submit_batch([*first, *second], wait=True, timeout_ms=20_000)
    assert {each["status"] for each in results} == {"committed"}
    assert client.submit(one(net.wallet(2)), wait=True)["status"] == "committed"


def test_nothing_is_acknowledged_without_a_quorum(net: Testnet) -> None:
    for name in net.names()[2:]:
        net.kill(name)
    raw = net.wallet().sign("kv.set", "k", "v", expiry=EXPIRY).raw
    answer = net.client("v1").submit(raw, wait=True, timeout_ms=1_500)
    assert answer["status"] == "pending"
    assert "height" not in answer
    net.start_node(net.names()[2])
    assert net.client("v1").submit(raw, wait=True, timeout_ms=20_000)["status"] == "committed"


def test_an_observer_sends_clients_to_a_validator(net: Testnet) -> None:
    net.add_observer("watcher")
    net.start_node("watcher")
    net.wait_answer("watcher")
    raw = net.wallet().sign("kv.set", "k", "v", expiry=EXPIRY).raw
    error = refusal(net.client("watcher"), raw)
    assert (error.code, error.status) == ("not_a_validator", 421)
    assert "validator" in str(error)
