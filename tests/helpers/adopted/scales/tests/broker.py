"""A broker as an object."""

import subprocess
import time


class Broker:
    host = "localhost"

    def __init__(self, port):
        self.port = port

    def start(self):
        self.process = subprocess.Popen(["mosquitto", "-p", str(self.port)])
        time.sleep(0.3)

    def stop(self):
        self.process.terminate()
        self.process.wait()
