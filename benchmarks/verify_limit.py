"""What signature checking alone would allow on these cores, measured in the same run.

One process per core, each checking the run's own transactions in chunks as large as a node's,
with the network's own scheme. The limit is cores x verifications per second / replicas.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import cores
from benchmarks.figures import NothingMeasured
from crypto.genesis import digest, from_json
from crypto.transaction import signed_transactions, transaction_claim, transaction_id
from testnet.chosen import client_scheme, hash_of
from testnet.process import ROOT

CHUNK = 64
"""As `node.ingress.CHUNK`; a test keeps them equal."""

SAMPLE = 1024
"""So many different transactions are checked over and over."""

SLACK_S = 30.0


@dataclass(frozen=True, slots=True)
class Rate:
    """One core, measured once."""

    per_s: float
    """Verifications in a second."""
    core_share: float
    """How much of the core the measuring process got; well below 1: somebody else was there."""

    @property
    def cpu_us(self) -> float:
        """Processor time of one verification."""
        return 1e6 * self.core_share / self.per_s


def measure(
    genesis: Path, raws: Sequence[bytes], on_cores: Sequence[int], seconds: float
) -> list[Rate]:
    """The rate of each core, all at the same time.

    Raises `NothingMeasured` if a measuring process fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        sample = Path(folder) / "sample.json"
        sample.write_text(json.dumps([raw.hex() for raw in raws[:SAMPLE]]), encoding="utf-8")
        children = [_child(genesis, sample, core, seconds) for core in on_cores]
        try:
            for child in children:
                _line(child)  # has loaded everything
            for child in children:
                assert child.stdin is not None
                child.stdin.write("go\n")
                child.stdin.flush()
            return [Rate(*map(float, _line(child).split())) for child in children]
        finally:
            for child in children:
                child.kill()
                child.communicate()


def _child(genesis: Path, sample: Path, core: int, seconds: float) -> "subprocess.Popen[str]":
    words = [str(genesis), str(sample), str(core), str(seconds)]
    return subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-m", "benchmarks.verify_limit", *words],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _line(child: "subprocess.Popen[str]") -> str:
    assert child.stdout is not None
    line = child.stdout.readline()
    if not line:
        raise NothingMeasured("the process that measures signature checking failed; see above")
    return line


def main(words: Sequence[str]) -> None:
    """Prints `ready`, waits for a line, checks for the time given, prints the rate."""
    genesis_file, sample, core, seconds = words
    cores.hold([int(core)])
    genesis = from_json(Path(genesis_file).read_bytes())
    scheme, hash_, network = client_scheme(genesis), hash_of(genesis), digest(genesis)
    claims = []
    for text in json.loads(Path(sample).read_text(encoding="utf-8")):
        signed = signed_transactions.decode(bytes.fromhex(text))
        claims.append(transaction_claim(signed, transaction_id(signed.transaction, hash_), network))
    chunks = [claims[start : start + CHUNK] for start in range(0, len(claims), CHUNK)]
    if not all(all(scheme.verify_batch(chunk)) for chunk in chunks):
        raise NothingMeasured("a transaction of the workload has a bad signature")
    print("ready", flush=True)
    sys.stdin.readline()
    count, position = 0, 0
    began, used = time.perf_counter(), time.process_time()
    while (elapsed := time.perf_counter() - began) < float(seconds):
        scheme.verify_batch(chunks[position])
        count += len(chunks[position])
        position = (position + 1) % len(chunks)
    print(count / elapsed, (time.process_time() - used) / elapsed, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
