"""Finds the cameras of a network, watches them and reports them over MQTT.

The service that this repository's tests are about. It works, and it has the habits that make the
tests of such services slow: it connects and starts its threads in the constructor, it sleeps, and
it takes its time to stop. Each such habit is named where it occurs.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import sys
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any, NamedTuple

import paho.mqtt.client as mqtt
import yaml  # type: ignore[import-untyped, unused-ignore]

from . import network
from .camera import Camera, mask_credentials
from .config import Config, Credentials
from .network import Endpoint
from .tracking import MacTracker

logger = logging.getLogger(__name__)

CLIENT_ID = "camera-detector"
LWT_TOPIC = "system/camera_detector/lwt"
HEALTH_TOPIC = "system/camera_detector/health"
INVENTORY_TOPIC = "system/camera_detector/inventory"
COMMAND_TOPIC = "system/camera_detector/command"
EVENT_TOPIC = "camera/events"

MAX_CONNECT_ATTEMPTS = 5
FIRST_RETRY_DELAY = 10
CONNACK_TIMEOUT = 10.0
THREAD_JOIN_TIMEOUT = 3.0
INVENTORY_DELAY = 60.0
PORT_TIMEOUT = 1.0
VALIDATION_TIMEOUT = 120.0


class Sighting(NamedTuple):
    """A device that may be a camera, and by which method it was found."""

    ip: str
    port: int
    method: str


def _new_client() -> mqtt.Client:
    # Habit: one fixed client id and a persistent session, so that commands sent while the service
    # restarts are not lost. Two instances on one broker throw each other out for ever.
    if hasattr(mqtt, "CallbackAPIVersion"):
        return mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2, client_id=CLIENT_ID, clean_session=False
        )
    return mqtt.Client(client_id=CLIENT_ID, clean_session=False)  # paho-mqtt 1.6


def _validation_context() -> multiprocessing.context.BaseContext:
    # A forked worker starts in milliseconds; elsewhere than on Linux forking is not safe.
    return multiprocessing.get_context("fork" if sys.platform == "linux" else None)


class CameraDetector:
    """Construct it and it runs; `cleanup()` ends it."""

    def __init__(self, config: Config | None = None) -> None:
        self.config = config or Config()
        self.cameras: dict[str, Camera] = {}
        self.mac_tracker = MacTracker()
        self.mqtt_connected = False
        self.discovery_count = 0
        self.health_check_count = 0
        self.lock = threading.RLock()
        self._discovery_lock = threading.Lock()
        self._frigate_config = ""
        self._scan_executor = ThreadPoolExecutor(
            self.config.scan_workers, thread_name_prefix="camera-scan"
        )
        self._command_executor = ThreadPoolExecutor(1, thread_name_prefix="camera-command")
        self._validation_executor: ProcessPoolExecutor | None = None
        self._threads: list[threading.Thread] = []
        self._inventory_timer: threading.Timer | None = None
        self._running = True
        # Habit: the constructor connects and starts everything, so there is no instance at rest.
        self._setup_mqtt()
        self._start_background_tasks()

    # MQTT

    def _setup_mqtt(self) -> None:
        self._connack = threading.Event()
        self.mqtt_client = _new_client()
        self.mqtt_client.on_connect = self._on_connect
        self.mqtt_client.on_disconnect = self._on_disconnect
        self.mqtt_client.on_message = self._on_message
        self.mqtt_client.will_set(LWT_TOPIC, "offline", qos=1, retain=True)
        if self.config.mqtt_username:
            self.mqtt_client.username_pw_set(self.config.mqtt_username, self.config.mqtt_password)
        if self.config.mqtt_tls:
            self.mqtt_client.tls_set()
        self._mqtt_connect_with_retry()

    def _mqtt_connect_with_retry(self) -> None:
        # Habit: exponential back-off by sleeping, 10 + 20 + 40 + 80 s for a broker that is absent.
        delay = FIRST_RETRY_DELAY
        for attempt in range(1, MAX_CONNECT_ATTEMPTS + 1):
            try:
                self._mqtt_connect()
                return
            except OSError as error:
                logger.warning("Attempt %d to reach the MQTT broker failed: %s", attempt, error)
            if attempt < MAX_CONNECT_ATTEMPTS:
                time.sleep(delay)
                delay *= 2
        raise ConnectionError(
            f"no MQTT broker at {self.config.mqtt_broker}:{self.config.mqtt_port}"
        )

    def _mqtt_connect(self) -> None:
        self._connack.clear()
        self.mqtt_client.connect(self.config.mqtt_broker, self.config.mqtt_port, keepalive=60)
        self.mqtt_client.loop_start()
        answered = self._connack.wait(CONNACK_TIMEOUT)
        if not self.mqtt_connected:
            self.mqtt_client.loop_stop()
            raise ConnectionError("connection refused" if answered else "no CONNACK")

    def _on_connect(
        self,
        client: mqtt.Client,
        _userdata: object,
        _flags: object,
        reason: object,
        _properties: object = None,
    ) -> None:
        self.mqtt_connected = reason == 0
        if self.mqtt_connected:
            client.subscribe(COMMAND_TOPIC, qos=1)
            self._publish(LWT_TOPIC, "online", retain=True)
            self._republish_cameras()
        self._connack.set()

    # paho-mqtt 1.6 passes the reason alone, 2.x the flags, the reason and the properties.
    def _on_disconnect(self, _client: mqtt.Client, _userdata: object, *_details: object) -> None:
        self.mqtt_connected = False
        if self._running:
            logger.warning("Connection to the MQTT broker lost")

    def _on_message(
        self, _client: mqtt.Client, _userdata: object, message: mqtt.MQTTMessage
    ) -> None:
        commands: dict[bytes | bytearray, Callable[[], None]] = {
            b"discover": self._run_full_discovery,
            b"health": self._run_health_check,
            b"inventory": self._publish_inventory,
        }
        task = commands.get(message.payload)
        if task is None:
            logger.warning("Unknown command of %d bytes ignored", len(message.payload))
            return
        # Habit: work handed over from a callback, whether or not the executor still takes any.
        self._command_executor.submit(task)

    def _publish(self, topic: str, payload: str, retain: bool = False) -> mqtt.MQTTMessageInfo:
        return self.mqtt_client.publish(topic, payload, qos=1, retain=retain)

    def _publish_json(self, topic: str, payload: dict[str, Any], retain: bool = False) -> None:
        self._publish(topic, json.dumps(payload), retain)

    # What is published

    def _publish_camera(self, camera: Camera) -> None:
        self._publish_json(f"camera/discovery/{camera.id}", camera.as_message(), retain=True)
        status = "online" if camera.online else "offline"
        self._publish(f"camera/status/{camera.id}", status, retain=True)

    def _publish_event(self, event: str, camera: Camera, **details: str) -> None:
        message = {"event": event, "id": camera.id, "ip": camera.ip, **details}
        self._publish_json(EVENT_TOPIC, {**message, "time": time.time()})

    def _publish_frigate_config(self) -> None:
        """Only when it changed: Frigate restarts for every new configuration."""
        cameras = {camera.frigate_name: camera.as_frigate() for camera in self._all_cameras()}
        frigate_config = yaml.safe_dump({"cameras": cameras})
        if frigate_config != self._frigate_config:
            self._frigate_config = frigate_config
            self._publish(self.config.frigate_topic, frigate_config, retain=True)

    def _publish_health(self) -> None:
        online = [camera.online for camera in self._all_cameras()]
        report = {
            "status": "running",
            "cameras": {
                "total": len(online),
                "online": online.count(True),
                "offline": online.count(False),
            },
            "discoveries": self.discovery_count,
            "time": time.time(),
        }
        self._publish_json(HEALTH_TOPIC, report, retain=True)

    def _publish_inventory(self) -> None:
        cameras = [camera.as_message() for camera in self._all_cameras()]
        self._publish_json(INVENTORY_TOPIC, {"cameras": cameras})

    def _republish_cameras(self) -> None:
        """A broker that restarted has forgotten every retained message."""
        for camera in self._all_cameras():
            self._publish_camera(camera)
        if self._frigate_config:
            self._publish(self.config.frigate_topic, self._frigate_config, retain=True)

    def _all_cameras(self) -> list[Camera]:
        with self.lock:
            return list(self.cameras.values())

    # Discovery

    def _run_full_discovery(self) -> None:
        # Habit: a task that does nothing, and says nothing, unless the service is running.
        if not self._running:
            return
        with self._discovery_lock:
            sightings = self._find_devices()
            self._refresh_macs()
            for camera in self._sort_out(sightings):
                self._register(camera)
            self._publish_frigate_config()
            self.discovery_count += 1

    def _find_devices(self) -> list[Sighting]:
        """Each device once, under the method that tells the most about it."""
        devices: dict[str, Sighting] = {}
        searches: dict[str, Callable[[], Iterable[Endpoint]]] = {
            "onvif": network.ws_discovery,
            "mdns": network.mdns_browse,
            "rtsp": self._scan_rtsp_ports,
        }
        for method, search in searches.items():
            for ip, port in self._results_of(method, search):
                devices.setdefault(ip, Sighting(ip, port, method))
        return list(devices.values())

    def _results_of(
        self, method: str, search: Callable[[], Iterable[Endpoint]]
    ) -> Iterable[Endpoint]:
        try:
            return search()
        except OSError as error:
            logger.warning("Discovery by %s failed: %s", method, error)
            return []

    def _scan_rtsp_ports(self) -> list[Endpoint]:
        endpoints = [
            Endpoint(str(ip), port)
            for scanned in self.config.scan_networks
            for ip in scanned.hosts()
            for port in self.config.rtsp_ports
        ]
        is_open = self._scan_executor.map(
            lambda endpoint: network.rtsp_port_open(endpoint.ip, endpoint.port, PORT_TIMEOUT),
            endpoints,
        )
        return [endpoint for endpoint, answer in zip(endpoints, is_open) if answer]

    def _refresh_macs(self) -> None:
        try:
            self.mac_tracker.refresh(network.read_arp_table())
        except OSError as error:
            logger.warning("ARP table not readable: %s", error)

    def _sort_out(self, sightings: list[Sighting]) -> list[Camera]:
        """The cameras that are new or have moved; the others are only noted as seen."""
        strangers = []
        for sighting in sightings:
            camera = self.cameras.get(self._id_at(sighting.ip))
            if camera and camera.ip == sighting.ip:
                self._seen_again(camera)
            else:
                strangers.append(sighting)
        return self._identify(strangers)

    def _id_at(self, ip: str) -> str:
        return self.mac_tracker.mac_of(ip) or ip

    def _identify(self, strangers: list[Sighting]) -> list[Camera]:
        candidates = [
            camera
            for cameras in self._scan_executor.map(self._candidates, strangers)
            for camera in cameras
        ]
        working: dict[str, Camera] = {}
        for camera, works in zip(candidates, self._validate(candidates)):
            logger.debug("Stream %s works: %s", mask_credentials(camera.stream_url), works)
            if works:
                working.setdefault(camera.id, camera)
        return list(working.values())

    def _candidates(self, sighting: Sighting) -> list[Camera]:
        """What the device is if it is a camera: one guess, or one for each user to try."""
        if sighting.method == "onvif":
            return self._ask_onvif(sighting)
        url = f"rtsp://{sighting.ip}:{sighting.port}/stream1"
        return [
            self._camera(sighting, url, credentials)
            for credentials in self._credentials_for(sighting)
        ]

    def _ask_onvif(self, sighting: Sighting) -> list[Camera]:
        for credentials in self._credentials_for(sighting):
            try:
                device = network.onvif_camera(sighting.ip, sighting.port, *credentials)
            except OSError as error:
                logger.warning("ONVIF device %s failed: %s", sighting.ip, error)
                return []
            if device:
                camera = self._camera(sighting, device.stream_url, credentials)
                camera.manufacturer, camera.model = device.manufacturer, device.model
                return [camera]
        logger.warning("ONVIF device %s accepts none of the credentials", sighting.ip)
        return []

    def _credentials_for(self, sighting: Sighting) -> list[Credentials]:
        """All of them, but first those that the camera accepted before: many lock out guessers."""
        known = self.cameras.get(self._id_at(sighting.ip))
        return sorted(
            self.config.camera_credentials,
            key=lambda pair: known is None or pair != known.credentials,
        )

    def _camera(self, sighting: Sighting, url: str, credentials: Credentials) -> Camera:
        return Camera(
            id=self._id_at(sighting.ip),
            ip=sighting.ip,
            mac=self.mac_tracker.mac_of(sighting.ip),
            method=sighting.method,
            url=url,
            credentials=credentials,
        )

    def _validate(self, cameras: list[Camera]) -> list[bool]:
        """In processes of their own, if there may be any, since decoders hang and crash."""
        urls = [camera.stream_url for camera in cameras]
        processes = self.config.validation_processes
        if not (urls and processes):
            return [network.probe_stream(url) for url in urls]
        if self._validation_executor is None:
            self._validation_executor = ProcessPoolExecutor(
                processes, mp_context=_validation_context()
            )
        streams = self._validation_executor.map(
            network.probe_stream, urls, timeout=VALIDATION_TIMEOUT, chunksize=16
        )
        return list(streams)

    def _register(self, camera: Camera) -> None:
        if camera.mac:
            self._forget(camera.ip)
        with self.lock:
            previous = self.cameras.get(camera.id)
            self.cameras[camera.id] = camera
        self._publish_camera(camera)
        logger.info("Camera %s at %s found by %s", camera.id, camera.ip, camera.method)
        if previous is None:
            self._publish_event("camera_discovered", camera)
            return
        if not previous.online:
            self._publish_event("camera_online", camera)
        self._publish_event("ip_changed", camera, old_ip=previous.ip)

    def _forget(self, camera_id: str) -> None:
        """A camera known by its IP goes by its MAC as soon as that is known."""
        with self.lock:
            forgotten = self.cameras.pop(camera_id, None)
        if forgotten:
            for topic in (f"camera/discovery/{camera_id}", f"camera/status/{camera_id}"):
                self._publish(topic, "", retain=True)

    def _seen_again(self, camera: Camera) -> None:
        camera.last_seen = time.time()
        if not camera.online:
            self._set_online(camera, True)

    # Health

    def _run_health_check(self) -> None:
        if not self._running:
            return
        too_long_ago = time.time() - self.config.offline_threshold
        for camera in self._all_cameras():
            if camera.online and camera.last_seen < too_long_ago:
                self._set_online(camera, False)
        self._publish_frigate_config()
        self._publish_health()
        self.health_check_count += 1

    def _set_online(self, camera: Camera, online: bool) -> None:
        camera.online = online
        self._publish_camera(camera)
        self._publish_event("camera_online" if online else "camera_offline", camera)

    # Background

    def _start_background_tasks(self) -> None:
        loops = {
            "camera-discovery": self._discovery_loop,
            "camera-health": self._health_check_loop,
        }
        for name, loop in loops.items():
            thread = threading.Thread(target=loop, name=name, daemon=True)
            self._threads.append(thread)
            thread.start()
        # Habit: a timer, which is no daemon: uncancelled, it keeps the process for a minute.
        self._inventory_timer = threading.Timer(INVENTORY_DELAY, self._publish_inventory)
        self._inventory_timer.start()

    def _discovery_loop(self) -> None:
        while self._running:
            self._run_guarded(self._run_full_discovery)
            self._sleep_while_running(self.config.discovery_interval)

    def _health_check_loop(self) -> None:
        while self._running:
            self._run_guarded(self._run_health_check)
            self._sleep_while_running(self.config.health_check_interval)

    def _run_guarded(self, task: Callable[[], None]) -> None:
        """A service that runs for months survives whatever one round of a task meets."""
        try:
            task()
        except Exception:
            logger.exception("A background task failed")

    def _sleep_while_running(self, seconds: int) -> None:
        # Habit: sleeping in steps of a second, so it takes up to a second to notice the end.
        for _ in range(seconds):
            if not self._running:
                return
            time.sleep(1)

    def cleanup(self) -> None:
        """End everything; calling it again does no harm."""
        self._running = False
        self._announce_offline()
        self._stop_background_tasks()
        self._shut_executors_down()
        # Habit: in this order the network loop is not woken, and stops up to a second later.
        self.mqtt_client.loop_stop()
        self.mqtt_client.disconnect()
        self.mqtt_connected = False

    def _announce_offline(self) -> None:
        if self.mqtt_connected:
            self._publish(LWT_TOPIC, "offline", retain=True).wait_for_publish(2.0)

    def _stop_background_tasks(self) -> None:
        if self._inventory_timer:
            self._inventory_timer.cancel()
        for thread in self._threads:
            thread.join(THREAD_JOIN_TIMEOUT)

    def _shut_executors_down(self) -> None:
        self._scan_executor.shutdown(wait=True, cancel_futures=True)
        self._command_executor.shutdown(wait=True, cancel_futures=True)
        if self._validation_executor:
            self._validation_executor.shutdown(wait=True, cancel_futures=True)
