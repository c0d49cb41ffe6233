"""A small service that answers each command with its state."""

ECHO = """
    import paho.mqtt.client as mqtt
    from service import new_client

    class Echo:
        def __init__(self):
            self.client = new_client("echo")
            self.client.on_connect = lambda c, *a: c.subscribe("cmd")
            self.client.on_message = lambda c, u, m: c.publish("state", m.payload)
            self.client.connect("localhost", 1883)
            self.client.loop_start()

        def stop(self):
            self.client.disconnect()
            self.client.loop_stop()
"""
