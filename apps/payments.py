"""Accounts, transfers, and a supply that only minters and burning change.

An account is a public key, written as lower-case hexadecimal digits; it needs no opening. Methods:

- `transfer TO AMOUNT`: from the sender's account.
- `transfer_with_memo TO AMOUNT MEMO`: the same; the memo stays in the ledger, not in the state.
- `mint TO AMOUNT`: new units; only for the minters that the genesis file names.
- `burn AMOUNT`: units of the sender's account cease to be.

The output of a receipt is the sender's new balance in decimal digits; of `mint`, the new supply.
Codes of rejections: `insufficient_balance`, `not_minter`, `supply_limit`; and, already at ingress,
`unknown_method`, `bad_arguments`, `too_long`.

Queries: `balance/ACCOUNT`, `supply`, `minters`.

Promises conservation: the sum of all balances is the recorded supply after every transaction. No
transaction reads more than two accounts and the supply, so no block needs a scan to check it;
`invariant` scans, for tests and `fsck`. No units can be created by overflow: the supply stays
below 2**63, and no balance exceeds the supply. It hides nothing: balances and memos are public.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from apps._arguments import BAD_ARGUMENTS, check_arguments
from apps.interface import AppClaims, Application, QueryRefused, ReadState, Rejected, State
from crypto.encoding import Codec, encode
from crypto.transaction import Argument, Count, Transaction

SUPPLY_MAX = 2**63 - 1
"""No supply, and so no balance and no amount, exceeds this."""

MEMO_BYTES_MAX = 256
"""Of a memo in UTF-8."""

ACCOUNT_BYTES_MAX = 4096
"""Of a public key; as long as a transaction allows."""

CLAIMS = AppClaims(
    purpose="accounts and transfers of one unit",
    invariant="the balances are positive and their sum is the recorded supply",
    cost="2 reads, 2 writes",
)

METHODS: Mapping[str, Sequence[type]] = {
    "transfer": (str, int),
    "transfer_with_memo": (str, int, str),
    "mint": (str, int),
    "burn": (int,),
}

QUERIES = "balance/ACCOUNT, supply, minters"

_BALANCE = b"balance/"
_SUPPLY = b"supply"
_ACCOUNT = re.compile(r"(?:[0-9a-f]{2})+")
_amounts: Codec[int] = Codec(Count, bytes_max=16)


@dataclass(frozen=True, slots=True)
class Options:
    """What the genesis file says. Raises `ValueError` on what cannot be."""

    balances: dict[str, int] = field(default_factory=dict)
    """Account -> units at height 0."""
    minters: tuple[str, ...] = ()
    """Accounts that may mint."""

    def __post_init__(self) -> None:
        for option, accounts in (("balances", self.balances), ("minters", self.minters)):
            for account in accounts:
                if not _is_account(account):
                    raise ValueError(
                        f"{option}: {account!r} is no public key in lower-case hexadecimal digits"
                    )
        for account, amount in self.balances.items():
            if not 1 <= amount <= SUPPLY_MAX:
                raise ValueError(f"balances: {account} must have 1 to {SUPPLY_MAX} units")
        if sum(self.balances.values()) > SUPPLY_MAX:
            raise ValueError(f"balances: together they exceed {SUPPLY_MAX}")


def create(options: Options) -> Application:
    """The application. Holds nothing but its rules; all it knows is in the state."""
    return _Payments(options)


class _Payments:
    def __init__(self, options: Options) -> None:
        self._balances = {bytes.fromhex(key): value for key, value in options.balances.items()}
        self._minters = frozenset(bytes.fromhex(account) for account in options.minters)

    def methods(self) -> Mapping[str, Sequence[type]]:
        return METHODS

    def initialise(self, state: State) -> None:
        for account, amount in sorted(self._balances.items()):
            _set_balance(state, account, amount)
        state.put(_SUPPLY, encode(sum(self._balances.values())))

    def check(self, transaction: Transaction) -> None:
        _checked(transaction)

    def execute(self, transaction: Transaction, state: State) -> bytes:
        to, amount = _checked(transaction)
        sender = transaction.sender
        match _method(transaction):
            case "transfer" | "transfer_with_memo":
                return _transfer(state, sender, to, amount)
            case "mint":
                if sender not in self._minters:
                    raise Rejected(
                        "not_minter", "only minters may mint; the query minters lists them"
                    )
                return _mint(state, to, amount)
            case "burn":
                return _burn(state, sender, amount)
        raise AssertionError(f"{transaction.method} passed the check and has no case")

    def query(self, path: Sequence[str], state: ReadState) -> object:
        match path:
            case ["balance", account]:
                if not _is_account(account):
                    raise QueryRefused("ACCOUNT is a public key in lower-case hexadecimal digits")
                return {"account": account, "balance": _balance(state, bytes.fromhex(account))}
            case ["supply"]:
                return {"supply": _supply(state)}
            case ["minters"]:
                return {"minters": sorted(account.hex() for account in self._minters)}
        raise QueryRefused(f"payments knows no such query; it answers: {QUERIES}")

    def invariant(self, state: ReadState) -> None:
        total = 0
        for key, raw in state.scan(b""):
            if key == _SUPPLY:
                continue
            assert key.startswith(_BALANCE), f"{key!r} is neither a balance nor the supply"
            assert len(key) > len(_BALANCE), "a balance of nobody"
            amount = _amounts.decode(raw)
            assert amount > 0, f"account {key[len(_BALANCE) :].hex()} is stored with nothing in it"
            total += amount
        supply = _supply(state)
        assert total == supply, f"the balances sum up to {total}, the supply is {supply}"


def _transfer(state: State, sender: bytes, to: bytes, amount: int) -> bytes:
    assert to != sender  # the check refuses it: the two writes would be to one account
    left = _debited(state, sender, amount)
    _set_balance(state, sender, left)
    _set_balance(state, to, _balance(state, to) + amount)
    return _digits(left)


def _mint(state: State, to: bytes, amount: int) -> bytes:
    supply = _supply(state) + amount
    if supply > SUPPLY_MAX:
        raise Rejected(
            "supply_limit", f"the supply would exceed {SUPPLY_MAX}; mint fewer, or burn some first"
        )
    _set_balance(state, to, _balance(state, to) + amount)
    state.put(_SUPPLY, encode(supply))
    return _digits(supply)


def _burn(state: State, sender: bytes, amount: int) -> bytes:
    left = _debited(state, sender, amount)
    _set_balance(state, sender, left)
    state.put(_SUPPLY, encode(_supply(state) - amount))
    return _digits(left)


def _debited(state: ReadState, account: bytes, amount: int) -> int:
    balance = _balance(state, account)
    if balance < amount:
        raise Rejected(
            "insufficient_balance", f"the sender has {balance} units, {amount} are needed"
        )
    return balance - amount


def _balance(state: ReadState, account: bytes) -> int:
    raw = state.get(_BALANCE + account)
    return 0 if raw is None else _amounts.decode(raw)


def _set_balance(state: State, account: bytes, amount: int) -> None:
    assert 0 <= amount <= SUPPLY_MAX, amount
    # Why None: an account that holds nothing costs nothing, and is not told from a new one.
    state.put(_BALANCE + account, encode(amount) if amount else None)


def _supply(state: ReadState) -> int:
    raw = state.get(_SUPPLY)
    assert raw is not None, "the supply is missing: the state was never initialised"
    return _amounts.decode(raw)


def _is_account(text: str) -> bool:
    return len(text) <= 2 * ACCOUNT_BYTES_MAX and _ACCOUNT.fullmatch(text) is not None


def _method(transaction: Transaction) -> str:
    return transaction.method.partition(".")[2]


def _checked(transaction: Transaction) -> tuple[bytes, int]:
    """The recipient (empty for `burn`) and the amount, or raise `Rejected`."""
    check_arguments(METHODS, transaction)
    method = _method(transaction)
    if method == "burn":
        return b"", _checked_amount(transaction.arguments[0])
    to, amount, *memo = transaction.arguments
    account = _checked_account(to, transaction.sender)
    if method != "mint" and account == transaction.sender:
        raise Rejected(BAD_ARGUMENTS, "TO is the sender's own account; name another one")
    if memo and len(str(memo[0]).encode()) > MEMO_BYTES_MAX:
        raise Rejected("too_long", f"a memo has at most {MEMO_BYTES_MAX} bytes in UTF-8")
    return account, _checked_amount(amount)


def _checked_account(to: Argument, sender: bytes) -> bytes:
    # Why the sender's length: keys of one network are of one scheme, so this finds cut-off keys,
    # to which units would be lost.
    text = str(to)
    if len(text) != 2 * len(sender) or not _is_account(text):
        raise Rejected(
            BAD_ARGUMENTS,
            f"TO is not a public key in {2 * len(sender)} lower-case hexadecimal digits",
        )
    return bytes.fromhex(text)


def _checked_amount(amount: Argument) -> int:
    if not isinstance(amount, int) or not 1 <= amount <= SUPPLY_MAX:
        raise Rejected(BAD_ARGUMENTS, f"AMOUNT is not a number from 1 to {SUPPLY_MAX}")
    return amount


def _digits(amount: int) -> bytes:
    return b"%d" % amount
