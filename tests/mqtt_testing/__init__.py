"""The vendored folder of the MQTT test modules: copy it, with the doors that are wanted.

The doors are the plain modules beside it, such as ``mqtt_test_broker.py``: import from those.
"""

__version__ = "2.0.0"
