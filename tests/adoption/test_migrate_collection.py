"""`migrate.py` on suites that connect as they are collected, to a broker that is not there."""

import pytest
from helpers.migrating_user import refuse

CONNECTING = """\
import queue

import paho.mqtt.client as mqtt
from service import new_client

RECEIVED: "queue.Queue[bytes]" = queue.Queue()
CLIENT: mqtt.Client = new_client("")
CLIENT.on_message = lambda client, userdata, message: RECEIVED.put(message.payload)
CLIENT.connect("localhost", HARD_PORT)
CLIENT.loop_start()


def test_echo():
    CLIENT.on_subscribe = lambda *args: CLIENT.publish("lamp", "on")
    CLIENT.subscribe("lamp")
    assert RECEIVED.get(timeout=5) == b"on"
"""

PLAIN = "def test_plain():\n    pass\n"


@pytest.fixture
def connecting(user, hard_port):
    (user.root / "tests/test_detect.py").unlink()
    user.write("tests/test_lamp.py", CONNECTING.replace("HARD_PORT", str(hard_port)))
    return user


@pytest.mark.slow
def test_what_wants_a_broker_is_collected_with_the_lines_in_place(connecting, hard_port):
    before = connecting.files()
    result = connecting.migrate("apply", "--option", "3").stdout
    assert "pytest cannot collect 1 file, and goes on without:\n    tests/test_lamp.py: " in result
    assert "Good news: tests/test_lamp.py: pytest collects 1 test now. Before: " in result
    assert "Connection refused" in result
    assert f"redirect_to_test_broker(1883, {hard_port})" in connecting.read("tests/conftest.py")
    assert connecting.pytest().returncode == 0
    assert connecting.data("apply", "--option", "3")["changes"] == []
    why = connecting.migrate("verify", status=2).stderr
    assert "tests/test_lamp.py: ConnectionRefusedError: [Errno 111] Connection refused" in why
    assert f"localhost:{hard_port}" in why
    connecting.migrate("rollback")
    assert {n: f for n, f in connecting.files().items() if "cache" not in n} == before


@pytest.mark.slow
def test_beside_what_is_collected_without_it(connecting):
    connecting.write("tests/test_plain.py", PLAIN)
    connecting.migrate("apply", "--option", "3")
    proof = connecting.data("apply", "--option", "3")["proof"]
    assert proof["works"]
    assert proof["found"] == []  # it was collected before that
    verified = connecting.migrate("verify", status=None).stdout
    assert "Note: tests/test_lamp.py: pytest collects 1 test now. Before: " in verified


@pytest.mark.slow
def test_what_is_not_collected_for_another_reason_is_told_as_before(connecting):
    connecting.write("tests/test_broken.py", "import missing_module\n")
    data = connecting.data("apply", "--option", "3")
    assert data["proof"]["works"]
    assert [found.partition(":")[0] for found in data["proof"]["found"]] == ["tests/test_lamp.py"]
    assert set(data["uncollected"]) == {"tests/test_lamp.py", "tests/test_broken.py"}


def test_an_option_without_redirection_names_the_one_with(connecting, hard_port):
    why = refuse(connecting, "apply")
    assert f"files ask for localhost:{hard_port}, 127.0.0.1:{hard_port} as they are imp" in why
    assert why.endswith("apply --option 3 leads that to the test broker")


@pytest.mark.slow
def test_a_host_that_is_read_from_a_file_is_seen_as_it_is_asked_for(connecting):
    text = CONNECTING.replace('"localhost", HARD_PORT', 'open("host").read(), 1883')
    connecting.write("host", "mqtt.example.test")
    connecting.write("tests/test_lamp.py", text)
    connecting.migrate("apply", "--option", "3")
    call = 'redirect_to_test_broker(hosts=["mqtt.example.test", *LOOPBACK_HOSTS])'
    assert call in connecting.read("tests/conftest.py")


def test_what_does_not_connect_is_refused_as_before(connecting):
    connecting.write("tests/test_lamp.py", "import missing_module\n")
    why = refuse(connecting, "apply", "--option", "3")
    assert "collects no tests" in why
    assert "No module named 'missing_module'. This was /" in why
    assert why.rstrip().endswith("--python")
