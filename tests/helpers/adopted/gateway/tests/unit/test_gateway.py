import queue
from urllib.parse import urlsplit

from gateway import radio
from gateway.core import new_client


def test_it_passes_on(gateway, broker_url):
    heard = queue.Queue()
    client = new_client()
    client.on_subscribe = lambda *_: client.publish("gateway/in", "hello")
    client.on_connect = lambda *_: client.subscribe("gateway/out")
    client.on_message = lambda *args: heard.put(args[2].payload)
    address = urlsplit(broker_url)
    client.connect(address.hostname, address.port)
    client.loop_start()
    assert heard.get(timeout=5) == b"hello"
    client.disconnect()
    client.loop_stop()
    assert gateway.seen == [b"hello"]


def test_it_has_no_radio(gateway):
    assert gateway.device == "no radio"
    assert gateway.nodes == ["kitchen"]
    assert radio.open_device("again") == "no radio"


def test_a_meter(meter):
    assert meter.client.is_connected()


def test_another_meter(meter):
    assert meter.connected.is_set()
