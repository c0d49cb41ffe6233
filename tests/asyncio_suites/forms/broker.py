"""Where the services find their broker."""

import os


def host():
    """Return the host that the environment names."""
    return os.environ["MQTT_HOST"]


def port():
    """Return the port that the environment names."""
    return int(os.environ["MQTT_PORT"])
