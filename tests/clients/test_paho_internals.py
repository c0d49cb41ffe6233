"""What is needed of paho's private names is there, or said in one error."""

import pytest
from mqtt_testing.clients import paho_internals
from mqtt_testing.clients.paho_internals import NEEDED_ATTRIBUTES, NEEDED_METHODS


@pytest.mark.parametrize("name", [*NEEDED_METHODS, *NEEDED_ATTRIBUTES])
def test_this_paho_has_what_is_needed_of_it(name):
    assert name not in paho_internals.missing_names()


@pytest.mark.parametrize("table", ["NEEDED_METHODS", "NEEDED_ATTRIBUTES"])
def test_a_paho_that_lacks_a_name_is_one_clear_error(monkeypatch, table):
    monkeypatch.setattr(paho_internals, table, ("_no_such_name",))
    with pytest.raises(RuntimeError, match=r"^paho-mqtt \S+ has no Client\._no_such_name: update"):
        paho_internals.check_paho()


def test_a_constructor_that_others_have_wrapped_does_not_matter(monkeypatch):
    initialise = paho_internals.RealClient.__init__
    monkeypatch.setattr(
        paho_internals.RealClient, "__init__", lambda *args, **kw: initialise(*args, **kw)
    )
    assert paho_internals.missing_names() == []
