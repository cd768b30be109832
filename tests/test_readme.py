"""The README says what is true: its table is generated, its example is run, its links exist.

`make docs` writes the generated part again (it runs this file as a program).
"""

import hashlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import crypto.hashes
from crypto.genesis import Genesis
from crypto.interface import DIGEST_BYTES
from mechanisms.registry import FOLDERS, TITLES, Kind, create, load, names
from node.config import NodeConfig
from testnet.generate import KINDS
from testnet.settings import APPLICATIONS, SHORT

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
BEGIN = "<!-- mechanisms:begin (made by `make docs`) -->\n"
END = "<!-- mechanisms:end -->"

CHOSEN: dict[Kind, tuple[str, ...]] = {
    Kind.CONSENSUS: ("consensus",),
    Kind.LEADER: ("leader",),
    Kind.SIGNATURE: ("validator_signature", "client_signature"),
    Kind.HASH: ("hash",),
    Kind.CHANNEL: ("channel",),
    Kind.TRANSPORT: ("transport",),
    Kind.ENGINE: ("engine",),
    Kind.COMMITMENT: ("commitment",),
    Kind.KEY_STORE: ("keys.store",),
    Kind.APPLICATION: (APPLICATIONS,),
}
"""In the order of the table: the settings that choose a mechanism of each kind."""


def table() -> str:
    lines = ["| part | there are | chosen by | a file in |", "| --- | --- | --- | --- |"]
    for kind, settings in CHOSEN.items():
        there_are = ", ".join(f"`{name}`" for name in names(kind))
        chosen = ", ".join(f"`{setting}`" for setting in settings)
        folder = FOLDERS[kind].replace(".", "/")
        lines.append(f"| {TITLES[kind]} | {there_are} | {chosen} | `{folder}/` |")
    return "\n".join(lines) + "\n"


def split(text: str) -> tuple[str, str, str]:
    before, rest = text.split(BEGIN)
    between, after = rest.split(END)
    return before + BEGIN, between, END + after


def rewrite() -> None:
    before, _, after = split(README.read_text(encoding="utf-8"))
    README.write_text(before + table() + after, encoding="utf-8")


def test_the_table_of_mechanisms_is_what_the_registry_has() -> None:
    _, between, _ = split(README.read_text(encoding="utf-8"))
    assert between == table(), "run: make docs"


def test_every_kind_is_in_the_table_with_settings_that_exist() -> None:
    assert set(CHOSEN) == set(Kind)
    assert {key for key in KINDS if key in sum(CHOSEN.values(), ())} == set(KINDS)
    for kind, settings in CHOSEN.items():
        for setting in settings:
            assert is_a_setting(kind, setting), setting


def is_a_setting(kind: Kind, setting: str) -> bool:
    if setting in KINDS:
        return KINDS[setting] is kind
    if setting == APPLICATIONS:
        return setting in Genesis.__struct_fields__
    section, _, field = SHORT.get(setting, setting).partition(".")
    return hasattr(getattr(NodeConfig(name="v1"), section), field)


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The README's mechanism, as a file in the folder of hashes; its text."""
    text = README.read_text(encoding="utf-8")
    found = re.search(r"`crypto/hashes/(\w+)\.py`:\n\n```python\n(.*?)^```$", text, re.M | re.S)
    assert found is not None
    assert found[1] == "sha3_256"
    (tmp_path / f"{found[1]}.py").write_text(found[2], encoding="utf-8")
    monkeypatch.setattr(crypto.hashes, "__path__", [*crypto.hashes.__path__, str(tmp_path)])
    yield found[2]
    sys.modules.pop(f"crypto.hashes.{found[1]}", None)
    if hasattr(crypto.hashes, found[1]):
        delattr(crypto.hashes, found[1])


@pytest.mark.usefixtures("example")
def test_the_mechanism_in_the_readme_works_as_it_stands() -> None:
    assert "sha3_256" in names(Kind.HASH)
    digest = create(Kind.HASH, "sha3_256", {}, lab=False).digest(b"assay")
    assert digest == hashlib.sha3_256(b"assay").digest()
    claims = load(Kind.HASH, "sha3_256", lab=False).claims
    assert claims.output_bytes == len(digest) == DIGEST_BYTES


def test_the_mechanism_in_the_readme_keeps_our_style(example: str) -> None:
    ruff = Path(sys.executable).with_name("ruff")
    for command in (["check"], ["format", "--check"]):
        # Under this name the settings of the folder apply; the file need not exist.
        name = ["--stdin-filename", "crypto/hashes/sha3_256.py", "-"]
        done = subprocess.run(
            [ruff, *command, *name],
            cwd=ROOT,
            input=example,
            text=True,
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_mechanism_in_the_readme_is_not_one_that_exists() -> None:
    assert "sha3_256" not in names(Kind.HASH)


@pytest.mark.parametrize(
    "document", [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")], ids=lambda path: path.name
)
def test_links_to_our_own_files_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", document.read_text(encoding="utf-8")):
        if not target.startswith(("http://", "https://", "mailto:")):
            assert (document.parent / target).exists(), target


if __name__ == "__main__":
    rewrite()
