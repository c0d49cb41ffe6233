"""The addresses that `migrate.py apply` leads to our broker: those of the suite and its service."""

from pathlib import Path

import pytest
from helpers.migrating_user import collected, conftest_after
from migration.findings.connections import Addresses, Connections, as_call
from migration.findings.suite import Suite
from migration.house_style import HouseStyle
from migration.service.writing import service_option
from migration.wiring import planned_changes, wired_options

HEAD = "import os, socket, sqlite3, pytest\nimport paho.mqtt.client as mqtt\n"
CALL = "redirect_to_test_broker({})"


def found_in(user, **files):
    """The hosts and ports that are found; each file is imported by a test."""
    (user.root / "service.py").unlink(missing_ok=True)
    for name, text in files.items():
        user.write(f"{name.replace('__', '/')}.py", text)
    addresses = Connections(Suite(user.root, Path("tests"))).addresses()
    return set(addresses.hosts), set(addresses.ports)


CONNECTIONS = {
    "written out": 'def go(c): c.connect("a.example", 1884)',
    "by keywords": 'def go(c): c.connect_async(port=1884, host="a.example")',
    "constants": 'H, P = "a.example", 1884\ndef go(c): c.connect(H, P)',
    "defaults of parameters": 'def go(c, host="a.example", *, port=1884): c.connect(host, port)',
    "arguments": 'def go(c, host, port): c.connect(host, port)\ngo(0, "a.example", port=1884)',
    "attributes": """class S:
    PORT = 1884
    def __init__(self, host="a.example"): self.host = host
    def go(self): self.c.connect(self.host, self.PORT)""",
    "of the constructor": """class S:
    def __init__(self, host, port): self.at = host; self.port = port
    def go(self): self.c.connect(self.at, self.port)
S("a.example", port=1884)""",
    "a record": """class Config:
    at: str = "a.example"
    number: int
class S:
    def __init__(self, config): self.config = config
    def go(self): self.c.connect(self.config.at, self.config.number)
S(Config(number=1884))""",
    "a dict": 'C = {"h": "a.example", "p": 1884}\ndef go(c): c.connect(C["h"], C.get("p", 1884))',
    "the environment": """def go(c):
    host = os.environ.get("H") or os.getenv("I", "a.example")
    c.connect(host, int(os.environ.get("P", "1884")))""",
    "a choice": 'def go(c): c.connect("localhost" if c else "a.example", 1884)',
    "unpacked": 'C = {"host": "a.example", "port": 1884}\ndef go(c): c.connect(**C)',
    "at once": 'import paho.mqtt.publish as p\np.single("t", hostname="a.example", port=1884)',
    "of aiomqtt": 'import aiomqtt\naiomqtt.Client("a.example", port=1884)',
    "a URL": 'def go(c): c.connect("mqtt://user:secret@a.example:1884/")',
    "a loop": 'def go(c):\n    for h in ("a.example", "::1"): c.connect(h, 1884)',
    "settings": 'app["MQTT_BROKER_URL"] = "a.example"\napp["MQTT_BROKER_PORT"] = 1884',
    "options": """import argparse
parser = argparse.ArgumentParser()
parser.add_argument("--mqtt-host", default="a.example")
parser.add_argument("--mqtt-port", default=1884)""",
}


@pytest.mark.parametrize("text", CONNECTIONS.values(), ids=CONNECTIONS)
@pytest.mark.parametrize("place", ["tests__test_it", "doorbell__service"])
def test_hosts_and_ports_are_found(user, place, text):
    assert found_in(user, **{place: f"{HEAD}{text}\n"}) == ({"a.example"}, {1884})


def test_they_are_found_in_other_files(user):
    service = "import doorbell.settings\nfrom doorbell.settings import PORT\n"
    service += "def go(c): c.connect(doorbell.settings.AT, PORT)\n"
    files = {"doorbell__service": HEAD + service, "doorbell____init__": ""}
    settings = 'AT = "a.example"\nPORT = 1884\n'
    assert found_in(user, doorbell__settings=settings, **files) == ({"a.example"}, {1884})


def test_they_are_found_in_fixtures(user):
    fixture = "@pytest.fixture\ndef place(): return 1884\n"
    test = 'def test_a(place): mqtt.Client().connect("a.example", place)\n'
    assert found_in(user, tests__test_it=HEAD + fixture + test) == ({"a.example"}, {1884})


NOT_FOUND = {
    "of this machine": 'def go(c): c.connect("127.0.0.1", 1884)',
    "a socket": 'def go(c): c.connect(("a.example", 80)); c.connect("::1", 1884)',
    "of another module": 'sqlite3.connect("a.example", 7)\ndef go(c): c.connect("", 1884)',
    "where an error is wanted": """def go(c):
    with pytest.raises(OSError):
        c.connect("a.example", 1)
    c.connect("localhost", 1884)""",
    "of nobody": 'def go(c): c.connect("a.invalid", 1884); c.connect("192.0.2.1", 1884)',
    "of other servers": 'def go(c, host="a.example", port=80): c.connect("localhost", 1884)',
    "what is expected": """def test_a(c):
    assert c.mqtt_host == "a.example"
    c.connect.assert_called_with("a.example", 7)
    c.connect("localhost", 1884)""",
    "of a built-in function": """class C:
    def open(self, host, port): self.c.connect(port, 1884)
open("a.example", "a.example")""",
    "no port": 'def go(c, mqtt_port=0): c.connect("localhost", 1884, 60)',
    "what starts a broker": """import subprocess
PORT = 1885
def go(c):
    subprocess.Popen(["mosquitto", "-p", str(PORT)])
    subprocess.Popen("mosquitto -p 1886", shell=True)
    c.connect("localhost", PORT)
    c.connect("localhost", 1886)
    c.connect("localhost", 1884)""",
}


@pytest.mark.parametrize("text", NOT_FOUND.values(), ids=NOT_FOUND)
def test_what_leads_to_no_broker_of_another_machine_is_not_found(user, text):
    assert found_in(user, tests__test_it=f"{HEAD}{text}\n") == (set(), {1884})


@pytest.mark.parametrize(
    ("hosts", "ports", "arguments"),
    [
        ([], [], ""),
        ([], [1883], ""),
        ([], [8883, 1884], "1884, 8883"),
        (["b", "a"], [1883], 'hosts=["a", "b", *LOOPBACK_HOSTS]'),
        (["a"], [1884], '1884, hosts=["a", *LOOPBACK_HOSTS]'),
        (
            ["a" * 40],
            [1883, 1884],
            f"""\n    1883,\n    1884,\n    hosts=["{"a" * 40}", *LOOPBACK_HOSTS],\n""",
        ),
        (
            ["a" * 40, "b" * 40],
            [1883],
            f'\n    hosts=[\n        "{"a" * 40}",\n        "{"b" * 40}",\n'
            "        *LOOPBACK_HOSTS,\n    ]\n",
        ),
    ],
)
def test_how_the_call_is_written(user, hosts, ports, arguments):
    call = as_call(Addresses(frozenset(hosts), frozenset(ports)))
    written = HouseStyle(user.root).fitted(call)
    assert written.rstrip() == CALL.format(arguments)


def test_option_3_writes_the_default_where_only_that_is_found(user):
    user.write("tests/test_it.py", f'{HEAD}def test_a(c): c.connect("localhost")\n')
    assert conftest_after(user, 3) == (
        b"import pytest\n"
        b"from mqtt_test_broker import session_mqtt_broker  # noqa: F401\n"
        b"from shared_mqtt_pool import (  # noqa: F401\n"
        b"    prompt_mqtt_clients,\n    redirect_to_test_broker,\n)\n\n"
        b"redirect_to_test_broker()\n\n\n"
        b'@pytest.fixture(scope="session", autouse=True)\n'
        b"def every_client(prompt_mqtt_clients):  # noqa: F811\n"
        b'    """End network loops at once, and the clients that tests leave running."""\n'
    )


def test_the_call_stands_above_what_connects_in_conftest(user):
    connects = 'CLIENT = mqtt.Client()\nCLIENT.connect("a.example", 1884)\n'
    user.write("service.py", "")
    user.write("tests/conftest.py", f"import paho.mqtt.client as mqtt\n\n{connects}")
    user.wire(3)
    text = user.read("tests/conftest.py")
    call = CALL.format('1884, hosts=["a.example", *LOOPBACK_HOSTS]')
    assert text.index("LOOPBACK_HOSTS,") < text.index(call) < text.index("CLIENT =")
    assert wired_options(user.repository) == [3]
    user.write("tests/conftest.py", text.replace(call, ""))
    assert wired_options(user.repository) == []
    user.wire(3)
    assert user.read("tests/conftest.py").count(call) == 1


GATEWAY = """
import unittest
import paho.mqtt.client as mqtt


class GatewayTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        cls.client.connect("gateway.example.org", HARD_PORT)

    def test_it_is_connected(self):
        self.assertEqual(self.client.socket().getpeername()[0], "127.0.0.1")

    @classmethod
    def tearDownClass(cls):
        cls.client.disconnect()
"""


@pytest.mark.slow
@pytest.mark.parametrize("import_mode", ["prepend", "importlib"])
def test_what_option_3_writes_leads_clients_to_the_broker_of_the_session(
    user, hard_port, import_mode
):
    (user.root / "tests/test_detect.py").unlink()
    settings = f"[tool.pytest.ini_options]\naddopts = '--import-mode={import_mode}'\n"
    user.write("pyproject.toml", settings)
    user.write("tests/test_gateway.py", GATEWAY.replace("HARD_PORT", str(hard_port)))
    assert user.data("apply", "--option", "3")["proof"]["works"]
    assert user.data("apply", "--option", "3")["changes"] == []
    run = user.pytest()
    assert run.returncode == 0, run.stdout


SERVICE = """
import paho.mqtt.client as mqtt

class Service:
    def __init__(self): self.client = mqtt.Client(); self.client.connect("a.example", 1885)
    def close(self): pass
"""

SUITE = """
import subprocess
import pytest
from service import Service

@pytest.fixture
def broker():
    process = subprocess.Popen(["mosquitto", "-p", "1884"])
    yield process
    process.terminate()

@pytest.fixture
def thing(broker):
    service = Service()
    yield service
    service.close()
"""


def test_the_lines_for_a_service_lead_the_ports_of_brokers_that_they_replace(user):
    user.write("service.py", SERVICE)
    user.write("tests/conftest.py", SUITE)
    modules = {"thing": "conftest", "broker": "conftest"}

    def wire():
        option = service_option(user.repository, "service:Service", "thing", modules)
        changes = planned_changes(user.repository, option, collected(), user.state)
        user.state.make(changes)
        return [change.path.name for change in changes]

    wire()
    text = user.read("tests/conftest.py")
    assert CALL.format('1884, 1885, hosts=["a.example", *LOOPBACK_HOSTS]') in text
    assert "from shared_mqtt_pool import LOOPBACK_HOSTS, redirect_to_test_broker\n" in text
    assert "def fast_broker(session_mqtt_broker):" in text
    assert wire() == []


LED = """\
import pytest
from shared_mqtt_pool import prompt_mqtt_clients, redirected_mqtt_clients  # noqa: F401
{}

@pytest.fixture(scope="session", autouse=True)
def everywhere({}redirected_mqtt_clients):  # noqa: F811
    pass
"""
BROKER_LINE = "from mqtt_test_broker import session_mqtt_broker  # noqa: F401\n"


def test_a_suite_that_is_led_by_the_fixture_is_wired(user):
    user.write("tests/conftest.py", LED.format(BROKER_LINE, "prompt_mqtt_clients, "))
    user.wire(3)
    assert user.read("tests/conftest.py") == LED.format(BROKER_LINE, "prompt_mqtt_clients, ")
    assert wired_options(user.repository) == [3]
    assert user.migrate("apply", "--option", "3").stdout.startswith("Everything is in place.\n")


def test_where_the_fixture_leads_only_what_is_missing_is_added(user):
    text = LED.replace("prompt_mqtt_clients, ", "")
    user.write("tests/conftest.py", text.format("", ""))
    user.wire(3)
    after = user.read("tests/conftest.py")
    assert "redirect_to_test_broker" not in after
    assert after.count("redirected_mqtt_clients  # noqa: F401\n") == 1
    assert "prompt_mqtt_clients" in after
    assert "def every_client(prompt_mqtt_clients):" in after
    assert wired_options(user.repository) == [3]


def test_apply_says_what_the_call_does_that_the_fixture_does_not(user, hard_port):
    user.write("tests/test_it.py", f'{HEAD}def go(c): c.connect("a.example", {hard_port})\n')
    user.write("tests/conftest.py", LED.format(BROKER_LINE, "prompt_mqtt_clients, "))
    user.write("service.py", "")
    user.write("tests/test_detect.py", "def test_it(): pass\n")
    user.wire(3)
    [note] = user.data("apply", "--option", "3")["notes"]
    assert note.startswith("tests/conftest.py leads clients by the fixture redirected_mqtt_clients")
    call = CALL.format(f'{hard_port}, hosts=["a.example", *LOOPBACK_HOSTS]')
    assert note.endswith(f"in place of the fixture: {call}")
    user.write("tests/conftest.py", "")
    assert user.data("apply", "--option", "3")["notes"] == []
