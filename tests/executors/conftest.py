import pytest
from helpers.drop_in import Repository, few_plugins


@pytest.fixture
def repository(pytester):
    """The module copied alone into a repository that has nothing else.

    How Python ends is the point, so each run is one from beginning to end.
    """
    repository = Repository(pytester, ["concurrent_futures_fix"], warm=False)
    wiring = "from concurrent_futures_fix import fix_concurrent_futures"
    return repository.write("tests/conftest.py", wiring)
