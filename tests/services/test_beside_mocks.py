"""What tests replace by mocks does not reach what the kit does before and after them."""

import pytest
from helpers.drop_in import Repository
from helpers.echo import ECHO

pytestmark = pytest.mark.usefixtures("few_plugins")

MODULES = ["mqtt_test_broker", "shared_mqtt_pool", "concurrent_futures_fix"]

CONFTEST = """
    import pytest
    from unittest.mock import MagicMock
    from concurrent_futures_fix import fix_concurrent_futures
    from optimized_service_fixture import service_fixture
    from echo import Echo

    echo = service_fixture(Echo, cleanup="stop")
    patch = pytest.MonkeyPatch()

    def replace(target, kind):
        error = OSError("mocked") if kind == "raises" else None
        patch.setattr(target, MagicMock(side_effect=error))

    def pytest_runtest_logfinish():
        patch.undo()

    @pytest.fixture(autouse=True)
    def replaced_before_our_fixtures(request):
        target, kind, when = request.node.callspec.params.values()
        if when == "before":
            replace(target, kind)
"""

TEST = """
    import pytest
    from conftest import replace

    @pytest.mark.parametrize("target", {targets})
    @pytest.mark.parametrize("kind", ["mock", "raises"])
    @pytest.mark.parametrize("when", {when})
    def test_it(target, kind, when, echo, mqtt_client, mqtt_monitor, isolated_mqtt_broker):
        mqtt_client.publish("cmd", "on")
        mqtt_monitor.wait_for("state")
        if when == "meanwhile":
            replace(target, kind)
"""

ANYWHERE = """
    subprocess.Popen subprocess.run time.sleep time.monotonic time.time threading.Timer
    pathlib.Path.exists pathlib.Path.mkdir pathlib.Path.read_text pathlib.Path.write_text
    pathlib.Path.unlink pathlib.Path.stat pathlib.Path.touch pathlib.Path.open pathlib.Path.iterdir
    os.path.exists os.path.join os.path.isfile os.getpid os.kill os.killpg os.mkdir os.listdir
    os.unlink os.urandom os.dup os.access shutil.which shutil.rmtree tempfile.gettempdir
    tempfile.mkdtemp select.poll signal.signal queue.Queue queue.SimpleQueue socket.socketpair
    socket.gethostbyname builtins.open json.loads random.random atexit.register
""".split()

# paho needs these to connect; what ends its clients after a test does not.
OF_PAHO = """
    threading.Thread threading.Event threading.RLock socket.socket socket.create_connection
    socket.getaddrinfo os.environ.get
""".split()


@pytest.mark.parametrize(
    ("targets", "when"),
    [(ANYWHERE, "before"), (ANYWHERE, "meanwhile"), (OF_PAHO, "meanwhile")],
    ids=["before", "meanwhile", "of paho"],
)
def test_mocks_of_what_we_use_ourselves_do_not_reach_us(pytester, targets, when):
    repository = Repository(pytester, [*MODULES, "optimized_service_fixture"])
    repository.write("echo.py", ECHO)
    repository.write("tests/conftest.py", CONFTEST)
    repository.write("tests/test_it.py", TEST.format(targets=targets, when=[when]))
    repository.run("-q").assert_outcomes(passed=2 * len(targets))
