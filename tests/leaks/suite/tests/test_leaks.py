import pytest
from leaks import LEAKS, PROGRAMS


@pytest.mark.parametrize("leak", LEAKS, ids=lambda leak: leak.__name__)
def test_a_test_leaks(leak):
    leak()


@pytest.mark.parametrize("leak", [*LEAKS, *PROGRAMS], ids=lambda leak: leak.__name__)
def test_a_service_leaks(furnace, leak):
    leak()


def test_a_service_waits_for_its_burner(furnace):
    furnace.burn()
