import pytest
from helpers.drop_in import ALL_MODULES, Repository, few_plugins
from helpers.thermostat import THERMOSTAT, WIRING


@pytest.fixture
def repository(pytester):
    modules = [name for name in ALL_MODULES if not name.startswith("camera")]
    repository = Repository(pytester, modules)
    repository.write("thermostat.py", THERMOSTAT)
    return repository.write("tests/conftest.py", WIRING)
