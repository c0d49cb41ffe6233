import pytest
from helpers.verifying import Repo, no_settings_of_pytest


@pytest.fixture
def repo(tmp_path):
    return Repo(tmp_path)


@pytest.fixture
def in_process(monkeypatch):
    """The environment that the script gets from a `Repo`, for its functions to be called here."""
    no_settings_of_pytest(monkeypatch)
