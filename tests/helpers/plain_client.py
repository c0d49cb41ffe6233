"""A client of a user who has no paho: MQTT by hand, over a socket or the streams of asyncio."""

PLAIN_CLIENT = """
    import asyncio, socket, struct

    def packet(kind, *fields):
        body = b"".join(
            struct.pack("!H", len(field)) + field.encode() if isinstance(field, str) else field
            for field in fields
        )
        assert len(body) < 128
        return bytes([kind, len(body)]) + body

    def connect_packet(client_id, clean=True, will=None):
        flags = 2 * clean + (0b100100 if will else 0)  # the will is retained
        fields = [client_id, *([will, "gone"] if will else [])]
        return packet(0x10, "MQTT", bytes([4, flags]), bytes(2), *fields)

    CONNACK = bytes([0x20, 2, 0, 0])
    DISCONNECT = bytes([0xE0, 0])

    def publish(topic, text, retain=False):
        return packet(0x30 + retain, topic, text.encode())

    def subscribe(topic):
        return packet(0x82, bytes([0, 1]), topic, b"\\1")  # QoS 1

    def exchange(connection, *packets, answer=CONNACK):
        connection.sendall(b"".join(packets))
        got = connection.recv(len(answer), socket.MSG_WAITALL)
        assert got[:len(answer)] == answer or got[-1:] == answer[-1:], got
        return connection

    def connected(client_id="plain", address=("localhost", 1883), **options):
        connection = socket.create_connection(address, 5)
        return exchange(connection, connect_packet(client_id, **options))

    def end(connection):
        connection.sendall(DISCONNECT)
        assert connection.recv(1) == b""
        connection.close()

    async def visit(client_id, host, port=1883):
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(connect_packet(client_id))
        assert await reader.readexactly(4) == CONNACK
        peer = writer.get_extra_info("peername")
        writer.write(DISCONNECT)
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
        return peer
"""
