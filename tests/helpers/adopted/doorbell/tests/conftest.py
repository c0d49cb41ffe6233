import queue
import socket
import subprocess
import time

import paho.mqtt.client as mqtt
import pytest


@pytest.fixture(scope="session")
def mqtt_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture(scope="session")
def mosquitto(mqtt_port):
    process = subprocess.Popen(["mosquitto", "-p", str(mqtt_port)])
    time.sleep(0.5)
    yield process
    process.terminate()
    process.wait()


@pytest.fixture
def heard(mosquitto, mqtt_port):
    messages = queue.Queue()
    ready = queue.Queue()
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
    client.on_connect = lambda client, *_: client.subscribe("bell/#")
    client.on_subscribe = lambda *_: ready.put(True)
    client.on_message = lambda *args: messages.put((args[2].topic, args[2].payload))
    client.connect("localhost", mqtt_port)
    client.loop_start()
    ready.get(timeout=5)
    client.messages = messages
    yield client
    client.disconnect()
    client.loop_stop()
