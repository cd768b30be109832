"""Records of the ledger as JSON: plain dictionaries, bytes as lower-case hexadecimal."""

from crypto.certificate import Certificate
from crypto.encoding import Malformed
from crypto.genesis import Genesis
from crypto.header import Header
from crypto.interface import Digest
from crypto.transaction import Receipt, signed_transactions
from node.service import BlockView, NodeService, Outcome


def header_fields(header: Header) -> dict[str, object]:
    return {
        "height": header.height,
        "parent": header.parent.hex(),
        "epoch": header.epoch,
        "committee": header.committee.hex(),
        "payload": header.payload.hex(),
        "time_ms": header.time_ms,
        "block_size": header.block_size,
        "ledger_size": header.ledger_size,
        "ledger_root": header.ledger_root.hex(),
        "receipts_root": header.receipts_root.hex(),
        "state_root": header.state_root.hex(),
    }


def certificate_fields(certificate: Certificate | None) -> dict[str, object] | None:
    if certificate is None:
        return None
    return {
        "height": certificate.height,
        "header": certificate.header.hex(),
        "votes": [
            {"validator": vote.validator, "signature": vote.signature.hex()}
            for vote in certificate.votes
        ],
    }


def header_view(
    header: Header, digest: Digest, certificate: Certificate | None
) -> dict[str, object]:
    return {
        "header": header_fields(header),
        "digest": digest.hex(),
        "certificate": certificate_fields(certificate),
    }


def receipt_fields(receipt: Receipt) -> dict[str, object]:
    return {
        "id": receipt.transaction.hex(),
        "code": receipt.code,
        "accepted": receipt.accepted,
        "output": receipt.output.hex(),
    }


def block_fields(view: BlockView) -> dict[str, object]:
    return header_view(view.header, view.digest, view.certificate) | {
        "first_index": view.header.ledger_size - view.header.block_size,
        "transactions": [
            {"id": identity.hex(), "raw": raw.hex()}
            for identity, raw in zip(view.ids, view.transactions, strict=True)
        ],
        "receipts": [receipt_fields(receipt) for receipt in view.receipts],
    }


def outcome_fields(outcome: Outcome) -> dict[str, object]:
    """Where a committed transaction is, and what the application said."""
    receipt = outcome.receipt
    fields: dict[str, object] = {
        "height": outcome.height,
        "index": outcome.index,
        "position": outcome.position,
        "code": receipt.code,
        "accepted": receipt.accepted,
        "output": receipt.output.hex(),
    }
    if not receipt.accepted:
        fields["message"] = receipt.output.decode("utf-8", "replace")
    return fields


def transaction_fields(raw: bytes) -> dict[str, object]:
    """The signed transaction that `raw` encodes; nothing if it is not one."""
    try:
        signed = signed_transactions.decode(raw)
    except Malformed:
        return {}
    body = signed.transaction
    return {
        "transaction": {
            "chain": body.chain,
            "sender": body.sender.hex(),
            "nonce": body.nonce,
            "expiry": body.expiry,
            "method": body.method,
            "arguments": list(body.arguments),
        },
        "signature": signed.signature.hex(),
    }


def status_fields(service: NodeService) -> dict[str, object]:
    status = service.status()
    return {
        "name": status.name,
        "role": status.role,
        "chain": service.genesis.chain,
        "genesis": service.genesis_digest.hex(),
        "height": status.height,
        "certified": status.certified,
        "header": status.header.hex(),
        "view": status.view,
        "leader": status.leader,
        "phase": status.phase,
        "state_root": status.state_root.hex(),
        "peers": [{"name": peer.name, "role": str(peer.role)} for peer in status.peers],
        "mempool": {"count": status.mempool_count, "bytes": status.mempool_bytes},
        "next_timeout_ms": status.next_timeout_ms,
        "waiting_for": list(status.waiting_for),
        "syncing": status.syncing,
        "moving": status.moving,
        "reason": status.reason,
    }


def validators_fields(genesis: Genesis) -> dict[str, object]:
    return {
        "quorum": genesis.quorum,
        "fault_model": genesis.fault_model,
        "validators": [
            {
                "name": validator.name,
                "index": index,
                "public_key": validator.public_key.hex(),
                "channel_key": validator.channel_key.hex(),
            }
            for index, validator in enumerate(genesis.validators)
        ],
    }
