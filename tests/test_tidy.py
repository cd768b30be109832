"""The style that no linter enforces. Each rule is shown, with an example, that it can fail."""

import ast
import importlib
import re
import subprocess
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TypeAlias

import pytest

from crypto import domains
from mechanisms.registry import FOLDERS, Kind, names

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = (
    "mechanisms", "crypto", "consensus", "p2p", "storage", "apps", "node", "testnet", "cli",
    "benchmarks", "simulation",
)  # fmt: skip
LINES_MAX = 400

LONG_FILES = {
    "cli/testnet.py": "one short function for each of a dozen commands, all in one table of help",
    "consensus/protocols/pbft.py": "the protocol in one place; messages and log are beside it",
    "consensus/protocols/pbft_mac.py": "as pbft.py; choice and vouching are beside it too",
    "consensus/protocols/raft.py": "as pbft.py; log and messages are beside it",
    "consensus/interface.py": "the contract: half of it is the duties, which are read as one page",
    "node/api/schemas.py": "a list of schemas, most of it examples for the OpenAPI page",
    "node/node.py": "the one place where peers, consensus and ledger meet, each in a few lines",
    "simulation/cluster.py": "the host's duties, one method for each, all over one shared state",
    "testnet/network.py": "one class with one method for each thing that is done to a network",
}
"""Files longer than 400 lines, each with the reason why they are not two."""

MAY_PRINT = {
    "benchmarks/verify_limit.py": "a program of its own that hands its figure to its parent",
}
MAY_RUN_THREADS = {
    "node/workers.py": "the one place for work off the event loop",
    "simulation/explore.py": "runs independent simulations on all cores, outside any node",
}

Finding: TypeAlias = str
Rule: TypeAlias = Callable[[str, str], Iterator[Finding]]
"""From the path (relative, with slashes) and the text of a file to what is wrong with it."""


# --- The files. ---------------------------------------------------------------------------------


@cache
def files() -> dict[str, str]:
    """Text files that are tracked, or would be if they were added now: path to text."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    texts = {}
    for name in sorted(set(listed.split("\0")) - {""}):
        path = ROOT / name
        if path.is_file():
            try:
                texts[name] = path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue
    return texts


def is_code(path: str) -> bool:
    return path.endswith(".py") and path.partition("/")[0] in PACKAGES


def is_document(path: str) -> bool:
    return path.endswith(".md")


@cache
def tree(text: str) -> ast.Module:
    return ast.parse(text)


# --- The rules. ---------------------------------------------------------------------------------


def nothing_is_left_to_do(path: str, text: str) -> Iterator[Finding]:
    words = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X")) + r")\b")
    for number, line in enumerate(text.splitlines(), 1):
        if words.search(line):
            yield f"line {number}: open an issue, or do it"


def no_path_of_one_machine(path: str, text: str) -> Iterator[Finding]:
    if path == "requirements.lock":
        return
    places = [re.escape(f"/{name}/") for name in ("root", "work", "Users", "home")]
    pattern = re.compile(rf"(?<![\w.:/-])({'|'.join(places)}|{re.escape(str(ROOT))}\b)")
    for number, line in enumerate(text.splitlines(), 1):
        if pattern.search(line):
            yield f"line {number}: an absolute path of somebody's machine"


def a_document_has_one_title(path: str, text: str) -> Iterator[Finding]:
    if not is_document(path):
        return
    titles = [line for line in outside_of_blocks(text) if line.startswith("# ")]
    if len(titles) != 1:
        yield f"{len(titles)} headings of the first level, expected 1"
    if not text.lstrip().startswith("# "):
        yield "does not begin with its title"


def commands_are_well_formed(path: str, text: str) -> Iterator[Finding]:
    """A block of commands begins with `$ `; its other lines are commands, or what they print."""
    if not is_document(path):
        return
    if len(re.findall(r"^ *```", text, re.M)) % 2:
        yield "a code block is not closed"
    for block in re.findall(r"^```console\n(.*?)^```$", text, re.M | re.S):
        lines = block.splitlines()
        if not lines or not lines[0].startswith("$ "):
            yield "a console block does not begin with `$ COMMAND`"
        for line in lines:
            if line.startswith("$") and not re.match(r"\$ \S", line):
                yield f"{line!r} is no command"
            if line.startswith(("> ", "# ")):
                yield f"{line!r}: a command is one line that begins with `$ `"


def a_long_file_has_a_reason(path: str, text: str) -> Iterator[Finding]:
    count = text.count("\n")
    if is_code(path) and count > LINES_MAX and path not in LONG_FILES:
        yield f"{count} lines: split it by nouns, or give a reason in LONG_FILES"


def only_the_command_line_prints(path: str, text: str) -> Iterator[Finding]:
    if not is_code(path) or path.startswith("cli/") or path in MAY_PRINT:
        return
    for node in ast.walk(tree(text)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "print":
            yield f"line {node.lineno}: prints"


def only_workers_leave_the_loop(path: str, text: str) -> Iterator[Finding]:
    if not is_code(path) or path.startswith("benchmarks/") or path in MAY_RUN_THREADS:
        return
    ways = {"run_in_executor", "to_thread", "ThreadPoolExecutor", "ProcessPoolExecutor"}
    for node in ast.walk(tree(text)):
        word = getattr(node, "attr", None) or getattr(node, "id", None)
        if isinstance(node, ast.Attribute | ast.Name) and word in ways:
            yield f"line {node.lineno}: {word}; use the injected Workers"


def a_package_says_nothing_itself(path: str, text: str) -> Iterator[Finding]:
    if not is_code(path) or not path.endswith("__init__.py"):
        return
    for node in tree(text).body:
        if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            yield "a package imports and defines nothing: importing one file must not cost others"


def an_ignored_type_error_has_a_reason(path: str, text: str) -> Iterator[Finding]:
    if not is_code(path):
        return
    for number, line in enumerate(text.splitlines(), 1):
        mark = "# type: " + "ignore"
        if mark in line and not re.search(re.escape(mark) + r"\[[a-z-]+\]  # \S", line):
            yield f"line {number}: {mark} needs a code and a reason"


def a_domain_is_in_the_table(path: str, text: str) -> Iterator[Finding]:
    if not is_code(path) or path == "crypto/domains.py":
        return
    for node in ast.walk(tree(text)):
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "Domain":
            yield f"line {node.lineno}: domains are made in crypto/domains.py"


def a_mechanism_has_all_its_parts(path: str, text: str) -> Iterator[Finding]:
    if path not in mechanism_files():
        return
    module = tree(text)
    docstring = ast.get_docstring(module) or ""
    claims = assigned(module, "CLAIMS")
    if not docstring:
        yield "no docstring"
    if claims is None:
        yield "no CLAIMS"
    sourced = "Source:" in docstring or (claims and "source=" in ast.unparse(claims))
    if not sourced and not path.startswith("apps/"):  # an application is our own idea
        yield "no source: a line `Source:` in the docstring, or `source` in CLAIMS"
    options = [n for n in module.body if isinstance(n, ast.ClassDef) and n.name == "Options"]
    if not options:
        yield "no class Options"
    elif not any("frozen=True" in ast.unparse(each) for each in options[0].decorator_list):
        yield "Options is not a frozen dataclass"
    if not any(isinstance(n, ast.FunctionDef) and n.name == "create" for n in module.body):
        yield "no function create"


RULES: tuple[Rule, ...] = (
    nothing_is_left_to_do,
    no_path_of_one_machine,
    a_document_has_one_title,
    commands_are_well_formed,
    a_long_file_has_a_reason,
    only_the_command_line_prints,
    only_workers_leave_the_loop,
    a_package_says_nothing_itself,
    an_ignored_type_error_has_a_reason,
    a_domain_is_in_the_table,
    a_mechanism_has_all_its_parts,
)

EXAMPLES: tuple[tuple[Rule, str, str], ...] = (
    (nothing_is_left_to_do, "node/x.py", "# TO" + "DO: think\n"),
    (no_path_of_one_machine, "README.md", "run /ro" + "ot/assay\n"),
    (no_path_of_one_machine, "node/x.py", f'HERE = "{ROOT}"\n'),
    (a_document_has_one_title, "docs/x.md", "# One\n\n# Two\n"),
    (a_document_has_one_title, "docs/x.md", "## No title\n"),
    (a_document_has_one_title, "docs/x.md", "text\n\n# Too late\n"),
    (commands_are_well_formed, "x.md", "# X\n```console\nmake\n```\n"),
    (commands_are_well_formed, "x.md", "# X\n```console\n```\n"),
    (commands_are_well_formed, "x.md", "# X\n```console\n$ make\n"),
    (commands_are_well_formed, "x.md", "# X\n```console\n$ make\n$make\n```\n"),
    (commands_are_well_formed, "x.md", "# X\n```console\n$ make \\\n> all\n```\n"),
    (a_long_file_has_a_reason, "node/x.py", "x = 1\n" * (LINES_MAX + 1)),
    (only_the_command_line_prints, "node/x.py", "def f():\n    print(1)\n"),
    (only_workers_leave_the_loop, "node/x.py", "loop.run_in_executor(None, f)\n"),
    (only_workers_leave_the_loop, "node/x.py", "pool = ThreadPoolExecutor()\n"),
    (only_workers_leave_the_loop, "node/x.py", "await asyncio.to_thread(f)\n"),
    (a_package_says_nothing_itself, "node/__init__.py", "import os\n"),
    (an_ignored_type_error_has_a_reason, "node/x.py", "x = f()  # type: " + "ignore[arg-type]\n"),
    (an_ignored_type_error_has_a_reason, "node/x.py", "x = f()  # type: " + "ignore  # why\n"),
    (a_domain_is_in_the_table, "node/x.py", 'PAID = domains.Domain("paid")\n'),
    (a_mechanism_has_all_its_parts, "crypto/hashes/sha256.py", "x = 1\n"),
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_file_keeps_the_rule(rule: Rule) -> None:
    found = [f"{path}: {what}" for path, text in files().items() for what in rule(path, text)]
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize(("rule", "path", "text"), EXAMPLES)
def test_the_rule_finds_its_example(rule: Rule, path: str, text: str) -> None:
    assert list(rule(path, text))


def test_every_rule_has_an_example() -> None:
    assert {rule for rule, _, _ in EXAMPLES} == set(RULES)


@pytest.mark.parametrize(
    ("part", "instead"),
    [
        ("CLAIMS = ", "OTHER = "),
        ("class Options", "class Other"),
        ("def create", "def other"),
        ("source=", "other="),
        ("frozen=True, ", ""),
        ('"""SHA', '# """SHA'),
    ],
)
def test_each_part_of_a_mechanism_is_missed(part: str, instead: str) -> None:
    path = "crypto/hashes/sha256.py"
    text = files()[path]
    assert not list(a_mechanism_has_all_its_parts(path, text))
    assert list(a_mechanism_has_all_its_parts(path, text.replace(part, instead)))


# --- What concerns more than one file. ----------------------------------------------------------


def test_there_are_files_and_mechanisms_to_look_at() -> None:
    assert sum(map(is_code, files())) > 50
    assert {"crypto/hashes/sha256.py", "storage/engines/leveldb.py"} <= mechanism_files()


@pytest.mark.parametrize("package", PACKAGES)
def test_our_own_folder_is_the_one_that_is_imported(package: str) -> None:
    module = importlib.import_module(package)
    assert module.__file__ is not None
    assert Path(module.__file__).resolve() == ROOT / package / "__init__.py"


def test_every_folder_of_code_is_a_package_and_no_folder_of_tests_is() -> None:
    for path in files():
        folder = Path(path).parent
        if is_code(path):
            assert (ROOT / folder / "__init__.py").exists(), folder
        if path.startswith("tests/"):
            assert folder.name == "data" or not path.endswith("__init__.py"), path


def test_no_two_domains_are_equal_and_none_looks_like_one_of_consensus() -> None:
    assert len(set(domains.FIXED)) == len(domains.FIXED)
    made = re.findall(r"^[A-Z_]+ = Domain\(", files()["crypto/domains.py"], re.M)
    assert len(made) == len(domains.FIXED)
    assert not [each for each in domains.FIXED if each.startswith(domains.consensus("p", "x")[:9])]


def test_no_two_files_use_one_marker_for_what_they_hash_or_bind() -> None:
    seen: dict[bytes, str] = {}
    for path in filter(is_code, files()):
        for node in ast.walk(tree(files()[path])):
            value = node.value if isinstance(node, ast.Constant) else None
            if isinstance(value, bytes) and value.startswith(b"assay"):
                assert seen.setdefault(value, path) == path, f"{value!r}: {path}, {seen[value]}"
    assert len(seen) > 1


@pytest.mark.parametrize("table", [LONG_FILES, MAY_PRINT, MAY_RUN_THREADS])
def test_an_exception_that_is_no_longer_needed_is_removed(table: dict[str, str]) -> None:
    for path, reason in table.items():
        assert path in files(), f"{path} is gone"
        assert len(reason.split()) > 3, f"{path}: say why"
        if table is LONG_FILES:
            assert files()[path].count("\n") > LINES_MAX, f"{path} is short enough now"


# --- Helpers. -----------------------------------------------------------------------------------


@cache
def mechanism_files() -> frozenset[str]:
    return frozenset(
        f"{FOLDERS[kind].replace('.', '/')}/{name}.py" for kind in Kind for name in names(kind)
    )


def assigned(module: ast.Module, name: str) -> ast.expr | None:
    for node in module.body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if isinstance(node, ast.AnnAssign) and node.value is not None:
            targets = [node.target]
        if any(isinstance(each, ast.Name) and each.id == name for each in targets):
            assert isinstance(node, ast.Assign | ast.AnnAssign)
            return node.value
    return None


def outside_of_blocks(text: str) -> list[str]:
    return re.sub(r"^ *```.*?^ *```$", "", text, flags=re.M | re.S).splitlines()
