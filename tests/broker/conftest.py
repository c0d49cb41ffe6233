import pytest
from helpers.drop_in import few_plugins
from mqtt_test_broker import TestMQTTBroker


@pytest.fixture
def broker():
    with TestMQTTBroker() as broker:
        yield broker


@pytest.fixture
def temporary_folder(tmp_path, monkeypatch):
    """Where the brokers of a test make their folders, so that leftovers are seen."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder
