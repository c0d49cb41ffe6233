"""The report of a failing test shows what was published, and who came and went."""

import re
from textwrap import dedent
from urllib.parse import quote

import pytest
from helpers.drop_in import Repository
from helpers.plain_client import PLAIN_CLIENT
from helpers.suite_client import CLIENT
from mqtt_test_broker import TestMQTTBroker

pytestmark = pytest.mark.usefixtures("few_plugins")

FIXTURES = """
    import pytest
    from mqtt_test_broker import isolated_mqtt_broker, test_mqtt_broker
    from shared_mqtt_pool import mqtt_client, mqtt_client_factory, mqtt_monitor

    @pytest.fixture
    def lamp(mqtt_client_factory):
        return mqtt_client_factory(client_id="lamp")
"""

WITH_PASSWORD = """
import pytest
from mqtt_test_broker import TestMQTTBroker

@pytest.fixture(scope="session")
def session_mqtt_broker():
    with TestMQTTBroker(username="me", password="h1dden-A") as broker:
        yield broker
"""

SEND = dedent(
    PLAIN_CLIENT
    + """
    def send(topic, broker):
        robot = connected("robot", (broker.host, broker.port))
        robot.sendall(publish(topic, "on"))
        end(robot)
    """
)

LINE = re.compile(r"^ *(\d+)(?:-(\d+))? +(.+?)  +(.+)$")


@pytest.fixture
def repository(pytester):
    repository = Repository(pytester, ["mqtt_test_broker", "shared_mqtt_pool"])
    return repository.write("tests/conftest.py", FIXTURES)


def timelines_of(result):
    """Return what each timeline says, as pairs of a client and what it did, and the headings."""
    lines, timelines = result.stdout.lines, []
    for start in (n for n, line in enumerate(lines) if "- MQTT traffic (" in line):
        timelines.append([])
        for line in lines[start + 1 :]:
            match = LINE.match(line)
            if match is None and not line.startswith("("):
                break
            timelines[-1].append(match.groups()[2:] if match else line)
    return timelines


def run(repository, tests, *options, head=""):
    repository.write("tests/test_it.py", dedent(head) + dedent(tests))
    return repository.run(*options)


def test_who_published_what_and_who_came_and_went(repository):
    result = run(
        repository,
        """
    def test_it(lamp, mqtt_client_factory, mqtt_monitor, test_mqtt_broker):
        lamp.publish("lamp/state", bytearray(b'{"on": true}'), qos=1, retain=True)
        mqtt_monitor.wait_for("lamp/state")
        door = connect(new_client("door"), test_mqtt_broker.host, test_mqtt_broker.port)
        door.disconnect()
        door.loop_stop()
        door.will_set("Tür/state", b"\\xff", 1, True)
        connect(door, test_mqtt_broker.host, test_mqtt_broker.port)
        test_mqtt_broker.disconnect_clients("door")
        mqtt_monitor.wait_for("Tür/state")
        while test_mqtt_broker.log.count(" as door ") < 3 or not door.is_connected(): pass
        lamp.publish("last", "x" * 1000)
        assert 0

    def test_of_another(mqtt_client): mqtt_client.publish("another")
    """,
        head=CLIENT,
    )
    result.assert_outcomes(failed=1, passed=1)
    [timeline] = timelines_of(result)
    assert sorted(timeline) == sorted(
        [
            ("lamp", "connected"),
            ("lamp", "lamp/state: b'{\"on\": true}' (QoS 1, retained)"),
            ("door", "connected"),
            ("door", "disconnected"),
            ("door", "connected"),
            ("door", "closed its connection"),
            ("door (will)", "Tür/state: b'\\xff' (QoS 1, retained)"),
            ("door", "connected"),
            ("lamp", f"last: b'{'x' * 80}'... (QoS 0)"),
        ]
    )
    assert timeline[:4] == [
        ("lamp", "connected"),
        ("lamp", "lamp/state: b'{\"on\": true}' (QoS 1, retained)"),
        ("door", "connected"),
        ("door", "disconnected"),
    ]
    assert timeline[-2:] == [("door", "connected"), ("lamp", f"last: b'{'x' * 80}'... (QoS 0)")]


def test_clients_of_other_processes_and_without_an_id(repository):
    result = run(
        repository,
        """
    import subprocess

    PROGRAM = (
        "import sys; sys.path.insert(0, 'tests'); from test_it import *\\n"
        "c = connect(new_client('robot'), '127.0.0.1', int(sys.argv[1]))\\n"
        "c.publish('robot/state', 'on', 1).wait_for_publish(5); c.disconnect(); c.loop_stop()"
    )

    def test_it(mqtt_client, test_mqtt_broker):
        port = str(test_mqtt_broker.port)
        subprocess.run([sys.executable, "-c", PROGRAM, port], check=True)
        mqtt_client.publish("mine")
        assert 0
    """,
        head=CLIENT,
    )
    [timeline] = timelines_of(result)
    assert ("robot", "connected") in timeline
    assert ("robot", "disconnected") in timeline
    assert ("?", "robot/state: b'on' (QoS 1)") in timeline
    [[name]] = [[who for who, what in timeline if what.startswith("mine")]]
    assert (name, "connected") in timeline
    assert re.fullmatch(r"auto-[-0-9A-F]{19}\.\.\.", name)


def test_the_latest_twenty_and_the_count_of_the_rest(repository):
    result = run(
        repository,
        """
    def test_before(lamp):
        lamp.publish("before")

    def test_it(lamp):
        for number in range(200):
            lamp.publish("n", f"{number}-" + 50_000 * "x")  # some are on their way at the end
        assert 0
    """,
    )
    [[earlier, *timeline]] = timelines_of(result)
    assert earlier == "(181 earlier ones)"  # one of them that it connected
    assert timeline == [
        ("lamp", f"n: b'{number}-{76 * 'x'}'... (QoS 0)") for number in range(180, 200)
    ]


def test_what_has_not_arrived_is_told(repository):
    result = run(
        repository,
        """
    def test_it(lamp, mqtt_client):
        lamp.disconnect()
        lamp.publish("lamp/state", "on", qos=1)
        lamp.publish("$hidden", "on", qos=1)
        mqtt_client.publish("other")
        assert 0
    """,
    )
    [timeline] = timelines_of(result)
    assert ("lamp", "lamp/state: b'on' (QoS 1), which has not arrived") in timeline
    assert str(timeline).count("arrived") == 1


def test_what_was_not_kept_is_not_said_to_be_missing(repository):
    result = run(
        repository,
        """
    from mqtt_testing.clients import limits

    def test_it(lamp, monkeypatch):
        monkeypatch.setattr(limits, "HISTORY_LENGTH", 5)
        for number in range(10):
            lamp.publish("n", number)
        assert 0
    """,
    )
    [timeline] = timelines_of(result)
    assert sorted(timeline[1:]) == [("lamp", f"n: b'{number}' (QoS 0)") for number in range(10)]


def test_of_two_brokers_that_of_the_test_is_looked_at(repository):
    result = run(
        repository,
        """
    import pytest
    from mqtt_test_broker import TestMQTTBroker
    from shared_mqtt_pool import SharedMQTTPool

    @pytest.fixture
    def second_broker():
        with TestMQTTBroker() as broker, SharedMQTTPool(broker.get_connection_params()) as pool:
            pool.watch()
            yield broker

    def test_it(lamp, test_mqtt_broker, second_broker):
        send("here", test_mqtt_broker)
        door = connect(new_client("door"), second_broker.host, second_broker.port)
        door.publish("elsewhere", qos=1).wait_for_publish(5)
        door.disconnect()
        door.loop_stop()
        assert 0
    """,
        head=dedent(CLIENT) + SEND,
    )
    [timeline] = timelines_of(result)
    assert ("?", "here: b'on' (QoS 0)") in timeline
    assert ("door", "elsewhere: b'' (QoS 1)") in timeline


def test_a_test_that_uses_no_broker_has_none(repository):
    result = run(
        repository,
        """
    def test_before(lamp, test_mqtt_broker):
        global broker
        broker = test_mqtt_broker

    def test_it():
        send("t", broker)
        assert 0
    """,
        "-p",
        "no:randomly",
        head=SEND,
    )
    result.assert_outcomes(passed=1, failed=1)
    assert timelines_of(result) == []


def test_secrets_are_masked(repository):
    result = run(
        repository,
        """
    import json

    def test_it(lamp, mqtt_client_factory):
        for payload in (
            "h1dden-A", "rtsp://ann:h1dden-B@camera/1", b'{"api_key": "h1dden-C, D", "on": 1}',
            "TOKEN=h1dden-E&on=1", "x" * 70 + "mqtt://ann:h1dden-" + "F" * 100 + "@host",
            "mqtt://ann:h1dden@h1dden@host", "mqtts://:h1dden@host", "wifi_pass: it's, off",
            json.dumps({"password": '''a"h1dden, 'h1dden''', "on": 1}),
            json.dumps({"in": json.dumps({"secretKey": 'a"h1dden'}), "n": 1}),
            '{"tokens": [["h1dden"], "h1dden"]}', "<password>h1dden</password>",
            "Authorization: Bearer h1dden", '{"compass": 12, "passed": 3, "password": ""}',
            "token=h1dden" + "G" * 2000,
        ):
            lamp.publish("t", payload)
        lamp.publish("auth/token=h1dden-H", 1)
        mqtt_client_factory(client_id="password=h1dden-A").publish("u", 1)
        raise AssertionError
    """,
        "--tb=line",
        head=WITH_PASSWORD,
    )
    result = repository.run("--tb=short")
    [timeline] = timelines_of(result)
    assert "h1dden" not in str(timeline)
    assert [what for _, what in timeline if what.startswith("t:")] == [
        "t: b'***' (QoS 0)",
        "t: b'rtsp://ann:***@camera/1' (QoS 0)",
        't: b\'{"api_key": "***", "on": 1}\' (QoS 0)',
        "t: b'TOKEN=***&on=1' (QoS 0)",
        f"t: b'{'x' * 70}mqtt://ann'... (QoS 0)",
        "t: b'mqtt://ann:***@host' (QoS 0)",
        "t: b'mqtts://:***@host' (QoS 0)",
        """t: b"wifi_pass: ***'s, off" (QoS 0)""",
        """t: b'{"password": "***", "on": 1}' (QoS 0)""",
        r"""t: b'{"in": "{\\"secretKey\\": \\"***\\"}", "n": 1}' (QoS 0)""",
        """t: b'{"tokens": ***' (QoS 0)""",
        "t: b'<password>***</password>' (QoS 0)",
        "t: b'Authorization: Bearer ***' (QoS 0)",
        """t: b'{"compass": 12, "passed": 3, "password": ""}' (QoS 0)""",
        "t: b'token=***...' (QoS 0)",
    ]
    others = {line for line in timeline if line[1][:2] != "t:"} - {("lamp", "connected")}
    assert others == {
        ("lamp", "auth/token=***: b'1' (QoS 0)"),
        ("password=***", "connected"),
        ("password=***", "u: b'1' (QoS 0)"),
    }


def test_what_a_terminal_would_obey_is_escaped_and_what_is_long_cut(repository):
    result = run(
        repository,
        """
    def test_it(lamp):
        new_client("a\\nb\\x1b[31m").publish("top\\nic\\x1b[31m", 1)
        lamp.publish("t\\u202eopic/grün/" + "x" * 500, 1)
        lamp.publish("e", "\\x1b[31m\\n")
        raise AssertionError
    """,
        head=CLIENT,
    )
    [timeline] = timelines_of(result)
    assert sorted(timeline) == [
        (r"a\nb\x1b[31m", r"top\nic\x1b[31m: b'1' (QoS 0), which has not arrived"),
        ("lamp", "connected"),
        ("lamp", r"e: b'\x1b[31m\n' (QoS 0)"),
        ("lamp", rf"t\u202eopic/grün/{'x' * 188}...: b'1' (QoS 0)"),
    ]


def test_a_topic_alias_is_told_as_its_topic(repository):
    result = run(
        repository,
        """
    import paho.mqtt.client as mqtt
    import paho.mqtt.packettypes, paho.mqtt.properties

    def test_it(mqtt_client_factory):
        lamp = mqtt_client_factory(client_id="lamp", protocol=mqtt.MQTTv5)
        properties = mqtt.Properties(paho.mqtt.packettypes.PacketTypes.PUBLISH)
        properties.TopicAlias = 1
        for topic, payload in (("state", "on"), ("", "off")):
            lamp.publish(topic, payload, properties=properties)
        raise AssertionError
    """,
    )
    assert timelines_of(result) == [
        [
            ("lamp", "connected"),
            ("lamp", "state: b'on' (QoS 0)"),
            ("lamp", "state: b'off' (QoS 0)"),
        ]
    ]


def test_a_mock_that_is_still_in_force_does_not_end_the_run(repository):
    result = run(
        repository,
        """
    import sys

    def test_without_packages(lamp, monkeypatch):
        lamp.publish("t", 1)
        monkeypatch.setattr(sys, "meta_path", [])
        raise AssertionError

    def test_next(lamp):
        lamp.publish("t", 2)
        raise AssertionError
    """,
    )
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["It cannot be told, *mock of this test: ModuleNotFoundError(*"])
    assert timelines_of(result)[1:] == [[("lamp", "connected"), ("lamp", "t: b'2' (QoS 0)")]]


def test_names_and_topics_are_in_one_line_and_without_secrets(repository):
    result = run(
        repository,
        """
    def test_it(lamp, mqtt_client_factory):
        mqtt_client_factory(client_id="token=h1dden").publish("rtsp://ann:h1dden@camera/1")
        lamp.publish("Tür\\u2028", "on")
        lamp.publish("red\\x1b[31m\\nline")  # which mosquitto does not take
        raise AssertionError
    """,
    )
    [timeline] = timelines_of(result)
    assert sorted(what for who, what in timeline if who == "token=***") == [
        "connected",
        "rtsp://ann:***@camera/1: b'' (QoS 0)",
    ]
    assert {what for who, what in timeline if who == "lamp" and ": b" in what} == {
        r"red\x1b[31m\nline: b'' (QoS 0), which has not arrived",
        r"Tür\u2028: b'on' (QoS 0)",
    }


def test_a_client_that_mosquitto_has_cut_off_and_strings_of_an_enumeration(repository):
    result = run(
        repository,
        """
    import enum, re

    class Word(str, enum.Enum):
        ON = "on"
        TOPIC = "lamp/state"

    def test_it(lamp, mqtt_client_factory, test_mqtt_broker):
        lamp.publish(Word.TOPIC, Word.ON)
        door = mqtt_client_factory(client_id="door")
        door.publish("$share/all/door", "")  # nothing may be published there
        deadline = time.monotonic() + 5
        while not re.search("on client door|door disconnected", test_mqtt_broker.log):
            assert time.monotonic() < deadline
        assert 0
    """,
        head=CLIENT,
    )
    [timeline] = timelines_of(result)
    assert [what for who, what in timeline if who == "lamp"] == [
        "connected",
        "lamp/state: b'on' (QoS 0)",
    ]
    connected, gone, *_ = [what for who, what in timeline if who == "door"]
    assert (connected, gone.split(":")[0]) == ("connected", "disconnected")


def test_a_look_whether_the_port_is_open_is_no_client(repository):
    result = run(
        repository,
        """
    import socket

    def test_it(lamp, test_mqtt_broker):
        socket.create_connection((test_mqtt_broker.host, test_mqtt_broker.port)).close()
        deadline = time.monotonic() + 5
        while "<unknown> closed" not in test_mqtt_broker.log: assert time.monotonic() < deadline
        lamp.publish("alive")
        assert 0
    """,
        head=CLIENT,
    )
    assert timelines_of(result) == [[("lamp", "connected"), ("lamp", "alive: b'' (QoS 0)")]]


def test_each_phase_has_its_own(repository):
    result = run(
        repository,
        """
    import pytest

    @pytest.fixture
    def failing(lamp):
        lamp.publish("in/set-up")
        assert 0

    @pytest.fixture
    def failing_late(lamp):
        yield
        lamp.publish("in/tear-down")
        assert 0

    def test_one(failing): pass
    def test_two(lamp, failing_late): lamp.publish("in/test")
    def test_three(): assert 0
    """,
    )
    result.assert_outcomes(errors=2, passed=1, failed=1)
    one, two = timelines_of(result)
    assert one == [("lamp", "connected"), ("lamp", "in/set-up: b'' (QoS 0)")]
    assert two[:3] == [
        ("lamp", "connected"),
        ("lamp", "in/test: b'' (QoS 0)"),
        ("lamp", "in/tear-down: b'' (QoS 0)"),
    ]


UNITTEST = """
    class TestLamp(unittest.TestCase):
        def setUp(self):
            self.lamp = connect(new_client("lamp"))

        def test_it(self):
            for number in range(120):
                self.lamp.publish("lamp/state", number)
            assert 0

        def tearDown(self):
            self.lamp.disconnect()
            self.lamp.loop_stop()

        def test_nothing(self):
            pass
"""


@pytest.mark.parametrize("options", [(), ("-p", "xdist", "-n", "1")], ids=["here", "xdist"])
def test_suites_without_fixtures_and_workers(repository, options):
    repository.write(
        "tests/conftest.py",
        "from shared_mqtt_pool import redirect_to_test_broker\nredirect_to_test_broker()\n",
    )
    result = run(repository, UNITTEST, *options, head=CLIENT)
    result.assert_outcomes(failed=1, passed=1)
    [[earlier, *timeline]] = timelines_of(result)
    assert int(earlier.split()[0][1:]) in (101, 102)  # its end is told by then, or not
    assert ("lamp", "lamp/state: b'119' (QoS 0)") in timeline


def test_async_tests(repository):
    pytest.importorskip("pytest_asyncio")
    result = run(
        repository,
        """
    import pytest

    @pytest.mark.asyncio
    async def test_it(lamp, mqtt_monitor):
        lamp.publish("lamp/state", "on")
        await mqtt_monitor.wait_for("lamp/state")
        assert 0
    """,
        "-p",
        "pytest_asyncio.plugin",
    )
    [timeline] = timelines_of(result)
    assert timeline == [("lamp", "connected"), ("lamp", "lamp/state: b'on' (QoS 0)")]


def test_subtests(repository):
    if pytest.version_tuple < (9,):
        pytest.skip("subtests come with pytest 9")
    result = run(
        repository,
        """
    def test_it(lamp, subtests):
        for number in range(2):
            with subtests.test():
                lamp.publish("n", number)
                assert number
    """,
    )
    first = [("lamp", "connected"), ("lamp", "n: b'0' (QoS 0)")]
    timelines = timelines_of(result)
    assert timelines[0] == first
    assert timelines[1:] in ([], [[*first, ("lamp", "n: b'1' (QoS 0)")]])


def test_each_run_of_a_test_has_its_own(repository):
    repository.write(
        "tests/conftest.py",
        FIXTURES
        + """
    from _pytest.runner import runtestprotocol

    def pytest_runtest_protocol(item, nextitem):
        for _ in range(2):  # as plugins do that run a failing test again
            item._initrequest()
            for report in runtestprotocol(item, nextitem=nextitem, log=False):
                item.ihook.pytest_runtest_logreport(report=report)
        return True
    """,
    )
    tests = """
    import itertools
    numbers = itertools.count()

    def test_it(lamp):
        lamp.publish("n", next(numbers))
        assert 0
    """
    first, second = timelines_of(run(repository, tests))
    assert first == [("lamp", "connected"), ("lamp", "n: b'0' (QoS 0)")]
    assert second == [("lamp", "connected"), ("lamp", "n: b'1' (QoS 0)")]
    assert timelines_of(repository.run("--tb=no")) == []


def test_an_external_broker_has_no_log_to_read(repository, monkeypatch):
    with TestMQTTBroker(username="me", password="s3cret") as broker:
        url = f"mqtt://me:s3cret@{broker.host}:{broker.port}"
        monkeypatch.setenv("MQTT_TEST_BROKER_URL", url)
        result = run(
            repository,
            """
    def test_it(lamp, test_mqtt_broker, mqtt_client_factory, mqtt_monitor):
        stranger = new_client("stranger")
        answers = []
        stranger.on_connect = lambda *args: answers.append(args)
        stranger.connect(test_mqtt_broker.host, test_mqtt_broker.port)
        while not answers: stranger.loop(0.1)
        lamp.publish("lamp/state", "s3cret")
        mqtt_monitor.wait_for("lamp/state")
        mqtt_client_factory().publish("of/nameless")
        mqtt_monitor.wait_for("of/nameless")
        new_client("").publish("never", qos=1)
        assert 0
        """,
            head=CLIENT,
        )
    [timeline] = timelines_of(result)
    assert [(re.sub(r"-.*|\d+", "", who), what) for who, what in timeline] == [
        ("lamp", "connected"),
        ("stranger", "refused, code 5"),
        ("lamp", "lamp/state: b'***' (QoS 0)"),
        ("port ", "connected"),
        ("port ", "of/nameless: b'' (QoS 0)"),
        ("no client id", "never: b'' (QoS 1), which has not arrived"),
    ]


def test_of_an_external_broker_all_clients_count_and_its_password_is_masked(
    repository, monkeypatch
):
    password = 'h1dden/"ä'
    with TestMQTTBroker(username="me", password=password) as broker:
        url = f"mqtt://me:{quote(password, safe='')}@{broker.host}:{broker.port}"
        monkeypatch.setenv("MQTT_TEST_BROKER_URL", url)
        result = run(
            repository,
            """
    import json
    from urllib.parse import quote

    def test_it(lamp, test_mqtt_broker, mqtt_client_factory):
        for _ in range(110):
            mqtt_client_factory()
        secret = test_mqtt_broker.password
        forms = [secret, json.dumps(secret), json.dumps(secret, ensure_ascii=False)]
        for form in [*forms, quote(secret, safe="")]:
            lamp.publish("t", form)
        raise AssertionError
        """,
            "--tb=short",
        )
    [[earlier, *timeline]] = timelines_of(result)
    assert earlier == "(95 earlier ones)"  # of 111 that it connected and 4 messages
    payloads = re.findall(r"b'(.*)' ", "\n".join(what for _, what in timeline[-4:]))
    assert payloads == ["***", '"***"', '"***"', "***"]


def test_a_refusal_is_told_by_the_log_and_named(repository):
    result = run(
        repository,
        """
        def test_it(lamp, test_mqtt_broker):
            stranger, answers = new_client("stranger"), []
            stranger.on_connect = lambda *args: answers.append(args)
            stranger.connect(test_mqtt_broker.host, test_mqtt_broker.port)
            while not answers: stranger.loop(0.1)
            assert 0
        """,
        head=WITH_PASSWORD + dedent(CLIENT),
    )
    refused = "disconnected, not authorised"
    assert timelines_of(result) == [[("lamp", "connected"), ("stranger", refused)]]


def test_brokers_for_one_test_and_broken_ones(repository):
    result = run(
        repository,
        """
    def test_isolated(isolated_mqtt_broker):
        lamp = connect(new_client("own"), isolated_mqtt_broker.host, isolated_mqtt_broker.port)
        lamp.disconnect()
        lamp.loop_stop()
        assert 0

    def test_paused(lamp, test_mqtt_broker):
        lamp.publish("before", qos=1).wait_for_publish(5)
        test_mqtt_broker.pause()
        lamp.publish("after")
        assert 0

    def test_killed(lamp, test_mqtt_broker):
        lamp.publish("before", qos=1).wait_for_publish(5)
        test_mqtt_broker.kill()
        assert 0
    """,
        head=CLIENT,
    )
    result.assert_outcomes(failed=3)
    isolated, paused, killed = timelines_of(result)
    assert [what for who, what in isolated if who == "own"][-1:] in (["disconnected"], [])
    assert isolated[0][0] == "own"
    assert {what for _, what in paused[1:]} == {"before: b'' (QoS 1)", "after: b'' (QoS 0)"}
    assert killed == [("lamp", "connected"), ("lamp", "before: b'' (QoS 1)")]
