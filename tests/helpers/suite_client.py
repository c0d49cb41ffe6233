"""The start of a suite that makes its clients itself, as people do."""

CLIENT = """
        import sys, time, unittest
        import paho.mqtt.client as mqtt

        def new_client(client_id=""):
            import paho.mqtt.client as mqtt
            if hasattr(mqtt, "CallbackAPIVersion"):
                return mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id)
            return mqtt.Client(client_id)

        def connect(client, host="localhost", port=1883):
            client.connect(host, port)
            client.loop_start()
            deadline = time.monotonic() + 5
            while not client.is_connected():
                assert time.monotonic() < deadline
            return client

    """
