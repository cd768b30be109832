"""From words on a command line to a signed transaction."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from apps.interface import Application
from cli.output import ExitCode, Stop
from crypto.genesis import Genesis, digest, from_json
from crypto.transaction import NONCE_MAX, Argument
from mechanisms.registry import Kind
from testnet.chosen import make
from testnet.client import Client
from testnet.network import Testnet
from testnet.wallet import LIFETIME, Signed, Wallet

Signer = Callable[[Client, int | None, int | None], Signed]


def signed_call(of: tuple[Genesis, Wallet], method: str, words: Sequence[str]) -> Signer:
    """Checks all that can be checked without a node; then signs for the node it is given."""
    genesis, wallet = of
    arguments = arguments_of(genesis, method, words)

    def sign(client: Client, nonce: int | None, expiry: int | None) -> Signed:
        if nonce is not None and nonce > NONCE_MAX:
            raise _wrong(f"--nonce {nonce}: at most {NONCE_MAX}")
        status = client.status()
        if status["genesis"] != digest(genesis).hex():
            raise _wrong(
                f"{client.base_url} is a node of another network ({status['chain']}) than the "
                f"genesis file's ({genesis.chain}); nothing was sent"
            )
        lifetime = min(LIFETIME, genesis.limits.transaction_lifetime_max)
        last = int(status["height"]) + lifetime if expiry is None else expiry
        return wallet.sign(method, *arguments, expiry=last, nonce=nonce)

    return sign


def arguments_of(genesis: Genesis, method: str, words: Sequence[str]) -> tuple[Argument, ...]:
    """The words as the method takes them. Raises `Stop` (2), naming what there is."""
    name, dot, function = method.partition(".")
    known = {each.name: each for each in genesis.applications}
    if not dot or name not in known:
        example = f"{next(iter(known), 'kv')}.…"
        raise _wrong(
            f"{method!r}: write APP.METHOD, as in {example}; the applications of this network "
            f"are {' '.join(known)}"
        )
    application: Application = make(Kind.APPLICATION, known[name], lab=genesis.lab)
    methods = application.methods()
    if function not in methods:
        raise _wrong(f"{name} has no method {function!r}; there are {_listed(name, methods)}")
    kinds = methods[function]
    if len(words) != len(kinds):
        raise _wrong(f"{len(words)} arguments; write {_usage(name, function, kinds)}")
    return tuple(_argument(word, kind, method) for word, kind in zip(words, kinds, strict=True))


def wallet_for(
    directory: Path | None,
    url: str | None,
    key: Path | None,
    genesis_file: Path | None,
    password: bytes | None,
) -> tuple[Genesis, Wallet]:
    """Who signs, and for which network: the key that is named, or the first of the network."""
    if (directory is None) == (url is None):
        raise _wrong("give either --dir DIR or --url URL")
    if directory is not None:
        network = Testnet(directory)
        genesis = from_json((genesis_file or network.genesis_file).read_bytes())
        return genesis, network.wallet() if key is None else Wallet.of(genesis, key, password)
    if key is None or genesis_file is None:
        # Asking the node what to sign for would let it choose the network.
        raise _wrong("with --url, name the client's key (--key) and the genesis (--genesis) too")
    genesis = from_json(genesis_file.read_bytes())
    return genesis, Wallet.of(genesis, key, password)


def _argument(word: str, kind: type, method: str) -> Argument:
    if kind is str:
        return word
    if word.isascii() and word.isdigit() and int(word) <= NONCE_MAX:
        return int(word)
    raise _wrong(f"{word!r}: {method} takes a whole number from 0 to {NONCE_MAX} there")


def _listed(name: str, methods: Mapping[str, Sequence[type]]) -> str:
    return ", ".join(_usage(name, function, kinds) for function, kinds in methods.items())


def _usage(name: str, function: str, kinds: Sequence[type]) -> str:
    words = ["NUMBER" if kind is int else "TEXT" for kind in kinds]
    return " ".join([f"{name}.{function}", *words])


def _wrong(text: str) -> Stop:
    return Stop(text, ExitCode.WRONG_USE, word="wrong_use")
