"""What `migrate.py apply --service` sees of services and of brokers, each by itself."""

import ast
from pathlib import Path

import pytest
from helpers.migrating_user import collected, refuse
from migration.findings.suite import Suite
from migration.options import Import
from migration.service.brokers import own_brokers
from migration.service.classes import service_class
from migration.service.recipe import read
from migration.service.writing import service_option
from migration.wiring import planned_changes

HEAD = "import subprocess, threading, asyncio, time, pytest\nimport paho.mqtt.client as mqtt\n"


def suite_of(user):
    return Suite(user.root, Path("tests"))


# --- Brokers ------------------------------------------------------------------------------------

BROKERS = {
    "broker": ("process = {}\n    yield process", "broker"),
    "broker_of_nothing": ("{}\n    yield", ""),
    "port_of_it": ("port = free()\n    {}\n    yield port", "broker.port"),
    "a_pair": ('{}\n    yield "localhost", port', "(broker.host, broker.port)"),
    "a_pair_by_name": ("{}\n    yield host, port", "(broker.host, broker.port)"),
    "a_dict": (
        '{}\n    return {{"host": "localhost", "port": 1884, "process": p}}',
        "{'host': broker.host, 'port': broker.port, 'process': broker}",
    ),
    "a_url": ('{}\n    yield f"mqtt://localhost:{{port}}"', "f'mqtt://localhost:{broker.port}'"),
    "a_written_url": (
        '{}\n    yield "mqtt://localhost:1884"',
        "f'mqtt://{broker.host}:{broker.port}'",
    ),
    "a_record": (
        '{}\n    yield Address(host="localhost", port=port)',
        "Address(host=broker.host, port=broker.port)",
    ),
}


@pytest.mark.parametrize("name", BROKERS)
def test_what_a_broker_fixture_gives(user, name):
    body, expected = BROKERS[name]
    start = f'{"" if "= {}" in body else "p = "}subprocess.Popen(["mosquitto"])'
    text = f"{HEAD}\n@pytest.fixture\ndef {name}(port):\n    {body.format(start)}\n"
    user.write("tests/conftest.py", text)
    [broker] = own_brokers(suite_of(user))
    assert (broker.name, broker.gives) == (name, expected)


@pytest.mark.parametrize(
    "body",
    [
        'yield session_mqtt_broker.port\n\noverride_fixture("broker", fast_broker)',
        'subprocess.Popen(["mosquitto", "-c", with_lines("allow_anonymous false")])\n    yield 1',
    ],
)
def test_one_that_is_ours_or_asks_for_a_password_stays(user, body):
    asked_for = "session_mqtt_broker" if "session" in body else ""
    text = f"{HEAD}\n@pytest.fixture\ndef fast_broker({asked_for}):\n    {body}\n"
    user.write("tests/conftest.py", text)
    assert own_brokers(suite_of(user)) == []


def test_fixtures_that_tell_where_the_broker_is_go_with_it(user):
    user.write(
        "tests/conftest.py",
        f"""{HEAD}
@pytest.fixture
def a_port(): return free()

@pytest.fixture
def broker(a_port):
    yield subprocess.Popen(["mosquitto", "-p", str(a_port)])

@pytest.fixture
def broker_address(broker, a_port): return "localhost", a_port

@pytest.fixture
def client_on_broker(broker, a_port):
    client = mqtt.Client(); client.connect("localhost", a_port); yield client

@pytest.fixture
def other_port(): return 8080
""",
    )
    found = {broker.name: broker.gives for broker in own_brokers(suite_of(user))}
    assert found == {
        "a_port": "broker.port",
        "broker": "broker",
        "broker_address": "(broker.host, broker.port)",
    }


def test_what_ours_has_not_is_said_with_the_place(user):
    start = 'yield subprocess.Popen(["mosquitto"])'
    user.write("tests/conftest.py", f"{HEAD}\n@pytest.fixture\ndef broker():\n    {start}\n")
    user.write(
        "tests/test_a.py", "def test_a(broker):\n    broker.stdout.read(); broker.send_signal(1)\n"
    )
    [broker] = own_brokers(suite_of(user))
    assert broker.remarks == ("tests/test_a.py:2: ours has no .stdout; write it another way",)


# --- Classes ------------------------------------------------------------------------------------

SERVICES = {
    "a loop in a thread": (
        "def start(self): threading.Thread(target=self._loop).start()\n"
        "    def _loop(self):\n        while self.alive:\n            self._poll(); time.sleep(1)\n"
        "    def _poll(self): pass",
        {"run_poll_once": "_poll"},
        "alive",
    ),
    "an event": (
        "def start(self): threading.Thread(target=self._loop).start()\n"
        "    def _loop(self):\n        while not self.stopping.wait(1):\n            self.check()\n"
        "    def check(self): pass",
        {"run_check_once": "check"},
        None,
    ),
    "a timer that starts again": (
        "def _beat(self):\n        self._tell()\n"
        "        self.timer = threading.Timer(9, self._beat)\n        self.timer.start()\n"
        "    def _tell(self): pass",
        {"run_tell_once": "_tell"},
        None,
    ),
    "a timer that runs once": (
        "def water(self): threading.Timer(9, self._time_is_up).start()\n"
        "    def _time_is_up(self): pass",
        {"run_time_is_up_once": "_time_is_up"},
        None,
    ),
    "what needs an argument is no task": (
        "def start(self): threading.Thread(target=self._loop).start()\n"
        "    def _loop(self):\n        while self._running:\n            self._send(1)\n"
        "    def _send(self, number): pass",
        {},
        None,
    ),
}


@pytest.mark.parametrize("kind", SERVICES)
def test_what_a_class_does_in_the_background(user, kind):
    methods, tasks, flag = SERVICES[kind]
    user.write("base.py", f"{HEAD}\nclass Base:\n    {methods}\n")
    user.write("service.py", "from base import Base\n\nclass Service(Base):\n    pass\n")
    found = service_class(suite_of(user), "service.Service")
    assert (found.tasks(), found.flag()) == (tasks, flag)


def test_coroutines_that_pause_are_held_and_one_that_serves_is_not(user):
    methods = """
    async def run(self):
        asyncio.create_task(self._listen())
        await asyncio.gather(self._report_forever(), self.poll_forever(9))
    async def _listen(self):
        async for message in self.messages: pass
    async def _report_forever(self):
        while True:
            await self._report()
            await asyncio.sleep(60)
    async def _report(self): pass
    async def poll_forever(self, seconds):
        while True: await asyncio.wait_for(self.stopping.wait(), seconds)
"""
    user.write("service.py", f"{HEAD}\nclass Service:{methods}")
    found = service_class(suite_of(user), "service.Service")
    assert found.held(besides="run") == ["_report_forever", "poll_forever"]
    assert found.tasks() == {"run_report_once": "_report"}


# --- Slow fixtures ------------------------------------------------------------------------------

SERVICE = f"{HEAD}\nclass Service:\n    def __init__(self, port, room=None): pass\n"
SERVICE += "    def start(self): pass\n    def configure(self): pass\n    def close(self): pass\n"


def wiring(user, fixture, more=""):
    """Return the lines for a slow fixture in a test module, without what is the same in all."""
    user.write("service.py", SERVICE)
    imports = "from service import Service\n" if "from" not in more else ""
    user.write("tests/test_detect.py", f"{HEAD}{imports}{more}\n{fixture}\n")
    option = service_option(user.repository, "service:Service", "thing", {"thing": "test_detect"})
    ast.parse(option.definitions)
    return option


def fast(option):
    """Return the call of service_fixture, without its spaces."""
    [call] = [
        node
        for node in ast.walk(ast.parse(option.definitions))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "service_fixture"
    ]
    return ast.unparse(call)


def test_fixtures_that_are_arguments_need_no_function(user):
    option = wiring(
        user,
        "@pytest.fixture\ndef thing(port, kitchen):\n    it = Service(port, room=kitchen)\n"
        "    it.start()\n    time.sleep(2)\n    yield it\n    it.close()",
    )
    expected = "Service, start='start', arguments={'room': 'kitchen'}, cleanup='close'"
    assert fast(option) == f"service_fixture({expected})"
    assert option.remarks == ()


def test_what_comes_before_and_after_the_start_is_done_by_a_function(user):
    option = wiring(
        user,
        "@pytest.fixture\ndef thing(port, monkeypatch):\n    monkeypatch.setattr(time, 'x', fake)\n"
        "    end = time.monotonic() + 5\n    it = Service(port, room=ROOM)\n    it.configure()\n"
        "    it.start()\n    while time.monotonic() < end:\n        time.sleep(1)\n    yield it\n",
        more="ROOM = 'kitchen'\ndef fake(): pass\n",
    )
    written = option.definitions
    assert "def build_thing(port, monkeypatch) -> Service:" in written
    assert "    from test_detect import ROOM, fake\n" in written
    for line in ("monkeypatch.setattr(time, 'x', fake)", "it.configure()", "it.start()"):
        assert f"    {line}\n" in written
    assert "sleep" not in written
    assert "end =" not in written
    assert "import time" in option.more_imports
    assert fast(option) == "service_fixture(build_thing, cleanup='close')"


def test_a_broker_inside_of_the_slow_fixture_is_ours(user):
    option = wiring(
        user,
        "@pytest.fixture\ndef thing():\n    broker = subprocess.Popen(['mosquitto'])\n"
        "    time.sleep(1)\n    it = Service(broker.port)\n    yield it\n    broker.kill()",
    )
    assert "def build_thing(session_mqtt_broker) -> Service:" in option.definitions
    assert "broker = session_mqtt_broker\n" in option.definitions
    assert "Popen" not in option.definitions


def test_a_fixture_that_gives_no_service_is_named(user):
    option = wiring(user, "@pytest.fixture\ndef thing():\n    return Service(1), 2")
    [remark] = option.remarks
    assert remark.startswith("tests/test_detect.py:6: the fixture thing gives (Service(1), 2), and")


@pytest.mark.parametrize(
    "lines",
    [
        "thread = threading.Thread(target=it.serve)\n    thread.daemon = True\n    thread.start()",
        "threading.Thread(target=it.serve, daemon=True).start()",
    ],
)
def test_a_method_that_it_runs_in_a_thread_goes_on(user, lines):
    option = wiring(
        user,
        f"@pytest.fixture\ndef thing(port):\n    it = Service(port)\n    {lines}\n"
        "    time.sleep(2)\n    yield it\n    it.close()",
    )
    assert fast(option) == "service_fixture(Service, run='serve', cleanup='close')"
    assert option.remarks == ()


def test_a_thread_whose_work_no_test_can_do_is_named(user):
    methods = (
        "    def start(self):\n        threading.Thread(target=self._write).start()\n"
        "        threading.Thread(target=self.client.loop_forever).start()\n"
        "    def _write(self):\n        while True:\n            self._store(self.queue.get())\n"
        "    def _store(self, item): pass\n    def close(self): pass\n"
    )
    user.write("writer.py", f"{HEAD}\nclass Service:\n{methods}")
    fixture = "@pytest.fixture\ndef thing():\n    it = Service()\n    it.start()\n    yield it\n"
    user.write("tests/test_detect.py", f"{HEAD}\nfrom writer import Service\n{fixture}")
    option = service_option(user.repository, "writer:Service", "thing", {"thing": "test_detect"})
    [remark] = option.remarks
    assert remark.startswith("_write() runs in a thread, which is held: a test that needs it calls")


def test_what_is_called_after_the_test_ends_it(user):
    user.write("service.py", SERVICE)
    fixture = "@pytest.fixture\ndef thing():\n    it = Service(1)\n    try:\n        yield it\n"
    user.write("tests/test_detect.py", f"{HEAD}\n{fixture}    finally:\n        it.close()\n")
    suite = suite_of(user)
    [slow] = [f for f in suite.fixtures() if f.name == "thing"]
    assert read(suite, slow).endings == ["close"]


def test_what_service_takes(user):
    words = ("--fixture", "camera_detector", "--service")
    assert "takes package.module:Class, not service" in refuse(user, "apply", *words, "service")
    assert "there is no Other in a service" in refuse(user, "apply", *words, "service:Other")
    user.write("coroutines.py", "async def serve(port):\n    while True:\n        await work()\n")
    refused = refuse(user, "apply", *words, "coroutines:serve")
    assert "coroutines:serve returns nothing" in refused
    assert collected().tests == []


FIXTURE = "@pytest.fixture\ndef thing(request):\n    it = Service(1)\n    it.start()\n"


def test_a_finalizer_ends_it(user):
    option = wiring(user, f"{FIXTURE}    request.addfinalizer(it.close)\n    return it")
    assert "addfinalizer" not in option.definitions
    assert fast(option) == "service_fixture(build_thing, start='start', cleanup='close')"


@pytest.mark.parametrize("start", ["def", "async def"])
def test_a_test_case_is_shown_how_to_get_it(user, start):
    user.write(
        "service.py", f"class Service:\n    {start} start(self): pass\n    def stop(self): pass\n"
    )
    case = "class T(unittest.TestCase):\n    def setUp(self):\n        self.it = Service()\n"
    user.write("tests/test_detect.py", f"import unittest\nfrom service import Service\n{case}")
    option = service_option(user.repository, "service:Service", "thing", {})
    [remark] = option.remarks
    assert "self.thing = thing" in remark
    assert ("`await self.thing.__aenter__()` in asyncSetUp" in remark) == (start == "async def")


def test_a_with_block_is_its_start_and_its_end(user):
    more = (
        "from service import Service\nclass Safe(Service):\n    def __enter__(self): return self\n"
    )
    more += "    def __exit__(self, *error): self.leave()\n    def leave(self): pass\n"
    user.write("service.py", SERVICE)
    user.write("safe.py", more)
    fixture = "@pytest.fixture\ndef thing(port):\n    with Safe(port) as it:\n        yield it\n"
    user.write("tests/test_detect.py", f"{HEAD}from safe import Safe\n{fixture}")
    option = service_option(user.repository, "safe:Safe", "thing", {"thing": "test_detect"})
    assert fast(option) == "service_fixture(Safe, start='__enter__', cleanup='leave')"


def test_a_with_block_around_the_service_itself_is_left_to_the_user(user):
    option = wiring(
        user,
        "@pytest.fixture\ndef thing():\n    it = Service(1)\n    with patched('x'), serving(it):\n"
        "        with patched('y'):\n            yield it\n    it.close()",
        more="def serving(it): pass\ndef patched(name): pass\n",
    )
    assert "serving" not in option.definitions
    assert "with patched('x'):\n        with patched('y'):" in option.definitions
    [remark] = [r for r in option.remarks if "write a class" in r]
    assert "the fixture enters serving(it), which is left out" in remark


def test_a_fixture_of_a_plugin_is_replaced_and_its_ways_are_left_to_the_user(user):
    user.write("service.py", SERVICE)
    modules = {"thing": "plugins.fixtures"}
    option = service_option(user.repository, "service:Service", "thing", modules)
    assert 'override_fixture("thing", fast_thing)' in option.definitions
    [remark] = option.remarks
    assert remark.startswith("the fixture thing comes from plugins.fixtures")


def test_another_fixture_of_the_name_is_named(user):
    other = "@pytest.fixture\ndef thing():\n    yield Service(2)\n"
    user.write("tests/test_other.py", f"{HEAD}from service import Service\n{other}")
    option = wiring(user, f"{FIXTURE}    yield it\n    it.close()")
    [remark] = option.remarks
    assert remark.startswith("tests/test_other.py:5: another fixture thing, which does something")
    user.write("tests/test_other.py", f"{HEAD}{FIXTURE}    yield it\n    it.close()")
    assert wiring(user, f"{FIXTURE}    yield it\n    it.close()").remarks == ()


def test_a_broker_that_nobody_starts_here_is_replaced_too(user):
    place = '@pytest.fixture\ndef broker():\n    return "localhost", 1883\n'
    other = "@pytest.fixture\ndef broker_client():\n    return mqtt.Client()\n"
    user.write("tests/conftest.py", f"{HEAD}{place}\n{other}")
    found = {broker.name: broker.gives for broker in own_brokers(suite_of(user))}
    assert found == {"broker": "(broker.host, broker.port)"}


@pytest.mark.parametrize("connect", ['"localhost"', "HOST, 1883", "HOST, PORT", "port=1884"])
def test_the_tests_own_clients_are_led_to_the_broker_of_the_service(user, connect):
    more = f'HOST, PORT = "x", 1884\ndef test_a():\n    mqtt.Client().connect({connect})\n'
    option = wiring(user, f"{FIXTURE}    yield it\n    it.close()", more)
    assert option.redirection == "redirect_to_test_broker()"  # the addresses are looked for later
    assert Import("shared_mqtt_pool", ("redirect_to_test_broker",), is_used=True) in option.imports


def test_where_the_tests_have_no_clients_nothing_is_led_anywhere(user):
    option = wiring(user, f"{FIXTURE}    yield it\n    it.close()")
    assert not option.redirection


def test_a_class_that_the_slow_fixture_imports_itself_is_imported_at_the_top(user):
    user.write("service.py", SERVICE)
    fixture = "@pytest.fixture\ndef thing():\n    from service import Service\n"
    fixture += "    it = Service(7)\n    yield it\n    it.close()\n"
    user.write("tests/conftest.py", f"import pytest\n\n\n{fixture}")
    option = service_option(user.repository, "service:Service", "thing", {"thing": "conftest"})
    [change] = [
        c
        for c in planned_changes(user.repository, option, collected(), user.state)
        if c.path.name == "conftest.py"
    ]
    imports = change.new.decode().partition("\n\n\n")[0]
    assert imports.startswith("import pytest\n")
    assert imports.endswith("\n\nfrom service import Service")


def test_relative_imports_are_written_as_they_are_seen_from_the_topmost_conftest(user):
    user.write("service.py", SERVICE)
    for package in ("tests", "tests/unit"):
        user.write(f"{package}/__init__.py", "")
    user.write("tests/address.py", "class Address: pass\nROOM = 1\n")
    fixtures = """
class Place: pass

@pytest.fixture
def broker():
    with Broker():
        subprocess.Popen(["mosquitto"])
        yield Address(host="localhost", port=1)

@pytest.fixture
def broker_place(broker):
    return Place(broker.host, broker.port)

@pytest.fixture
def thing(broker):
    it = Service(broker.port, room=ROOM)
    yield it
    it.close()
"""
    head = f"{HEAD}from service import Service\nfrom ..address import ROOM, Address\n"
    user.write("tests/unit/conftest.py", head + fixtures)
    modules = {"thing": "tests.unit.conftest"}
    option = service_option(user.repository, "service:Service", "thing", modules)
    assert "from .address import Address" in option.more_imports
    assert "from .address import ROOM" in option.more_imports
    [remark] = option.remarks
    assert remark.startswith("tests/unit/conftest.py:15: the fixture broker_place gives a Place, ")
    assert "def build_thing(broker) -> Service:" in option.definitions
