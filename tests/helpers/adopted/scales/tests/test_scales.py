import queue
import time

import paho.mqtt.client as mqtt
import pytest

from broker import Broker
from scales import Scales


class TestScales:
    @pytest.fixture
    def test_broker(self):
        broker = Broker(HARD_PORT)
        broker.start()
        yield broker
        broker.stop()

    @pytest.fixture
    def scales(self, test_broker):
        scales = Scales(unit="g")
        scales.open()
        scales.ready.wait(5)
        time.sleep(0.3)
        yield scales
        scales.close()

    def test_tare(self, scales, test_broker):
        heard = queue.Queue()
        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
        client.on_connect = lambda *_: client.subscribe("scales/weight")
        client.on_subscribe = lambda *_: client.publish("scales/tare", "now")
        client.on_message = lambda *args: heard.put(args[2].payload)
        client.connect(test_broker.host, test_broker.port)
        client.loop_start()
        assert heard.get(timeout=5) == b"0 g"
        client.disconnect()
        client.loop_stop()

    def test_put(self, scales):
        scales.put(5)
        assert scales.grams == 5

    def test_put_twice(self, scales):
        scales.put(5)
        scales.put(5)
        assert scales.grams == 10
