"""The camera detector against a real broker and a network of fake cameras."""

from __future__ import annotations

import logging
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import paho.mqtt.client as mqtt
import pytest
from helpers.broker_by_hand import find_mosquitto, free_port
from helpers.camera_detector import network
from helpers.camera_detector.camera import mask_credentials
from helpers.camera_detector.config import Config
from helpers.camera_detector.detect import CameraDetector
from helpers.camera_detector.tracking import MacTracker, normalise_mac
from helpers.camera_rounds import lose, plug_in_many, run_discovery, run_health_check
from helpers.camera_site import FREE_IP, FRONT, FRONT_IP, NEW, NEW_IP, SETTINGS, YARD, YARD_IP
from helpers.camera_topics import COMMAND, EVENTS, FRIGATE, HEALTH, INVENTORY, LWT
from helpers.fake_network import FakeNetwork
from helpers.published import Address, Message, Published, frigate_cameras, has, is_event, says_now
from helpers.retries import ReluctantClient, sleeps_of_this_thread

# The stream validation forks. What it does in the child takes no lock that a thread may hold.
pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")


def new_client() -> mqtt.Client:
    if hasattr(mqtt, "CallbackAPIVersion"):
        return mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
    return mqtt.Client()  # paho-mqtt 1.6


def wait_until_it_answers(address: Address) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        client = new_client()
        try:
            client.connect(*address)
            client.disconnect()
            return
        except OSError:
            time.sleep(0.1)  # 0.1 s for each try
    pytest.fail(f"no broker at {address}")


@pytest.fixture
def slow_mqtt_broker(tmp_path: Path) -> Iterator[Address]:
    """A broker for each test, started by hand, with the usual margins."""
    address = Address("127.0.0.1", free_port())
    settings = tmp_path / "mosquitto.conf"
    settings.write_text(f"listener {address.port} {address.host}\nallow_anonymous true\n")
    broker = subprocess.Popen(
        [find_mosquitto(), "-c", str(settings)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        time.sleep(2)  # 2.0 s: "give the broker time to start"
        wait_until_it_answers(address)
        yield address
    finally:
        broker.terminate()
        try:
            broker.wait(5)
        except subprocess.TimeoutExpired:
            broker.kill()
            broker.wait()


@pytest.fixture
def config(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The environment of the service; parametrize it indirectly to change some of it."""
    settings: dict[str, str] = {**SETTINGS, **getattr(request, "param", {})}
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    return settings


@pytest.fixture
def network_mocks(monkeypatch: pytest.MonkeyPatch) -> FakeNetwork:
    """A network with two ONVIF cameras, in place of the real one."""
    fake = FakeNetwork()
    fake.plug_in(FRONT, FRONT_IP)
    fake.plug_in(YARD, YARD_IP, model="Bullet")
    for seam in FakeNetwork.SEAMS:
        monkeypatch.setattr(network, seam, getattr(fake, seam))
    return fake


@pytest.fixture
def mock_onvif(network_mocks: FakeNetwork, monkeypatch: pytest.MonkeyPatch) -> Mock:
    """The ONVIF library; it knows the cameras of `network_mocks`."""
    onvif = Mock(side_effect=network_mocks.onvif_camera)
    monkeypatch.setattr(network, "onvif_camera", onvif)
    return onvif


@pytest.fixture
def camera_detector(
    slow_mqtt_broker: Address,
    network_mocks: FakeNetwork,
    mock_onvif: Mock,
    config: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[CameraDetector]:
    """The service as it runs at home, with its background threads."""
    monkeypatch.setenv("MQTT_BROKER", slow_mqtt_broker.host)
    monkeypatch.setenv("MQTT_PORT", str(slow_mqtt_broker.port))
    detector = CameraDetector()
    for _ in range(20):
        time.sleep(0.5)  # 0.5 s for each look at whether the first discovery is over
        if detector.discovery_count and detector.health_check_count:
            break
    yield detector
    detector.cleanup()  # up to 1.0 s for the threads' last sleep, and 1.0 s for loop_stop
    time.sleep(0.5)  # 0.5 s: "let the sockets close"


def subscribe_to_everything(detector: CameraDetector) -> Published:
    """From now on, and what is retained."""
    return Published(Address(detector.config.mqtt_broker, detector.config.mqtt_port))


@pytest.fixture
def published(camera_detector: CameraDetector) -> Iterator[Published]:
    subscriber = subscribe_to_everything(camera_detector)
    yield subscriber
    subscriber.close()


@pytest.fixture
def backoff(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The sleeps of this thread, which are not slept; those of other threads are."""
    return sleeps_of_this_thread(monkeypatch)


validating_in_a_process = pytest.mark.parametrize(
    "config", [{"VALIDATION_PROCESSES": "1"}], indirect=True, ids=["process"]
)


# Initialization


def test_initialization(camera_detector: CameraDetector, published: Published) -> None:
    assert camera_detector.mqtt_connected
    assert camera_detector._running
    assert isinstance(camera_detector.mac_tracker, MacTracker)
    assert published.wait_for(LWT) == (LWT, "online", True)


def test_settings_come_from_the_environment(
    camera_detector: CameraDetector, config: dict[str, str]
) -> None:
    settings = camera_detector.config
    assert settings.camera_credentials == [("admin", "secret"), ("viewer", "look")]
    assert settings.offline_threshold == int(config["OFFLINE_THRESHOLD"])
    assert settings.rtsp_ports == [554, 8554]
    assert [str(scanned) for scanned in settings.scan_networks] == [config["SCAN_NETWORKS"]]


def test_health_is_reported(camera_detector: CameraDetector, published: Published) -> None:
    run_discovery(camera_detector)
    run_health_check(camera_detector)
    everything_is_fine = has(cameras={"total": 2, "online": 2, "offline": 0}, status="running")
    assert published.wait_for(HEALTH, everything_is_fine).json()["discoveries"] >= 1


# MAC tracking


def test_cameras_are_keyed_by_mac(camera_detector: CameraDetector, published: Published) -> None:
    run_discovery(camera_detector)
    assert set(camera_detector.cameras) == {FRONT, YARD}
    assert camera_detector.mac_tracker.ip_of(FRONT) == FRONT_IP
    assert published.wait_for(f"camera/discovery/{FRONT}").json()["mac"] == FRONT


def test_a_moved_camera_is_the_same_camera(
    camera_detector: CameraDetector, network_mocks: FakeNetwork, published: Published
) -> None:
    run_discovery(camera_detector)
    network_mocks.move(FRONT, FREE_IP)
    run_discovery(camera_detector)
    assert set(camera_detector.cameras) == {FRONT, YARD}
    message = published.wait_for(f"camera/discovery/{FRONT}", has(ip=FREE_IP))
    assert message.json()["stream"] == f"rtsp://{FREE_IP}:554/stream1"


def test_a_move_is_an_event(
    camera_detector: CameraDetector, network_mocks: FakeNetwork, published: Published
) -> None:
    run_discovery(camera_detector)
    network_mocks.move(YARD, FREE_IP)
    run_discovery(camera_detector)
    event = published.event("ip_changed", YARD)
    assert (event["old_ip"], event["ip"]) == (YARD_IP, FREE_IP)


@pytest.mark.parametrize("spelling", ["AA-BB-CC-00-00-03", "aabb.cc00.0003"])
def test_a_mac_is_the_same_however_spelled(
    camera_detector: CameraDetector,
    network_mocks: FakeNetwork,
    published: Published,
    spelling: str,
) -> None:
    network_mocks.plug_in(spelling, NEW_IP)
    run_discovery(camera_detector)
    assert published.event("camera_discovered", NEW)["ip"] == NEW_IP
    assert camera_detector.cameras[NEW].mac == normalise_mac(spelling)


def test_a_camera_without_mac_is_known_by_its_ip_until_the_mac_is_seen(
    camera_detector: CameraDetector, network_mocks: FakeNetwork, published: Published
) -> None:
    network_mocks.plug_in(NEW, NEW_IP, in_arp_table=False)
    run_discovery(camera_detector)
    assert published.event("camera_discovered", NEW_IP)["ip"] == NEW_IP
    network_mocks.change(NEW, in_arp_table=True)
    run_discovery(camera_detector)
    assert set(camera_detector.cameras) == {FRONT, YARD, NEW}
    published.wait_for(f"camera/discovery/{NEW_IP}", lambda message: message.payload == "")


# Discovery


@pytest.mark.parametrize(
    ("method", "details"),
    [
        ("onvif", {"onvif": True, "manufacturer": "Axis", "model": "P3245"}),
        ("mdns", {"onvif": False, "mdns": True}),
        ("rtsp", {"onvif": False}),
        ("rtsp", {"onvif": False, "rtsp_port": 8554}),
    ],
    ids=["onvif", "mdns", "rtsp", "rtsp-on-8554"],
)
def test_a_camera_is_found_by(
    camera_detector: CameraDetector,
    network_mocks: FakeNetwork,
    published: Published,
    method: str,
    details: dict[str, Any],
) -> None:
    network_mocks.plug_in(NEW, NEW_IP, **details)
    run_discovery(camera_detector)
    assert published.wait_for(f"camera/discovery/{NEW}").json() == {
        "id": NEW,
        "ip": NEW_IP,
        "mac": NEW,
        "method": method,
        "manufacturer": details.get("manufacturer", "unknown"),
        "model": details.get("model", "unknown"),
        "stream": f"rtsp://{NEW_IP}:{details.get('rtsp_port', 554)}/stream1",
        "online": True,
    }


def test_a_camera_found_twice_is_one(
    camera_detector: CameraDetector, network_mocks: FakeNetwork, published: Published
) -> None:
    network_mocks.plug_in(NEW, NEW_IP, onvif=True, mdns=True)
    run_discovery(camera_detector)
    assert published.event("camera_discovered", NEW)
    found = [m for m in published.all_of(camera_detector) if m.topic == f"camera/discovery/{NEW}"]
    assert [message.json()["method"] for message in found] == ["onvif"]


@validating_in_a_process
def test_a_camera_without_a_working_stream_is_none(
    camera_detector: CameraDetector, network_mocks: FakeNetwork, published: Published
) -> None:
    network_mocks.plug_in(NEW, NEW_IP, stream_works=False)
    run_discovery(camera_detector)
    assert NEW not in camera_detector.cameras
    topics = {message.topic for message in published.all_of(camera_detector)}
    assert f"camera/discovery/{YARD}" in topics
    assert f"camera/discovery/{NEW}" not in topics


def test_latecomers_learn_of_every_camera(camera_detector: CameraDetector) -> None:
    run_discovery(camera_detector)
    camera_detector.mqtt_client.publish("barrier", qos=1).wait_for_publish(5)
    latecomer = subscribe_to_everything(camera_detector)
    try:
        for mac in (FRONT, YARD):
            assert latecomer.wait_for(f"camera/discovery/{mac}").retain
            assert latecomer.wait_for(f"camera/status/{mac}").payload == "online"
    finally:
        latecomer.close()


# Frigate


def test_frigate_gets_every_camera(camera_detector: CameraDetector, published: Published) -> None:
    run_discovery(camera_detector)
    cameras = frigate_cameras(published.wait_for(FRIGATE))
    assert set(cameras) == {"dome_aa_bb_cc_00_00_01", "bullet_aa_bb_cc_00_00_02"}
    assert all(camera["enabled"] for camera in cameras.values())


def test_frigate_gets_streams_that_it_can_open(
    camera_detector: CameraDetector, network_mocks: FakeNetwork, published: Published
) -> None:
    run_discovery(camera_detector)
    front = frigate_cameras(published.wait_for(FRIGATE))["dome_aa_bb_cc_00_00_01"]
    [stream] = front["ffmpeg"]["inputs"]
    assert network_mocks.probe_stream(stream["path"])
    assert stream["roles"] == ["detect", "record"]


def test_frigate_does_not_watch_a_lost_camera(
    camera_detector: CameraDetector, network_mocks: FakeNetwork, published: Published
) -> None:
    run_discovery(camera_detector)
    lose(camera_detector, network_mocks, YARD)

    def yard_is_off(message: Message) -> bool:
        return not frigate_cameras(message)["bullet_aa_bb_cc_00_00_02"]["enabled"]

    assert frigate_cameras(published.wait_for(FRIGATE, yard_is_off))["dome_aa_bb_cc_00_00_01"][
        "enabled"
    ]


def test_frigate_follows_a_moved_camera(
    camera_detector: CameraDetector, network_mocks: FakeNetwork, published: Published
) -> None:
    run_discovery(camera_detector)
    network_mocks.move(FRONT, FREE_IP)
    run_discovery(camera_detector)
    message = published.wait_for(FRIGATE, lambda message: FREE_IP in message.payload)
    assert FRONT_IP not in message.payload


# Resilience


@pytest.fixture
def reluctant_client(
    camera_detector: CameraDetector, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ReluctantClient]:
    client = ReluctantClient()
    with monkeypatch.context() as patch:
        patch.setattr(camera_detector, "mqtt_client", client)
        yield client


def test_connecting_is_tried_again_ever_more_slowly(
    camera_detector: CameraDetector, reluctant_client: ReluctantClient, backoff: list[float]
) -> None:
    reluctant_client.refuse(3, camera_detector)
    camera_detector._mqtt_connect_with_retry()
    assert backoff == [10, 20, 40]
    assert camera_detector.mqtt_connected


def test_connecting_is_given_up_in_the_end(
    camera_detector: CameraDetector, reluctant_client: ReluctantClient, backoff: list[float]
) -> None:
    reluctant_client.refuse(5, camera_detector)
    with pytest.raises(ConnectionError, match="no MQTT broker at"):
        camera_detector._mqtt_connect_with_retry()
    assert backoff == [10, 20, 40, 80]


def test_after_a_reconnection_everything_is_published_again(
    camera_detector: CameraDetector, published: Published
) -> None:
    run_discovery(camera_detector)
    before = len(published.all_of(camera_detector, f"camera/discovery/{FRONT}"))
    camera_detector._on_disconnect(camera_detector.mqtt_client, None, 7)
    assert not camera_detector.mqtt_connected
    camera_detector._on_connect(camera_detector.mqtt_client, None, {}, 0)
    assert camera_detector.mqtt_connected
    after = published.all_of(camera_detector, f"camera/discovery/{FRONT}")
    assert len(after) == before + 1


@pytest.mark.parametrize("broken", ["ws_discovery", "mdns_browse"])
def test_a_broken_search_does_not_end_the_others(
    camera_detector: CameraDetector,
    network_mocks: FakeNetwork,
    published: Published,
    monkeypatch: pytest.MonkeyPatch,
    broken: str,
) -> None:
    run_discovery(camera_detector)
    failing = Mock(side_effect=OSError("network is unreachable"))
    monkeypatch.setattr(network, broken, failing)
    network_mocks.plug_in(NEW, NEW_IP, onvif=False)
    run_discovery(camera_detector)
    assert published.event("camera_discovered", NEW)["ip"] == NEW_IP
    assert failing.called


# Events


def test_a_discovery_is_one_event(
    camera_detector: CameraDetector, network_mocks: FakeNetwork, published: Published
) -> None:
    network_mocks.plug_in(NEW, NEW_IP)
    run_discovery(camera_detector)
    run_discovery(camera_detector)
    events = published.all_of(camera_detector, EVENTS)
    assert len(list(filter(is_event("camera_discovered", NEW), events))) == 1


def test_a_lost_camera_is_an_event(
    camera_detector: CameraDetector, network_mocks: FakeNetwork, published: Published
) -> None:
    run_discovery(camera_detector)
    lose(camera_detector, network_mocks, FRONT)
    assert published.event("camera_offline", FRONT)["ip"] == FRONT_IP
    status = published.wait_for(f"camera/status/{FRONT}", says_now("offline"))
    assert status.topic == f"camera/status/{FRONT}"
    assert camera_detector.cameras[YARD].online


def test_a_camera_that_comes_back_is_an_event(
    camera_detector: CameraDetector, network_mocks: FakeNetwork, published: Published
) -> None:
    run_discovery(camera_detector)
    lose(camera_detector, network_mocks, FRONT)
    network_mocks.plug_back(FRONT)
    run_discovery(camera_detector)
    assert published.event("camera_online", FRONT)["ip"] == FRONT_IP
    states = published.all_of(camera_detector, f"camera/status/{FRONT}")
    assert [message.payload for message in states][-2:] == ["offline", "online"]


@pytest.mark.parametrize("config", [{"DISCOVERY_INTERVAL": "3600"}], indirect=True)
def test_a_discovery_can_be_commanded(
    camera_detector: CameraDetector,
    config: dict[str, str],
    network_mocks: FakeNetwork,
    published: Published,
) -> None:
    network_mocks.plug_in(NEW, NEW_IP)
    published.send(COMMAND, "discover")
    assert published.event("camera_discovered", NEW)["ip"] == NEW_IP


def test_the_inventory_can_be_commanded(
    camera_detector: CameraDetector, published: Published
) -> None:
    run_discovery(camera_detector)
    published.send(COMMAND, "inventory")
    inventory = published.wait_for(INVENTORY).json()["cameras"]
    assert {camera["id"]: camera["ip"] for camera in inventory} == {FRONT: FRONT_IP, YARD: YARD_IP}


# Credentials


def test_credentials_are_tried_in_order(
    camera_detector: CameraDetector, network_mocks: FakeNetwork, mock_onvif: Mock
) -> None:
    network_mocks.plug_in(NEW, NEW_IP, user="viewer", password="look")
    run_discovery(camera_detector)
    tried = [call.args for call in mock_onvif.call_args_list if call.args[0] == NEW_IP]
    assert tried == [(NEW_IP, 80, "admin", "secret"), (NEW_IP, 80, "viewer", "look")]


def test_the_credentials_that_work_are_used(
    camera_detector: CameraDetector, network_mocks: FakeNetwork, published: Published
) -> None:
    network_mocks.plug_in(NEW, NEW_IP, onvif=False, user="viewer", password="look")
    run_discovery(camera_detector)
    assert camera_detector.cameras[NEW].credentials == ("viewer", "look")
    path = f"rtsp://viewer:look@{NEW_IP}:554/stream1"
    published.wait_for(FRIGATE, lambda message: path in message.payload)


def test_the_credentials_that_worked_are_tried_first(
    camera_detector: CameraDetector, network_mocks: FakeNetwork, mock_onvif: Mock
) -> None:
    network_mocks.plug_in(NEW, NEW_IP, user="viewer", password="look")
    run_discovery(camera_detector)
    network_mocks.move(NEW, FREE_IP)
    run_discovery(camera_detector)
    tried = [call.args[2] for call in mock_onvif.call_args_list if call.args[0] == FREE_IP]
    assert tried == ["viewer"]


def test_a_camera_that_accepts_nobody_is_not_reported(
    camera_detector: CameraDetector, network_mocks: FakeNetwork, published: Published
) -> None:
    network_mocks.change(YARD, ip=FREE_IP, password="changed")
    run_discovery(camera_detector)
    places = [message.json() for message in published.all_of(camera_detector, "camera/discovery/+")]
    assert FRONT_IP in [place["ip"] for place in places]
    assert FREE_IP not in [place["ip"] for place in places]


# Full cycle


@validating_in_a_process
def test_full_cycle(
    camera_detector: CameraDetector, network_mocks: FakeNetwork, published: Published
) -> None:
    network_mocks.plug_in(NEW, NEW_IP)
    run_discovery(camera_detector)
    network_mocks.move(NEW, FREE_IP)
    run_discovery(camera_detector)
    lose(camera_detector, network_mocks, FRONT)
    network_mocks.plug_back(FRONT)
    run_discovery(camera_detector)
    camera_detector.cleanup()
    published.wait_for(LWT, says_now("offline"))
    events = [m.json() for m in published.so_far(EVENTS)]
    assert [event["event"] for event in events if event["id"] == NEW] == [
        "camera_discovered",
        "ip_changed",
    ]
    assert [event["event"] for event in events if event["id"] == FRONT][-2:] == [
        "camera_offline",
        "camera_online",
    ]


def test_the_service_can_be_restarted(
    camera_detector: CameraDetector, published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    camera_detector.cleanup()
    published.wait_for(LWT, says_now("offline"))
    monkeypatch.setattr(CameraDetector, "_start_background_tasks", lambda self: None)
    restarted = CameraDetector(camera_detector.config)
    try:
        restarted._run_full_discovery()
        states = [message.payload for message in published.all_of(restarted, LWT)]
        assert states[-2:] == ["offline", "online"]
        assert set(restarted.cameras) == {FRONT, YARD}
    finally:
        restarted.cleanup()


# Large camera counts


@validating_in_a_process
def test_many_cameras_are_all_published(
    camera_detector: CameraDetector, network_mocks: FakeNetwork, published: Published
) -> None:
    macs = plug_in_many(network_mocks, 100)
    run_discovery(camera_detector)
    found = published.all_of(camera_detector, "camera/discovery/+")
    assert {message.json()["id"] for message in found} == {FRONT, YARD, *macs}


def test_many_cameras_can_go_at_once(
    camera_detector: CameraDetector, network_mocks: FakeNetwork, published: Published
) -> None:
    macs = plug_in_many(network_mocks, 50)
    run_discovery(camera_detector)
    lose(camera_detector, network_mocks, *macs)
    published.wait_for(HEALTH, has(cameras={"total": 52, "online": 2, "offline": 50}))
    events = published.all_of(camera_detector, EVENTS)
    lost = [message.json()["id"] for message in events if "camera_offline" in message.payload]
    assert sorted(lost) == macs


# Edge cases


def test_an_empty_network_is_reported_as_such(
    camera_detector: CameraDetector, network_mocks: FakeNetwork, published: Published
) -> None:
    network_mocks.remove_all()
    run_discovery(camera_detector)
    camera_detector.cameras.clear()
    run_health_check(camera_detector)
    published.wait_for(HEALTH, has(cameras={"total": 0, "online": 0, "offline": 0}))
    published.wait_for(FRIGATE, lambda message: frigate_cameras(message) == {})


def test_two_cameras_can_swap_their_addresses(
    camera_detector: CameraDetector, network_mocks: FakeNetwork, published: Published
) -> None:
    run_discovery(camera_detector)
    network_mocks.swap_addresses(FRONT, YARD)
    run_discovery(camera_detector)
    assert published.event("ip_changed", FRONT)["ip"] == YARD_IP
    assert published.event("ip_changed", YARD)["ip"] == FRONT_IP
    assert camera_detector.mac_tracker.mac_of(FRONT_IP) == YARD


def test_an_odd_model_name_is_kept_and_fit_for_frigate(
    camera_detector: CameraDetector, network_mocks: FakeNetwork, published: Published
) -> None:
    network_mocks.plug_in(NEW, NEW_IP, model="Türkamera #7/+")
    run_discovery(camera_detector)
    message = published.wait_for(f"camera/discovery/{NEW}")
    assert message.json()["model"] == "Türkamera #7/+"
    published.wait_for(FRIGATE, lambda m: "t_rkamera_7_aa_bb_cc_00_00_03" in frigate_cameras(m))


# Input validation


@pytest.mark.parametrize(
    ("name", "value", "complaint"),
    [
        ("MQTT_PORT", "mqtt", "not a whole number"),
        ("CAMERA_CREDENTIALS", "admin:secret,hunter2", "entry 2 is not of the form"),
        ("DISCOVERY_INTERVAL", "-1", "not between"),
        ("SCAN_NETWORKS", "10.0.0.0/8", "more than 4096 addresses"),
    ],
)
def test_bad_settings_are_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, complaint: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=rf"^{name}: .*{complaint}") as refusal:
        Config()
    assert "hunter2" not in str(refusal.value)


def test_an_unknown_command_is_ignored(
    camera_detector: CameraDetector, published: Published, caplog: pytest.LogCaptureFixture
) -> None:
    published.send(COMMAND, "self-destruct")
    published.send(COMMAND, "inventory")
    published.wait_for(INVENTORY)
    assert "Unknown command of 13 bytes" in caplog.text
    assert "self-destruct" not in caplog.text


# Security


@pytest.mark.parametrize("config", [{"CAMERA_CREDENTIALS": "admin:p@ss:w/rd%41"}], indirect=True)
def test_passwords_are_never_logged(
    camera_detector: CameraDetector,
    config: dict[str, str],
    network_mocks: FakeNetwork,
    published: Published,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    password = config["CAMERA_CREDENTIALS"].partition(":")[2]
    network_mocks.change(FRONT, ip=FREE_IP, password=password)
    run_discovery(camera_detector)
    assert camera_detector.cameras[FRONT].credentials == ("admin", password)
    assert f"rtsp://***:***@{FREE_IP}" in caplog.text
    for secret in (password, camera_detector.cameras[FRONT].stream_url):
        assert secret not in caplog.text


def test_only_frigate_is_told_a_password(
    camera_detector: CameraDetector, network_mocks: FakeNetwork, published: Published
) -> None:
    url = f"rtsp://admin:secret@{NEW_IP}:554/stream1"
    network_mocks.plug_in(NEW, NEW_IP, stream_url=url)
    run_discovery(camera_detector)
    run_health_check(camera_detector)
    published.wait_for(FRIGATE, lambda message: url in message.payload)
    telling = {m.topic for m in published.all_of(camera_detector) if "secret" in m.payload}
    assert telling == {FRIGATE}
    stream = published.wait_for(f"camera/discovery/{NEW}").json()["stream"]
    assert stream == mask_credentials(url)


# Shutdown


def test_cleanup_says_goodbye(camera_detector: CameraDetector, published: Published) -> None:
    camera_detector.cleanup()
    published.wait_for(LWT, says_now("offline"))
    assert not camera_detector.mqtt_connected
    camera_detector.cleanup()


def test_cleanup_leaves_no_threads(camera_detector: CameraDetector) -> None:
    run_discovery(camera_detector)
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("camera-")]
    camera_detector.cleanup()
    assert not [t.name for t in threading.enumerate() if t.name.startswith("camera-")]
    assert not camera_detector._running


def test_after_cleanup_nothing_is_discovered(
    camera_detector: CameraDetector, network_mocks: FakeNetwork
) -> None:
    camera_detector.cleanup()
    network_mocks.plug_in(NEW, NEW_IP)
    camera_detector._run_full_discovery()
    assert NEW not in camera_detector.cameras
