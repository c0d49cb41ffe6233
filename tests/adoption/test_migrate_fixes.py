"""What `scripts/migrate.py fix` rewrites, on small repositories."""

from pathlib import Path
from textwrap import dedent, indent

import pytest
from helpers.scanned_repository import DISCOVERY, HEALTH, WAIT, findings, fixed, fixed_body


def test_the_plan_s_example(repo):
    before = """
        import time

        def test_discovery(camera_detector):
            time.sleep(2)  # Wait for background discovery
            assert len(camera_detector.cameras) > 0
        """
    after = dedent(before).replace("time.sleep(2)", DISCOVERY)
    assert fixed(repo, before) == after.replace("\nimport time\n\n", "")


@pytest.mark.parametrize(
    ("looks", "calls"),
    [
        ("assert camera_detector.cameras", [DISCOVERY]),
        ("assert 'x' in camera_detector.discovered_devices", [DISCOVERY]),
        ("assert camera_detector.get_cameras() == []", [DISCOVERY]),
        ("count = len(camera_detector.cameras)\nassert count == 2", [DISCOVERY]),
        ("assert camera_detector.health_check_count >= 1", [HEALTH]),
        ("assert camera_detector.get_status() == 'running'", [HEALTH]),
        ("assert not camera_detector.cameras['x'].online", [DISCOVERY, HEALTH]),
        ("assert camera_detector.cameras['x'].state == 'offline'", [DISCOVERY, HEALTH]),
    ],
)
@pytest.mark.parametrize(
    "wait",
    [
        "time.sleep(2)",
        "while not camera_detector.cameras:\n    time.sleep(0.1)",
        "for _ in range(9):\n    if camera_detector.cameras: break\n    time.sleep(0.1)",
    ],
    ids=["sleep", "while", "for"],
)
def test_a_wait_for_the_detector_becomes_the_explicit_call(repo, wait, looks, calls):
    if "sleep(2)" not in wait and DISCOVERY not in calls:
        calls = [DISCOVERY, *calls]  # the loop itself looks at cameras
    after = fixed_body(repo, f"{wait}\n{looks}\n")
    assert after == "\n".join([*calls, looks, ""])


def test_cameras_are_discovered_once_before_their_health_is_looked_at(repo):
    body = """\
        time.sleep(2)
        assert camera_detector.cameras
        network_mocks.unplug("x")
        time.sleep(2)
        assert not camera_detector.cameras["x"].online
        """
    sleeps = dedent(body).split("time.sleep(2)")
    assert fixed_body(repo, body) == sleeps[0] + DISCOVERY + sleeps[1] + HEALTH + sleeps[2]


@pytest.mark.parametrize(
    ("looks", "wait"),
    [
        ("assert mqtt_monitor.messages", 'mqtt_monitor.wait_for("#")'),
        ("assert len(mqtt_monitor.messages) == 3", 'mqtt_monitor.wait_for("#", count=3)'),
        ("assert len(mqtt_monitor.messages) > 3", 'mqtt_monitor.wait_for("#", count=4)'),
        ("assert mqtt_monitor.messages[1].payload == b'x'", 'mqtt_monitor.wait_for("#", count=2)'),
        (
            "assert 'a/b' in [m.topic for m in mqtt_monitor.messages]",
            "mqtt_monitor.wait_for('a/b')",
        ),
        (
            "assert any(m.topic == 'a/b' for m in mqtt_monitor.messages)",
            "mqtt_monitor.wait_for('a/b')",
        ),
        (
            "assert any(m.topic == TOPIC and m.retain for m in mqtt_monitor.messages)",
            "mqtt_monitor.wait_for(TOPIC, where=lambda m: m.retain)",
        ),
        (
            "assert any(m.payload == b'x' for m in mqtt_monitor.messages)",
            "mqtt_monitor.wait_for(\"#\", where=lambda m: m.payload == b'x')",
        ),
        (
            "[one, two] = [m for m in mqtt_monitor.messages if m.topic == 'a']\nassert one != two",
            "mqtt_monitor.wait_for('a', count=2)",
        ),
        (
            "found = [m for m in mqtt_monitor.messages if m.topic == 'a']\nassert len(found) >= 2",
            "mqtt_monitor.wait_for('a', count=2)",
        ),
        (
            "messages = mqtt_monitor.messages\nassert messages[0].json() == {}",
            'mqtt_monitor.wait_for("#")',
        ),
    ],
)
def test_a_sleep_before_reading_the_monitor_becomes_wait_for(repo, looks, wait):
    act = "mqtt_client.publish('a/b', 'x')\n"
    assert fixed_body(repo, f"{act}time.sleep(1)\n{looks}\n") == f"{act}{wait}\n{looks}\n"


def test_a_sleep_that_is_a_wait_for_an_event_is_rewritten_too(repo):
    body = "threading.Event().wait(timeout=20)\n"
    look = "assert camera_detector.cameras\n"
    head = "import threading\n\nlocal = threading.local()\n\n\ndef test_it(camera_detector):\n"
    after = fixed(repo, head + indent(body + look, "    "))
    assert after == head + indent(f"{DISCOVERY}\n{look}", "    ")
    messages = "assert mqtt_monitor.messages\n"
    after = fixed_body(repo, f"import threading\n{body}{messages}", "mqtt_monitor")
    assert after.splitlines()[0] == 'mqtt_monitor.wait_for("#", timeout=20)'


def test_the_name_of_a_test_says_that_it_is_about_health(repo):
    wait = WAIT.replace("test_it", "test_health_of_all")
    assert f"    {DISCOVERY}\n    {HEALTH}\n" in fixed(repo, wait)


def test_later_looks_count_until_the_test_sleeps_again(repo):
    body = """\
        time.sleep(2)
        assert camera_detector.cameras
        name = list(camera_detector.cameras)[0]
        assert camera_detector.cameras[name].online
        time.sleep(2)
        assert camera_detector.cameras
        """
    calls = [line for line in fixed_body(repo, body).splitlines() if "_once" in line]
    assert calls == [DISCOVERY, HEALTH, DISCOVERY]


def test_only_the_messages_that_are_looked_at_next_are_waited_for(repo):
    body = """\
        mqtt_client.publish("a", "1")
        time.sleep(1)
        assert any(m.topic == "b" for m in mqtt_monitor.messages)
        mqtt_client.publish("a", "2")
        time.sleep(1)
        assert camera_detector.cameras
        """
    after = fixed_body(repo, body)
    assert after == dedent(body).replace("time.sleep(1)", 'mqtt_monitor.wait_for("b")', 1)


def replacement(repo, text):
    """What is proposed for the only finding."""
    repo.write("tests/test_it.py", text)
    [found] = repo.scan()
    assert not found.certain
    return found.replacement


COMMAND = """
import time

def test_it({}, mqtt_client):
    mqtt_client.publish("cams/command", "reset")
    time.sleep(1)
    assert {}.is_reset
"""


@pytest.mark.parametrize("service", ["mqtt_service", "camera_detector"])
def test_a_command_on_the_broker_is_not_one_that_is_dealt_with(repo, service):
    proposed = replacement(repo, COMMAND.format(service, service))
    assert "mqtt_monitor.wait_for(topic), for what the service publishes in reply; " in proposed
    assert "not for the command's own 'cams/command'" in proposed
    assert ("test_run_discovery_once()" in proposed) == (service == "camera_detector")


def test_who_listens_to_himself_waits_for_that(repo):
    text = COMMAND.format("mqtt_listener", "mqtt_listener")
    text = text.replace("    mqtt", '    mqtt_client.subscribe("cams/command")\n    mqtt', 1)
    assert "in reply" not in replacement(repo, text)


def test_a_sleep_behind_a_subscription(repo):
    text = COMMAND.format("mqtt_service", "mqtt_service").replace("publish", "subscribe")
    assert replacement(repo, text).startswith("a threading.Event that on_subscribe of the client")


def test_a_test_case_gets_no_monitor(repo):
    text = """
        import time
        import unittest
        import paho.mqtt.client as mqtt

        class GatewayTest(unittest.TestCase):
            def test_it(self):
                client = mqtt.Client()
                client.publish("a/b", "c")
                time.sleep(1)
                self.assertTrue(client.is_connected())
        """
    proposed = replacement(repo, text)
    assert proposed.startswith("a threading.Event that on_message of a client sets")
    assert "not for the command's own 'a/b'" in proposed
    assert "mqtt_monitor" not in proposed


def test_a_slow_fixture_s_sleep_goes_with_it(repo):
    text = """
        import time, pytest

        @pytest.fixture
        def camera_detector(mqtt_broker):
            detector = make(mqtt_broker)
            time.sleep(1)
            return detector
        """
    assert replacement(repo, text).startswith("nothing: the fast fixture takes the place")


def test_what_is_looked_at_is_not_named_by_its_parts(repo):
    look = "assert all(camera.ready for camera in camera_detector.cameras.values())"
    repo.write("tests/test_it.py", WAIT.replace("assert camera_detector.cameras", look))
    [found] = repo.scan()
    assert found.what.endswith("before it looks at camera_detector")


@pytest.mark.parametrize("look", ["assert mqtt_service.is_reset", "check(mqtt_service)"])
def test_the_command_itself_is_not_waited_for_in_place_of_the_service(repo, look):
    body = f"""\
        mqtt_client.publish("cams/command", "reset")
        time.sleep(1)
        assert mqtt_monitor.messages[0].topic == "cams/command"
        {look}
        """
    params = "mqtt_service, mqtt_client, mqtt_monitor"
    assert fixed_body(repo, body, params) == dedent(body)


def test_a_folder_of_tests_of_another_name(repo):
    helper = "import subprocess\ndef start(): return subprocess.Popen(['mosquitto'])\n"
    repo.write("checks/broker.py", helper)
    repo.write("checks/deep/down/service.py", "def read(mqtt_client): time.sleep(1)\n")
    repo.write("checks/deep/down/broker.py", helper)
    repo.write("service.py", helper)
    assert repo.scan() == findings.scan(repo.folder, Path()) == []
    assert [found.path for found in findings.scan(repo.folder, Path("checks"))] == [
        Path("checks/broker.py"),
        Path("checks/deep/down/broker.py"),
    ]


def test_a_long_sleep_gives_the_timeout(repo):
    after = fixed_body(repo, "time.sleep(20)\nassert mqtt_monitor.messages\n", "mqtt_monitor")
    assert after.splitlines()[0] == 'mqtt_monitor.wait_for("#", timeout=20)'


def test_what_the_background_publishes_needs_the_call_and_the_wait(repo):
    look = 'assert any(m.topic == "system/health" for m in mqtt_monitor.messages)'
    after = fixed_body(repo, f"time.sleep(1)\n{look}\n")
    assert after.splitlines() == [HEALTH, 'mqtt_monitor.wait_for("system/health")', look]


@pytest.mark.parametrize(
    "body",
    [
        "mqtt_client.publish('c', 'discover')\ntime.sleep(1)\nassert camera_detector.cameras",
        "camera_detector.handle_command('x')\ntime.sleep(1)\nassert camera_detector.cameras",
        "start(camera_detector)\ntime.sleep(1)\nassert camera_detector.cameras",
        "detector = camera_detector\ndetector.go()\ntime.sleep(1)\nassert camera_detector.cameras",
        "camera_detector.test_enable_background_tasks()\n"
        "time.sleep(1)\nassert camera_detector.cameras",
        "time.sleep(1)\ncamera_detector.discover()\nassert camera_detector.cameras",
        "time.sleep(1)\nmqtt_client.publish('a')\nassert camera_detector.cameras",
        "time.sleep(1)\nassert camera_detector.discover_cameras()",
        "time.sleep(1)\nassert camera_detector.mqtt_connected",
        "time.sleep(1); assert camera_detector.cameras",
        "time.sleep(seconds())\nassert camera_detector.cameras",
        "if True: time.sleep(1)\nassert camera_detector.cameras",
        "while not camera_detector.cameras:\n    mqtt_client.publish('a')\n    time.sleep(1)\n"
        "assert camera_detector.cameras",
        "for n in range(9):\n    if camera_detector.cameras:\n        break\n    time.sleep(1)\n"
        "assert camera_detector.cameras and n < 5",
        "while not camera_detector.cameras:\n    time.sleep(1)\nelse:\n    pass\n"
        "assert camera_detector.cameras",
        "time.sleep(1)\nassert not mqtt_monitor.messages",
        "with mock.patch('d.discover') as discover:\n    time.sleep(1)\n    assert discover.called",
        "time.sleep(1)\nassert len(mqtt_monitor.messages) == 0",
        "mqtt_client.publish('a')\ntime.sleep(1)\nassert mqtt_monitor.messages[-1].topic == 'a'",
        "assert mqtt_monitor.messages\nmqtt_client.publish('a')\n"
        "time.sleep(1)\nassert mqtt_monitor.messages",
        "mqtt_client.publish('a')\n"
        "time.sleep(1)\nassert all(m.retain for m in mqtt_monitor.messages)",
        "mqtt_client.publish('a')\ntime.sleep(1)\nassert mqtt_monitor.messages\n"
        "with network_mocks.broken():\n    assert camera_detector.cameras",
        "mqtt_client.publish('a')\ntime.sleep(1)\nassert mqtt_monitor.messages\n"
        "found = list(camera_detector.cameras)\ncount = compute(found)\nassert count == 1",
        "pause = threading.Event()\npause.wait(1)\nassert camera_detector.cameras",
        "threading.Event().wait(seconds())\nassert camera_detector.cameras",
    ],
)
def test_the_doubtful_stays_and_is_found(repo, body):
    assert fixed_body(repo, body) == body
    kinds = {finding.kind for finding in repo.scan()}
    assert kinds == {"wait-for-background"}


@pytest.mark.parametrize(
    "text",
    [
        WAIT.replace("def test_it(", "async def test_it("),
        WAIT.replace("import time", "from x import time"),
        "import time, unittest\nclass T(unittest.TestCase):\n"
        + indent(WAIT.partition("\n")[2].replace("(camera", "(self, camera"), "    "),
        "# coding: latin-1\n" + WAIT,
        WAIT.replace("\n", "\r"),
        WAIT.replace("camera_detector", "detector"),
    ],
    ids=["async", "another sleep", "TestCase", "not UTF-8", "CR", "another service"],
)
def test_the_doubtful_test_stays(repo, text):
    assert fixed(repo, text) == text


REFUSED = {
    "params": "@pytest.fixture(params=[1, 2])\n"
    "def camera_detector(mqtt_broker, request): request.param",
    "autouse": "@pytest.fixture(autouse=True)\ndef camera_detector(mqtt_broker): yield",
    "the class": "@pytest.fixture\ndef camera_detector(mqtt_broker, request): request.cls.it = 1",
    "extends": "@pytest.fixture\ndef camera_detector(mqtt_broker, camera_detector): yield",
    "wider": "@pytest.fixture(scope='module')\ndef camera_detector(mqtt_broker): yield\n"
    "@pytest.fixture(scope='module')\ndef user(camera_detector): yield",
}


@pytest.mark.parametrize("place", ["tests/conftest.py", "tests/test_it.py"])
@pytest.mark.parametrize("slow", REFUSED.values(), ids=REFUSED)
def test_where_the_slow_fixture_stays_its_tests_wait_on(repo, slow, place):
    text = f"import pytest\n{slow}\n"
    if place == "tests/conftest.py":
        repo.write(place, text)
        assert fixed(repo, WAIT) == WAIT
    else:
        assert fixed(repo, text + WAIT) == text + WAIT
    assert [f.kind for f in repo.scan()] == ["wait-for-background"]


def test_a_fixture_that_is_made_of_the_fast_one_has_its_methods(repo):
    repo.write(
        "tests/conftest.py",
        """
        import pytest
        @pytest.fixture(params=[1, 2])
        def camera_detector(request, camera_detector_fast):
            camera_detector_fast.mode = request.param
            return camera_detector_fast
        """,
    )
    assert "test_run_discovery_once" in fixed(repo, WAIT)


def test_a_fixture_that_stands_in_for_the_detector(repo):
    repo.write(
        "tests/conftest.py",
        """
        from camera_detector_optimized_fixture import camera_detector_fast
        from optimized_service_fixture import override_fixture
        override_fixture("detector", camera_detector_fast)
        """,
    )
    after = fixed(repo, WAIT.replace("camera_detector", "detector"))
    assert "    detector.test_run_discovery_once()\n" in after


def test_a_monitor_of_their_own_has_no_wait_for(repo):
    repo.write(
        "tests/conftest.py",
        """
        import pytest
        @pytest.fixture
        def mqtt_monitor(): ...
        """,
    )
    body = "time.sleep(1)\nassert mqtt_monitor.messages\n"
    assert fixed_body(repo, body, "mqtt_monitor") == body
