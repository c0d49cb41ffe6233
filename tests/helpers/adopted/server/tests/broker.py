import socket, subprocess, time
from dataclasses import dataclass


@dataclass
class BrokerInfo:
    host: str
    port: int


class MosquittoBroker:
    def __init__(self):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        self.host = "127.0.0.1"

    def __enter__(self):
        self.process = subprocess.Popen(["mosquitto", "-p", str(self.port)])
        time.sleep(0.7)
        return self

    def __exit__(self, *e):
        self.process.kill()
        self.process.wait()
