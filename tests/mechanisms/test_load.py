"""From a name to a module, or to a refusal that says what to do."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from mechanisms.registry import FOLDERS, Kind, MechanismError, NotInstalled, create, load, names


@pytest.mark.parametrize("kind", list(Kind))
def test_every_mechanism_that_is_part_of_assay_loads(kind: Kind) -> None:
    for name in names(kind):
        try:
            mechanism = load(kind, name, lab=True)
        except NotInstalled:
            assert (kind, name) == (Kind.ENGINE, "leveldb")
            assert sys.version_info >= (3, 13)
            continue
        assert (mechanism.kind, mechanism.name) == (kind, name)
        assert mechanism.claims is not None


def test_a_loaded_mechanism_shows_its_parts(folder: Path, good: str) -> None:
    (folder / "chosen.py").write_text(good)
    mechanism = load(Kind.HASH, "chosen", lab=False)
    assert mechanism.claims == "promises nothing"
    assert mechanism.options_type.__name__ == "Options"
    assert mechanism.title == "hash function 'chosen'"
    assert mechanism.module.__name__ == f"{folder.name}.chosen"


def test_create_hands_in_the_options_and_the_parts(folder: Path, good: str) -> None:
    (folder / "chosen.py").write_text(good)
    made = create(Kind.HASH, "chosen", {"word": "x"}, 1, lab=False, size=2)
    assert made == ("x", (1,), {"size": 2})


def test_an_unknown_name_is_refused_with_the_choices(folder: Path, good: str) -> None:
    for name in ("ed25519", "ecdsa_p256"):
        (folder / f"{name}.py").write_text(good)
    with pytest.raises(MechanismError) as refusal:
        load(Kind.HASH, "ed2551", lab=False)
    assert str(refusal.value) == (
        "no hash function is called 'ed2551'. Did you mean ed25519?\nThere are: ecdsa_p256 ed25519"
    )


def test_a_guess_is_made_only_where_one_is_near() -> None:
    with pytest.raises(MechanismError) as refusal:
        load(Kind.HASH, "zzzzzz", lab=False)
    assert "Did you mean" not in str(refusal.value)
    assert "sha256" in str(refusal.value)


def test_a_lab_mechanism_needs_lab(folder: Path, good: str) -> None:
    (folder / "null_lab.py").write_text(good)
    with pytest.raises(MechanismError, match=r"insecure on purpose\. Set lab = true"):
        load(Kind.HASH, "null_lab", lab=False)
    assert f"{folder.name}.null_lab" not in sys.modules
    assert load(Kind.HASH, "null_lab", lab=True).name == "null_lab"


@pytest.mark.parametrize("part", ["CLAIMS", "Options", "create"])
def test_a_file_that_lacks_a_part_is_refused_by_its_name(
    folder: Path, good: str, part: str
) -> None:
    (folder / "half.py").write_text(f"{good}\ndel {part}\n")
    with pytest.raises(MechanismError, match=rf"\(made_up_\d+\.half\) defines no {part}$"):
        load(Kind.HASH, "half", lab=False)


def test_options_that_are_no_dataclass_are_refused(folder: Path, good: str) -> None:
    (folder / "plain.py").write_text(f"{good}\nclass Options: pass\n")
    with pytest.raises(MechanismError, match="Options is not a dataclass"):
        load(Kind.HASH, "plain", lab=False)


@pytest.mark.parametrize(
    ("imported", "installed"),
    [("no_such_package_at_all", "no_such_package_at_all"), ("nacl.no_such", "pynacl")],
)
def test_a_missing_package_is_named_with_the_command(
    folder: Path, good: str, imported: str, installed: str
) -> None:
    (folder / "needy.py").write_text(f"import {imported}\n{good}")
    with pytest.raises(NotInstalled) as refusal:
        load(Kind.HASH, "needy", lab=False)
    assert refusal.value.package == installed
    assert str(refusal.value) == (
        f"hash function 'needy' is not installed here: it needs the package {installed}.\n"
        f"Run: {sys.executable} -m pip install {installed}"
    )


def test_a_library_that_does_not_load_is_the_operators_to_mend(folder: Path) -> None:
    (folder / "broken.py").write_text("raise ImportError('libx.so is missing', name='x.core')\n")
    with pytest.raises(MechanismError, match=r"cannot be loaded: libx\.so is missing"):
        load(Kind.HASH, "broken", lab=False)


def test_a_wrong_import_of_our_own_is_not_blamed_on_the_operator(folder: Path) -> None:
    (folder / "wrong.py").write_text(f"import {folder.name}.missing\n")
    with pytest.raises(ModuleNotFoundError):
        load(Kind.HASH, "wrong", lab=False)


def test_an_allowed_foreign_mechanism_loads(distribution: Callable[..., str]) -> None:
    package = distribution("keccak")
    mechanism = load(Kind.HASH, "keccak", lab=False, allow=["keccak"])
    assert mechanism.module.__name__ == package
    assert create(Kind.HASH, "keccak", {}, lab=False, allow=["keccak"]) == ("hello", (), {})


def test_a_foreign_mechanism_that_is_not_allowed_is_named_and_not_imported(
    distribution: Callable[..., str],
) -> None:
    package = distribution("keccak")
    with pytest.raises(MechanismError, match=f"offered by the package {package}.*allowed by name"):
        load(Kind.HASH, "keccak", lab=True, allow=["other"])
    assert package not in sys.modules


def test_a_foreign_mechanism_needs_lab_like_ours(distribution: Callable[..., str]) -> None:
    distribution("keccak_lab")
    with pytest.raises(MechanismError, match="insecure on purpose"):
        load(Kind.HASH, "keccak_lab", lab=False, allow=["keccak_lab"])
    assert load(Kind.HASH, "keccak_lab", lab=True, allow=["keccak_lab"]).name == "keccak_lab"


def test_a_foreign_mechanism_never_takes_the_name_of_ours(distribution: Callable[..., str]) -> None:
    package = distribution("sha256")
    assert load(Kind.HASH, "sha256", lab=False).module.__name__ == f"{FOLDERS[Kind.HASH]}.sha256"
    with pytest.raises(MechanismError, match=f"the package {package} offers a second"):
        load(Kind.HASH, "sha256", lab=False, allow=["sha256"])
    assert package not in sys.modules


def test_two_packages_with_one_name_are_refused(distribution: Callable[..., str]) -> None:
    one, other = distribution("keccak"), distribution("keccak")
    with pytest.raises(MechanismError, match=f"{one} and the package {other}; uninstall all but"):
        load(Kind.HASH, "keccak", lab=False, allow=["keccak"])


def test_an_entry_point_must_name_a_module(distribution: Callable[..., str]) -> None:
    distribution("keccak", attribute=":create")
    with pytest.raises(MechanismError, match="must name a module"):
        load(Kind.HASH, "keccak", lab=False, allow=["keccak"])


def test_a_foreign_name_that_is_no_name_does_not_exist(distribution: Callable[..., str]) -> None:
    package = distribution("../keccak")
    with pytest.raises(MechanismError, match="no hash function is called"):
        load(Kind.HASH, "../keccak", lab=False, allow=["../keccak"])
    assert package not in sys.modules
