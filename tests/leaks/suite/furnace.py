"""A service that ends in its own time: when its burner has burnt out."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from leaks import HOUR, new_client


class Furnace:
    def __init__(self):
        self.client = new_client("furnace")
        self.client.connect("localhost", 1883)
        self.client.loop_start()
        self._burner = ThreadPoolExecutor(1)
        self._sweeping = threading.Timer(60, self.client.publish, ["furnace/swept"])
        self._sweeping.start()
        self._stoker = threading.Thread(target=self._stoke)
        self._stoker.start()

    def _stoke(self):
        while True:
            self.client.publish("furnace/stoked")
            time.sleep(1)

    def burn(self):
        self._burner.submit(time.sleep, HOUR)

    def stop(self):
        self._burner.shutdown(wait=True)
        self.client.loop_stop()
