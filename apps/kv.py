"""An owned key-value store: whoever writes a key first owns it, and only the owner changes it.

Methods (all arguments are text):

- `set KEY VALUE`: write; makes the key and its owner if there is none.
- `create KEY VALUE`: write only if the key is absent, so that two who race for it cannot both win.
- `cas KEY EXPECTED VALUE`: compare and set: write only if the value is `EXPECTED` to the byte. The
  empty text is a value like any other; `create` is how "expected to be absent" is said.
- `delete KEY`: remove. The key is then free for anybody, and its versions begin at 1 again.

The output of a receipt is the new version in decimal digits; of `delete`, the version that went.
Codes of rejections: `not_owner`, `not_found`, `exists`, `mismatch`; and, already at ingress,
`unknown_method`, `bad_arguments`, `too_long`.

Queries: `get/KEY`, `owner/KEY`, `list`, `list/PREFIX` and `list/PREFIX/AFTER`.

Texts are compared as UTF-8 bytes; nothing is normalised. It hides nothing: values are public to
every node, and the transaction that wrote a deleted value stays in the ledger.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import cast

from apps._arguments import BAD_ARGUMENTS, check_arguments
from apps.interface import AppClaims, Application, QueryRefused, ReadState, Rejected, State
from crypto.encoding import Codec, Record, encode
from crypto.interface import PublicKey
from crypto.transaction import Transaction

KEY_BYTES_MAX = 256
"""Of the key in UTF-8. An empty key is refused too."""

VALUE_BYTES_MAX = 8 * 1024
"""Of the value in UTF-8."""

LIST_MAX = 100
"""Entries in one answer to `list`."""

CLAIMS = AppClaims(
    purpose="owned keys with compare-and-set",
    invariant="every entry has an owner, a version from 1, and a key and value within limits",
    cost="1 read, 1 write",
)

METHODS: Mapping[str, Sequence[type]] = {
    "set": (str, str),
    "create": (str, str),
    "cas": (str, str, str),
    "delete": (str,),
}

QUERIES = "get/KEY, owner/KEY, list, list/PREFIX, list/PREFIX/AFTER"


@dataclass(frozen=True, slots=True)
class Options:
    """None: its limits are the same in every network."""


def create(options: Options) -> Application:
    """The application. Holds nothing but its rules; all it knows is in the state."""
    assert isinstance(options, Options)
    return _KeyValue()


class Entry(Record, frozen=True):
    """What is stored under a key."""

    owner: PublicKey
    version: int
    """How often it was written since it was made, from 1."""
    value: str


_entries: Codec[Entry] = Codec(Entry, bytes_max=2 * VALUE_BYTES_MAX)


class _KeyValue:
    def methods(self) -> Mapping[str, Sequence[type]]:
        return METHODS

    def initialise(self, state: State) -> None:
        """Nothing is stored at height 0."""

    def check(self, transaction: Transaction) -> None:
        _checked(transaction)

    def execute(self, transaction: Transaction, state: State) -> bytes:
        sender = transaction.sender
        key, *texts = _checked(transaction)
        match transaction.method.partition(".")[2]:
            case "set":
                return _write(state, sender, key, texts[0], _owned(state, sender, key))
            case "create":
                if state.get(key.encode()) is not None:
                    raise Rejected("exists", f"the key {key!r} exists; choose another one")
                return _write(state, sender, key, texts[0], None)
            case "cas":
                expected, value = texts
                entry = _existing(state, sender, key)
                if entry.value != expected:
                    raise Rejected(
                        "mismatch",
                        f"the value of {key!r} is not the expected one; it has version "
                        f"{entry.version} now: read it and try again",
                    )
                return _write(state, sender, key, value, entry)
            case "delete":
                entry = _existing(state, sender, key)
                state.put(key.encode(), None)
                return _digits(entry.version)
        raise AssertionError(f"{transaction.method} passed the check and has no case")

    def query(self, path: Sequence[str], state: ReadState) -> object:
        match path:
            case ["get", key]:
                return _shown(state, key, with_value=True)
            case ["owner", key]:
                return _shown(state, key, with_value=False)
            case ["list"]:
                return _listed(state, "", "")
            case ["list", prefix]:
                return _listed(state, prefix, "")
            case ["list", prefix, after]:
                return _listed(state, prefix, after)
        raise QueryRefused(f"kv knows no such query; it answers: {QUERIES}")

    def invariant(self, state: ReadState) -> None:
        for key, raw in state.scan(b""):
            entry = _entries.decode(raw)
            assert 0 < len(key) <= KEY_BYTES_MAX, f"key {key!r} has {len(key)} bytes"
            assert key.decode().encode() == key
            assert entry.owner, f"key {key!r} has no owner"
            assert entry.version >= 1, f"key {key!r} has version {entry.version}"
            assert len(entry.value.encode()) <= VALUE_BYTES_MAX, f"the value of {key!r} is too long"


def _checked(transaction: Transaction) -> tuple[str, ...]:
    """The arguments, which are the key and texts, or raise `Rejected`."""
    check_arguments(METHODS, transaction)
    texts = cast(tuple[str, ...], transaction.arguments)  # why: all types in METHODS are `str`
    if not texts[0]:
        raise Rejected(BAD_ARGUMENTS, "the key is empty; give it at least one character")
    _check_length("key", texts[0], KEY_BYTES_MAX)
    for value in texts[1:]:
        _check_length("value", value, VALUE_BYTES_MAX)
    return texts


def _check_length(what: str, text: str, bytes_max: int) -> None:
    size = len(text.encode())
    if size > bytes_max:
        raise Rejected("too_long", f"the {what} has {size} bytes; at most {bytes_max} are allowed")


def _owned(state: State, sender: PublicKey, key: str) -> Entry | None:
    """The entry, which is the sender's, or None where there is none."""
    raw = state.get(key.encode())
    if raw is None:
        return None
    entry = _entries.decode(raw)
    if entry.owner != sender:
        raise Rejected(
            "not_owner", f"the key {key!r} belongs to another sender; choose another key"
        )
    return entry


def _existing(state: State, sender: PublicKey, key: str) -> Entry:
    entry = _owned(state, sender, key)
    if entry is None:
        raise Rejected("not_found", f"there is no key {key!r}; make it with kv.create or kv.set")
    return entry


def _write(state: State, owner: PublicKey, key: str, value: str, before: Entry | None) -> bytes:
    version = 1 if before is None else before.version + 1
    state.put(key.encode(), encode(Entry(owner, version, value)))
    return _digits(version)


def _digits(version: int) -> bytes:
    return b"%d" % version


def _shown(state: ReadState, key: str, *, with_value: bool) -> dict[str, object] | None:
    raw = state.get(key.encode())
    return None if raw is None else _fields(key, _entries.decode(raw), with_value=with_value)


def _fields(key: str, entry: Entry, *, with_value: bool) -> dict[str, object]:
    value: dict[str, object] = {"value": entry.value} if with_value else {}
    return {"key": key, **value, "owner": entry.owner.hex(), "version": entry.version}


def _listed(state: ReadState, prefix: str, after: str) -> dict[str, object]:
    """Entries in order of keys. `next` is the `AFTER` of the next page, None on the last."""
    if after and not after.startswith(prefix):
        raise QueryRefused(f"AFTER is {after!r}, which does not begin with PREFIX {prefix!r}")
    # Why a zero byte: the smallest key after `after` is that key and one zero byte.
    start = after.removeprefix(prefix).encode() + b"\x00" if after else b""
    found = list(islice(state.scan(prefix.encode(), start=start), LIST_MAX + 1))
    entries = [
        _fields(key.decode(), _entries.decode(raw), with_value=True)
        for key, raw in found[:LIST_MAX]
    ]
    more = len(found) > LIST_MAX
    return {"entries": entries, "next": entries[-1]["key"] if more else None}
