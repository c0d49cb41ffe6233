"""What neighbours do to us, done by a few lines of that kind in the place of the neighbour."""

import pytest
from helpers.drop_in import ALL_MODULES, Repository

pytestmark = pytest.mark.usefixtures("few_plugins")

IMPORTS = """
    from optimized_service_fixture import service_fixture
    from mqtt_test_broker import isolated_mqtt_broker
    from shared_mqtt_pool import mqtt_client
"""

SENDS = """
    def test_sends(mqtt_client, mqtt_monitor):
        mqtt_client.publish("status", "on")
        mqtt_monitor.wait_for("status")
"""


@pytest.fixture
def repository(pytester):
    repository = Repository(pytester, ALL_MODULES)
    repository.write("tests/conftest.py", IMPORTS)
    return repository.write("tests/test_it.py", SENDS)


def test_a_plugin_that_tries_a_test_again_inside_of_its_report(repository):
    """As pytest-retry: the second try is set up and run before the first one has been logged."""
    repository.write(
        "retry.py",
        """
        import pytest

        @pytest.hookimpl(hookwrapper=True, tryfirst=True)
        def pytest_runtest_makereport(item, call):
            report = (yield).get_result()
            if report.when == "call" and report.failed:
                item.ihook.pytest_runtest_teardown(item=item, nextitem=None)
                item._initrequest()
                item.ihook.pytest_runtest_setup(item=item)
                item.ihook.pytest_runtest_call(item=item)
                report.outcome = "passed"
        """,
    )
    repository.write(
        "tests/test_it.py",
        """
        tries = []

        def test_twice(mqtt_client, mqtt_monitor, test_mqtt_broker):
            tries.append(1)
            if len(tries) == 1:
                test_mqtt_broker.kill()
                raise AssertionError
            mqtt_client.publish("status", "on")
            mqtt_monitor.wait_for("status")
        """,
    )
    repository.run("-p", "retry").assert_outcomes(passed=1)
