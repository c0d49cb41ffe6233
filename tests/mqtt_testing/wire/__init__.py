"""MQTT on the wire, without pytest and without paho."""
