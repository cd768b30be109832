"""Proofs out of a real ledger of three blocks: what they show, and that nothing in them is free."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from crypto.bundle import (
    BUNDLE_BYTES_MAX,
    Bundle,
    CommitteeChange,
    InvalidBundle,
    Verified,
    bundles,
    from_json,
    to_json,
    verify_bundle,
)
from crypto.certificate import Certificate, Vote
from crypto.encoding import Malformed, encode
from crypto.genesis import Genesis, Validator, committee_digest, digest
from crypto.genesis import to_json as genesis_to_json
from crypto.header import Header, attestation_statement, header_digest
from crypto.interface import CryptoError, Digest, Hash, Signature, SignatureScheme, SigningKey
from crypto.merkle import leaf_digest, root_of
from crypto.transaction import (
    Receipt,
    SignedTransaction,
    Transaction,
    signed_transactions,
    transaction_id,
    transaction_statement,
)
from storage.commitments import flat
from storage.engines import memory
from storage.ledger import Ledger
from storage.state import State

ROOT = Path(__file__).resolve().parent.parent.parent
BLOCKS = [("ok",), ("ok", "not_owner", "ok"), ("ok", "duplicate", "ok", "ok", "ok")]
"""The codes of the receipts in blocks 1, 2 and 3."""


def but(record: Any, **fields: object) -> Any:
    return msgspec.structs.replace(record, **fields)


@dataclass
class Chain:
    """A network of four validators whose ledger holds `BLOCKS`, each block certified by three."""

    hash_: Hash
    scheme: SignatureScheme
    seed: int = 0
    chain: str = "main"

    def __post_init__(self) -> None:
        keys = [self.scheme.key_from_seed(bytes([self.seed, n]) * 16) for n in range(5)]
        self.client, self.validators = keys[0], keys[1:]
        self.genesis = Genesis(
            chain=self.chain,
            created_ms=1,
            validators=tuple(
                Validator(name=f"v{n}", public_key=key.public_key, channel_key=bytes([n] * 32))
                for n, key in enumerate(self.validators)
            ),
            clients=(self.client.public_key,),
        )
        self.network = digest(self.genesis)
        store = memory.create(memory.Options(), Path())
        self.commitment = flat.create(flat.Options(), self.hash_)
        self.state = State(store, self.commitment)
        self.ledger = Ledger.open(store, self.network, self.hash_, self.commitment)
        self.raws: list[list[bytes]] = []
        for codes in BLOCKS:
            self._append(codes)

    def signed(self, nonce: int, signer: SigningKey | None = None, chain: str = "") -> bytes:
        transaction = Transaction(
            chain or self.chain, self.client.public_key, nonce, 100, "kv.set", ("name", nonce)
        )
        identity = transaction_id(transaction, self.hash_)
        statement = transaction_statement(identity, self.network)
        return encode(SignedTransaction(transaction, (signer or self.client).sign(statement)))

    def id_of(self, raw: bytes) -> Digest:
        return transaction_id(signed_transactions.decode(raw).transaction, self.hash_)

    def _append(self, codes: tuple[str, ...]) -> None:
        ledger, height = self.ledger, self.ledger.height + 1
        raws = [self.signed(ledger.size + position) for position in range(len(codes))]
        ids = [self.id_of(raw) for raw in raws]
        receipts = [
            Receipt(identity, code, code.encode())
            for identity, code in zip(ids, codes, strict=True)
        ]
        header = Header(
            height=height,
            parent=ledger.header_digest(ledger.height),
            epoch=0,
            committee=committee_digest(self.genesis),
            payload=self.hash_.digest(encode(raws)),
            time_ms=1000 * height,
            block_size=len(codes),
            ledger_size=ledger.size + len(codes),
            ledger_root=ledger.root_after([leaf_digest(raw, self.hash_) for raw in raws]),
            receipts_root=self.root([encode(receipt) for receipt in receipts]),
            state_root=self.commitment.root,
        )
        ledger.append(
            header,
            encode(raws),
            ids=ids,
            receipts=receipts,
            new=[True] * len(ids),
            state=self.state,
        )
        self.raws.append(raws)

    def root(self, leaves: list[bytes]) -> Digest:
        return root_of([leaf_digest(leaf, self.hash_) for leaf in leaves], self.hash_)

    def certified(self, header: Header, by: tuple[int, ...] = (0, 1, 3)) -> Certificate:
        attested = header_digest(header, self.hash_)
        statement = attestation_statement(attested, self.network)
        votes = tuple(Vote(index, self.validators[index].sign(statement)) for index in by)
        return Certificate(header.height, attested, votes)

    def bundle(self, height: int, position: int) -> Bundle:
        stored = self.ledger.block(height)
        certificate = self.certified(stored.header)
        return self.ledger.bundle(stored, certificate, position, self.raws[height - 1][position])

    def lone(self, raw: bytes, receipt: Receipt) -> Bundle:
        """A certified block of one transaction: what a dishonest quorum could certify."""
        header = but(
            self.ledger.header(1),
            ledger_root=self.root([raw]),
            receipts_root=self.root([encode(receipt)]),
        )
        return Bundle(self.network, (), header, self.certified(header), raw, 0, (), receipt, 0, ())

    def verify(self, bundle: Bundle) -> Verified:
        return verify_bundle(bundle, self.genesis, self.hash_, self.scheme, self.scheme)

    def refusal(self, bundle: Bundle) -> str:
        with pytest.raises(InvalidBundle) as refusal:
            self.verify(bundle)
        return str(refusal.value)


@pytest.fixture(scope="module")
def chain(hash_: Hash, scheme: SignatureScheme) -> Chain:
    return Chain(hash_, scheme)


@pytest.fixture(scope="module")
def good(chain: Chain) -> Bundle:
    """Of the third of five transactions in block 3."""
    return chain.bundle(3, 2)


def places() -> Iterator[tuple[int, int]]:
    for height, codes in enumerate(BLOCKS, 1):
        for position in range(len(codes)):
            yield height, position


# --- What is proven. -------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "position"), list(places()))
def test_every_transaction_of_a_ledger_is_proven_with_what_became_of_it(
    height: int, position: int, chain: Chain
) -> None:
    bundle = from_json(to_json(chain.bundle(height, position)))
    assert bundle == chain.bundle(height, position)
    proven = chain.verify(bundle)
    index = sum(map(len, BLOCKS[: height - 1])) + position
    code = BLOCKS[height - 1][position]
    assert proven == Verified(
        id=chain.id_of(chain.raws[height - 1][position]),
        height=height,
        index=index,
        accepted=code == "ok",
        code=code,
        output=code.encode(),
        method="kv.set",
        arguments=("name", index),
        sender=chain.client.public_key,
        time_ms=1000 * height,
    )


def test_a_rejection_is_proven_and_is_no_acceptance(chain: Chain) -> None:
    proven = chain.verify(chain.bundle(2, 1))
    assert (proven.code, proven.accepted) == ("not_owner", False)


@pytest.mark.parametrize("by", [(0, 1, 2), (1, 2, 3), (0, 1, 2, 3)])
def test_any_quorum_will_do(by: tuple[int, ...], chain: Chain, good: Bundle) -> None:
    assert chain.verify(but(good, certificate=chain.certified(good.header, by)))


def test_an_invalid_bundle_is_an_error_of_this_folder() -> None:
    assert issubclass(InvalidBundle, CryptoError)


# --- No byte is free. ------------------------------------------------------------------------


INSERTED = {"space inserted": b" ", "zero inserted": b"0", "line end inserted": b"\n"}
FLIPPED = {"first bit flipped": 0x01, "sixth bit flipped": 0x20, "last bit flipped": 0x80}
HOW = ["flipped", "deleted", "doubled", "another hex digit", "upper case", *INSERTED, *FLIPPED]


def damaged(raw: bytes, how: str) -> Iterator[bytes]:
    digits = b"0123456789abcdef"
    for at in range(len(raw) + 1):
        if how in INSERTED:
            yield raw[:at] + INSERTED[how] + raw[at:]
    for at in range(len(raw)):
        before, byte, after = raw[:at], raw[at], raw[at + 1 :]
        match how:
            case "flipped":
                yield before + bytes([byte ^ 1 << at % 8]) + after
            case "deleted":
                yield before + after
            case "doubled":
                yield before + bytes([byte, byte]) + after
            case "first bit flipped" | "sixth bit flipped" | "last bit flipped":
                yield before + bytes([byte ^ FLIPPED[how]]) + after
            case "another hex digit":
                other = digits[(digits.find(byte) + 1 + at % 15) % 16]
                yield before + bytes([other]) + after
            case "upper case":
                if bytes([byte]).upper() != bytes([byte]):
                    yield before + bytes([byte]).upper() + after


@pytest.mark.parametrize("how", HOW)
def test_no_byte_of_the_file_is_free(how: str, chain: Chain, good: Bundle) -> None:
    count = 0
    for changed in damaged(to_json(good), how):
        count += 1
        with pytest.raises(InvalidBundle):
            chain.verify(from_json(changed))
            pytest.fail(f"{how}: change {count} was taken")
    assert count > 500


def test_no_bit_of_the_content_is_free(chain: Chain, good: Bundle) -> None:
    # Past the JSON: the content as whoever makes a new file around it would change it.
    content = encode(good)
    assert from_json(around(content)) == bundles.decode(content) == good
    for at in range(len(content)):
        for bit in range(8):
            changed = bytearray(content)
            changed[at] ^= 1 << bit
            with pytest.raises(InvalidBundle):
                chain.verify(from_json(around(bytes(changed))))
                pytest.fail(f"bit {bit} of byte {at} is free")


def around(content: bytes) -> bytes:
    return b'{"format": 1, "bundle": "%s"}\n' % content.hex().encode()


def test_every_shorter_file_is_refused(good: Bundle) -> None:
    raw = to_json(good)
    for size in range(len(raw)):
        with pytest.raises(InvalidBundle):
            from_json(raw[:size])


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"format": 1}',
        b'{"format": NaN, "bundle": ""}',
        b'{"format": 1, "bundle": 5}',
        b'{"format": 1, "bundle": "zz"}',
        b'{"format": 1, "bundle": null}\n',
        b'{"format": 1, "bundle": 5}\n',
        b'{"format": 1, "bundle": ""}\n',
        b'{"format": 1, "bundle": "0"}\n',
        b'{"format": 1, "bundle": "zz"}\n',
        b'{"format": 1, "bundle": "\\ud800"}\n',
        b'{"format": 1, "bundle": "01"}\n',
        b"[" * 100_000,
        b"\xff\xfe",
        b'{"format": ' + b"1" * 5000 + b"}",
    ],
    ids=lambda raw: str(raw[:32]),
)
def test_what_is_no_bundle_file_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidBundle):
        from_json(raw)


@pytest.mark.parametrize("raw", [b'{"format": 2, "bundle": ""}\n', b'{"format": 2}'])
def test_another_format_is_named(raw: bytes) -> None:
    with pytest.raises(InvalidBundle, match="format 2; this version knows format 1"):
        from_json(raw)


def test_other_ways_to_write_the_same_file_are_refused(good: Bundle) -> None:
    text = to_json(good).decode()
    content = encode(good).hex()
    assert from_json(text.encode()) == good
    for other in (
        text.strip(),
        text + "\n",
        text.replace(": ", ":"),
        text.replace(content, content.upper()),
        text.replace(content, content[:2] + " " + content[2:]),
        text.replace('"format": 1', '"format": 1.0'),
        text.replace('"format": 1', '"format": true'),
        text.replace('"format": 1', '"format": 1, "note": 1'),
        text.replace('"format": 1', '"format": 1, "format": 1'),
        text.replace('"format": 1', '"more": 0, "format": 1'),
        text.replace(" ", ""),
        text.replace("format", "\\u0066ormat"),
        f'{{"bundle": "{content}", "format": 1}}\n',
    ):
        assert other != text
        with pytest.raises(InvalidBundle, match="canonical"):
            from_json(other.encode())
    with pytest.raises(InvalidBundle, match="canonical"):
        from_json(text.encode("utf-16"))


def test_the_size_is_bounded() -> None:
    with pytest.raises(InvalidBundle, match="too many"):
        from_json(b" " * (2 * BUNDLE_BYTES_MAX + 2000))


def test_no_committee_change_is_taken(chain: Chain, good: Bundle) -> None:
    change = CommitteeChange(good.header, good.certificate)
    with pytest.raises(Malformed):
        bundles.decode(encode(but(good, changes=(change,))))
    with pytest.raises(InvalidBundle):
        from_json(to_json(but(good, changes=(change,))))


# --- Nothing stands for anything else. -------------------------------------------------------

PARTS = ["header", "certificate", "transaction", "index", "ledger_proof", "receipt", "position",
         "receipt_proof"]  # fmt: skip


@pytest.mark.parametrize("part", PARTS)
def test_no_part_can_be_taken_from_the_proof_of_another_transaction(
    part: str, chain: Chain, good: Bundle
) -> None:
    tried = 0
    for height, position in places():
        other = getattr(chain.bundle(height, position), part)
        if other != getattr(good, part):
            tried += 1
            chain.refusal(but(good, **{part: other}))
    assert tried


@pytest.mark.parametrize(
    "parts",
    [
        ("header", "certificate"),
        ("index", "ledger_proof"),
        ("index", "position"),
        ("position", "receipt_proof"),
        ("transaction", "receipt"),
        ("receipt", "position", "receipt_proof"),
        ("transaction", "index", "ledger_proof"),
        ("index", "ledger_proof", "position", "receipt_proof"),
        ("transaction", "index", "ledger_proof", "receipt"),
    ],
    ids="+".join,
)
def test_no_group_of_parts_can_be_taken_from_the_proof_of_another(
    parts: tuple[str, ...], chain: Chain, good: Bundle
) -> None:
    for position in (0, 1, 3, 4):
        other = chain.bundle(3, position)
        fields = {part: getattr(other, part) for part in parts}
        if but(good, **fields) not in (good, other):
            chain.refusal(but(good, **fields))


def test_the_same_transactions_on_another_network_prove_nothing_here(
    chain: Chain, good: Bundle, hash_: Hash, scheme: SignatureScheme
) -> None:
    other = Chain(hash_, scheme, chain="other")
    assert other.verify(other.bundle(3, 2))
    assert "another network" in chain.refusal(other.bundle(3, 2))
    renamed = but(other.bundle(3, 2), genesis=chain.network)
    assert "committee" not in chain.refusal(renamed)  # same names and keys
    assert "signature of validator" in chain.refusal(renamed)
    strangers = Chain(hash_, scheme, seed=9)
    assert "committee" in chain.refusal(but(strangers.bundle(3, 2), genesis=chain.network))


# --- Each reason. ----------------------------------------------------------------------------


def with_header(chain: Chain, bundle: Bundle, **fields: object) -> Bundle:
    """Certified anew: what only a dishonest quorum could do."""
    header = but(bundle.header, **fields)
    changed: Bundle = but(bundle, header=header, certificate=chain.certified(header))
    return changed


CASES: dict[str, tuple[Callable[[Chain, Bundle], Bundle], str]] = {
    "another genesis": (lambda _, b: but(b, genesis=Digest(bytes(32))), "another network"),
    "another epoch": (lambda c, b: with_header(c, b, epoch=1), "committee"),
    "another committee": (lambda c, b: with_header(c, b, committee=bytes(32)), "committee"),
    "another height in the certificate": (
        lambda _, b: but(b, certificate=but(b.certificate, height=4)),
        "another height",
    ),
    "another header in the certificate": (
        lambda _, b: but(b, certificate=but(b.certificate, header=bytes(32))),
        "another header",
    ),
    "another header than the certified one": (
        lambda _, b: but(b, header=but(b.header, time_ms=8)),
        "another header",
    ),
    "no quorum": (
        lambda c, b: but(b, certificate=c.certified(b.header, (0, 1))),
        "2 signers; a quorum has 3",
    ),
    "a bad vote": (
        lambda _, b: but(b, certificate=but(b.certificate, votes=(
            *b.certificate.votes[:2], Vote(3, b.certificate.votes[0].signature),
        ))),
        "validator 3 is invalid",
    ),
    "an index that does not fit": (lambda _, b: but(b, index=b.index + 1), "do not fit"),
    "an index below the block": (lambda _, b: but(b, index=b.index - 1), "do not fit"),
    "a position that does not fit": (lambda _, b: but(b, position=b.position + 1), "do not fit"),
    "another ledger root": (
        lambda c, b: with_header(c, b, ledger_root=bytes(32)),
        "another root",
    ),
    "another receipts root": (
        lambda c, b: with_header(c, b, receipts_root=bytes(32)),
        "another root",
    ),
    "a smaller block": (lambda c, b: with_header(c, b, block_size=4), "do not fit"),
    "a step more": (lambda _, b: but(b, ledger_proof=(*b.ledger_proof, bytes(32))), "too long"),
    "a step more to the receipt": (
        lambda _, b: but(b, receipt_proof=(*b.receipt_proof, bytes(32))),
        "too long",
    ),
    "a step less to the transaction": (
        lambda _, b: but(b, ledger_proof=b.ledger_proof[:-1]),
        "too short",
    ),
    "another transaction": (lambda c, b: but(b, transaction=c.raws[0][0]), "another root"),
    "a step less": (lambda _, b: but(b, receipt_proof=b.receipt_proof[:-1]), "too short"),
    "a changed receipt": (lambda _, b: but(b, receipt=but(b.receipt, output=b"x")), "root"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_each_thing_that_can_be_wrong_has_its_reason(case: str, chain: Chain, good: Bundle) -> None:
    change, reason = CASES[case]
    assert chain.verify(good)
    assert reason in chain.refusal(change(chain, good))


def test_a_position_outside_of_the_block_is_refused(chain: Chain) -> None:
    # The last transaction of block 2, shown as if it were one before the first of block 3, or as
    # one behind the end: index and position fit each other, and yet it is not of that block.
    earlier, later = chain.bundle(2, 2), chain.bundle(3, 0)
    header, certificate = later.header, later.certificate
    shown = but(later, transaction=earlier.transaction, index=earlier.index,
                ledger_proof=chain.ledger.inclusion(earlier.index, header.ledger_size),
                receipt=earlier.receipt)  # fmt: skip
    assert (shown.header, shown.certificate) == (header, certificate)
    chain.refusal(shown)
    # The same with its own receipt: a sound place in the ledger that an earlier block holds.
    moved = but(later, transaction=shown.transaction, index=shown.index,
                ledger_proof=shown.ledger_proof)  # fmt: skip
    assert "do not fit" in chain.refusal(moved)
    behind = but(earlier, index=earlier.index + 1, position=3)
    assert "not in a tree" in chain.refusal(behind)


def test_what_a_dishonest_quorum_certifies_is_still_held_to_the_senders_signature(
    chain: Chain,
) -> None:
    raw = chain.raws[0][0]
    receipt = Receipt(chain.id_of(raw), "ok", b"")
    assert chain.verify(chain.lone(raw, receipt)).accepted
    forged = chain.signed(0, signer=chain.validators[0])
    assert "signature" in chain.refusal(chain.lone(forged, receipt))
    for signature in (b"", bytes(64)):
        unsigned = encode(but(signed_transactions.decode(raw), signature=Signature(signature)))
        refusal = chain.refusal(chain.lone(unsigned, receipt))
        assert "signature does not match" in refusal
    foreign = chain.signed(0, chain="other")
    foreign_receipt = Receipt(chain.id_of(foreign), "ok", b"")
    assert "another chain" in chain.refusal(chain.lone(foreign, foreign_receipt))
    other = Receipt(chain.id_of(chain.raws[1][0]), "ok", b"")
    assert "another transaction" in chain.refusal(chain.lone(raw, other))
    assert "canonical" in chain.refusal(
        chain.lone(raw.replace(b"\xc4\x20", b"\xc5\x00\x20"), receipt)
    )


# --- Alone. ----------------------------------------------------------------------------------

PROGRAM = """
import sys
from pathlib import Path
from crypto import bundle, genesis
from crypto.hashes import sha256
from crypto.signatures import ed25519

folder = Path(sys.argv[1])
scheme = ed25519.create(ed25519.Options())
proven = bundle.verify_bundle(
    bundle.from_json((folder / "bundle.json").read_bytes()),
    genesis.from_json((folder / "genesis.json").read_bytes()),
    sha256.create(sha256.Options()), scheme, scheme,
)
ours = ("mechanisms", "consensus", "p2p", "storage", "apps", "node", "testnet", "cli", "benchmarks")
far = ("fastapi", "httpx", "uvicorn", "asyncio", "socket", "sqlite3", "plyvel", "cryptography")
print(proven.height, proven.code)
print([name for name in sys.modules if name.partition(".")[0] in (*ours, *far)])
"""


def test_a_process_that_verifies_loads_nothing_above_this_folder(
    chain: Chain, good: Bundle, tmp_path: Path
) -> None:
    (tmp_path / "bundle.json").write_bytes(to_json(good))
    (tmp_path / "genesis.json").write_bytes(genesis_to_json(chain.genesis))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("3 ok\n[]\n", "")
