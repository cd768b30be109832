import pytest

from testnet.network import Testnet


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Testnet:
    """A network of four that was made and never runs; not to be changed."""
    return Testnet.create(tmp_path_factory.mktemp("made") / "net", 4)
