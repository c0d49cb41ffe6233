"""`migrate.py` on suites that start their brokers without fixtures."""

import os
from pathlib import Path
from textwrap import indent

import pytest
from helpers.migrating_user import NEEDS_LIBCST, ROOT
from migration.findings import scan
from mqtt_testing.broker.binary import find_mosquitto

CLIENT = """
import queue
import subprocess
import time
import unittest

from service import new_client

PORT = HARD_PORT


def connected(received):
    client = new_client("")
    client.on_connect = lambda client, *args: client.subscribe("#")
    client.on_subscribe = lambda *args: received.put("subscribed")
    client.on_message = lambda client, userdata, message: received.put(message.payload)
    client.connect("localhost", PORT)
    client.loop_start()
    assert received.get(timeout=5) == "subscribed"
    return client
"""

GATEWAY = """

class Broker:
    def __init__(self, port):
        self.port = port
        self.process = None

    def start(self):
        self.process = subprocess.Popen(
            ["mosquitto", "-p", str(self.port)], stdout=subprocess.DEVNULL
        )
        time.sleep(1)  # give it some time

    def stop(self):
        self.process.terminate()
        self.process.wait()


class GatewayTest(unittest.TestCase):
    def setUp(self):
        self.broker = Broker(PORT)
        self.broker.start()
        self.received = queue.Queue()
        self.client = connected(self.received)

    def tearDown(self):
        self.client.loop_stop()
        self.client.disconnect()
        self.broker.stop()

    def test_echo(self):
        self.client.publish("gateway", "on", retain=True)
        self.assertEqual(self.received.get(timeout=5), b"on")

    def test_the_broker_is_a_new_one(self):
        self.client.publish("end", "end")
        self.assertEqual(self.received.get(timeout=5), b"end")
"""

HOME = """

def start_broker(port=PORT):
    broker = subprocess.Popen(["mosquitto", "-v", "-p", f"{port}"])
    time.sleep(1)
    assert broker.poll() is None
    return broker


def test_echo():
    broker = start_broker()
    received = queue.Queue()
    client = connected(received)
    client.publish("home", "on")
    assert received.get(timeout=5) == b"on"
    client.disconnect()
    broker.terminate()
    assert broker.wait() == 0


def test_a_crash():
    broker = start_broker()
    broker.kill()
    assert broker.wait() == -9
"""

LABORATORY = """

class LaboratoryTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.broker = subprocess.Popen(["mosquitto", "-p", "HARD_PORT"])
        time.sleep(5)
        cls.received = queue.Queue()
        cls.client = connected(cls.received)

    @classmethod
    def tearDownClass(cls):
        cls.client.loop_stop()
        cls.client.disconnect()
        cls.broker.terminate()
        cls.broker.wait()

    def test_echo(self):
        self.client.publish("laboratory", "on")
        self.assertEqual(self.received.get(timeout=5), b"on")
"""

HAND_WRITTEN = {
    "gateway": (GATEWAY, "self.process = TestMQTTBroker(port=self.port).start()"),
    "home": (HOME, "broker = TestMQTTBroker(port=port).start()"),
    "laboratory": (LABORATORY, "cls.broker = TestMQTTBroker(port=HARD_PORT).start()"),
}


@pytest.fixture(params=HAND_WRITTEN)
def by_hand(request, user, hard_port):
    """A suite of one file, and the call that takes the place of its broker."""
    text, call = (part.replace("HARD_PORT", str(hard_port)) for part in HAND_WRITTEN[request.param])
    (user.root / "tests/test_detect.py").unlink()
    user.env["PATH"] += os.pathsep + str(Path(find_mosquitto()).parent)
    user.write("tests/test_it.py", CLIENT.replace("HARD_PORT", str(hard_port)) + text)
    return user, call


def test_scan_prints_the_call_that_replaces_a_broker_started_by_hand(by_hand):
    user, call = by_hand
    [found] = [f for f in user.data("scan", status=1)["findings"] if "starts-broker" in f["kind"]]
    assert found["replacement"].startswith(f"{call}, of mqtt_test_broker, for this and the wait")
    assert not found["certain"]  # there is no mqtt_test_broker yet


@pytest.mark.slow
@NEEDS_LIBCST
@pytest.mark.parametrize("package", [False, True])
def test_fix_replaces_a_broker_started_by_hand(by_hand, package):
    user, call = by_hand
    if package:
        user.write("tests/__init__.py", "")
    assert user.data("apply", "--option", "3", "--dry-run", status=1)["changes"]
    user.wire(3)
    user.migrate("fix")
    text = user.read("tests/test_it.py")
    assert call in text
    assert "Popen" not in text
    assert "time.sleep" not in text
    assert f"from {'.' * package}mqtt_test_broker import TestMQTTBroker\n" in text
    run = user.pytest()
    assert run.returncode == 0, run.stdout
    assert not any("starts-broker" in found.kind for found in scan(user.root))
    assert user.data("fix", "--dry-run")["changes"] == []


@NEEDS_LIBCST
def test_fix_does_what_the_documentation_shows(user):
    adopting = (ROOT / "docs" / "adopting.md").read_text()
    [example] = [text for text in adopting.split("```") if "subprocess.Popen(" in text]
    before, after = example.removeprefix("python\n").replace("  # before", "").split("\n\n")
    after = after.replace("  # after", "").strip()
    begin = "import subprocess\nimport time\n\n\ndef start_broker(port):\n"
    body = indent(before, "    ")
    user.write("tests/test_detect.py", f"{begin}{body}\n    return broker\n")
    user.wire(3)
    user.migrate("fix")
    start = user.read("tests/test_detect.py").partition("def start_broker(port):\n")[2]
    assert start == f"    return {after.partition(' = ')[2]}\n"


@pytest.mark.parametrize(
    ("hand_written", "replacement"),
    [
        ('subprocess.Popen(["mosquitto", "-c", "x.conf"])', "port=..., config_lines=[...]"),
        ('subprocess.Popen(["/usr/sbin/mosquitto"], stdout=1)', "port=1883"),
        ('os.system("mosquitto -d -p 1884")', "port=1884"),
        ('subprocess.Popen(["sudo", "mosquitto"])', "port=..., config_lines=[...]"),
        ('subprocess.Popen(["mosquitto", "-p", port()])', "port=..., config_lines=[...]"),
    ],
)
def test_the_doubtful_start_of_a_broker_stays(user, hand_written, replacement):
    text = f"import os, subprocess, time\n\ndef begin():\n    broker = {hand_written}\n"
    user.write("tests/test_detect.py", f"{text}    work()\n")
    user.wire(3)
    found = [f for f in user.data("scan", status=1)["findings"] if "starts-broker" in f["kind"]]
    assert [f["certain"] for f in found] == [False]
    assert f"broker = TestMQTTBroker({replacement}).start()" in found[0]["replacement"]


def test_a_process_that_is_talked_to_stays(user):
    start = 'broker = subprocess.Popen(["mosquitto"])\n    time.sleep(1)\n'
    head = "import subprocess, time\n\ndef begin():\n    "
    user.write("tests/test_detect.py", f"{head}{start}    return broker\n")
    user.wire(3)
    kinds = {f["kind"]: f["certain"] for f in user.data("scan", status=1)["findings"]}
    assert kinds["helper-starts-broker"]
    user.write("tests/test_log.py", "def test_log():\n    assert begin().stderr.read()\n")
    kinds = {f["kind"]: f["certain"] for f in user.data("scan", status=1)["findings"]}
    assert not kinds["helper-starts-broker"]
