import os
import socket
import subprocess
import time
import unittest

from lamp import Lamp


class LampTest(unittest.TestCase):
    # the fixture begins
    @classmethod
    def setUpClass(cls):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        os.environ.update(MQTT_HOST="127.0.0.1", MQTT_PORT=str(port))
        cls.broker = subprocess.Popen(["mosquitto", "-p", str(port)])
        time.sleep(0.5)

    @classmethod
    def tearDownClass(cls):
        cls.broker.terminate()
        cls.broker.wait()

    def setUp(self):
        self.lamp = Lamp()
        self.lamp.start()
        time.sleep(0.4)

    def tearDown(self):
        self.lamp.stop()

    # the fixture ends

    def test_it_is_dark(self):
        self.assertEqual(self.lamp.level, 0)

    def test_it_shines(self):
        self.lamp.client.publish("lamp/set", "7")
        self.assertTrue(self.lamp.changed.wait(5))
        self.assertEqual(self.lamp.level, 7)
