"""scripts/bench.py --scale, with a few tests."""

import pytest
from benchmark import scale
from mqtt_test_broker import TestMQTTBroker
from shared.commands import CannotRunError


@pytest.fixture
def url():
    with TestMQTTBroker() as broker:
        yield f"mqtt://127.0.0.1:{broker.port}"


def is_complete(figures, tests):
    return figures.tests == len(figures.overheads) == tests and figures.seconds > 0


@pytest.mark.slow
def test_workers_with_a_broker_each():
    assert is_complete(scale.measure_workers(2, 5), 5)


@pytest.mark.slow
def test_workers_on_one_broker(url):
    assert is_complete(scale.measure_workers(2, 5, url), 5)


@pytest.mark.slow
def test_runs_at_a_time_on_one_broker(url):
    assert is_complete(scale.measure_runs(2, 5, url), 10)


def test_one_that_fails_is_shown():
    with pytest.raises(CannotRunError, match="MQTT_TEST_BROKER_URL"):
        scale.measure_runs(1, 5, "mqtt://127.0.0.1:1")


@pytest.mark.slow
def test_the_tables(monkeypatch):
    monkeypatch.setattr(scale, "COUNTS", (1,))
    tables = scale.scale_tables(5)
    assert "| workers, 5 tests | whole run | tests a second | set-up plus tear-down |" in tables
    assert "| runs at a time, 5 tests each | whole run |" in tables
