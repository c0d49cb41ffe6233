"""A program that prints how long the first broker of a process takes to start."""

import time

from mqtt_test_broker import TestMQTTBroker

if __name__ == "__main__":
    began = time.perf_counter()
    broker = TestMQTTBroker().start()
    print(time.perf_counter() - began)
    broker.stop()
