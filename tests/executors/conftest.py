import pytest
from helpers.drop_in import Repository, few_plugins


@pytest.fixture
def repository(pytester):
    """The module copied alone into a repository that has nothing else."""
    repository = Repository(pytester, ["concurrent_futures_fix"])
    wiring = "from concurrent_futures_fix import fix_concurrent_futures"
    return repository.write("tests/conftest.py", wiring)
