"""Clients that are not made of paho: plain sockets, and what event loops open."""

import socket
import struct

import pytest
from helpers.drop_in import Repository, assert_green_and_silent
from helpers.plain_client import PLAIN_CLIENT
from mqtt_test_broker import TestMQTTBroker
from mqtt_testing.clients.ending import end_connection


@pytest.fixture
def broker():
    with TestMQTTBroker() as broker:
        yield broker


pytestmark = pytest.mark.usefixtures("few_plugins")


@pytest.fixture
def repository(pytester):
    repository = Repository(pytester, ["mqtt_test_broker", "shared_mqtt_pool"])
    repository.write("tests/plain.py", PLAIN_CLIENT)
    return repository.write(
        "tests/conftest.py",
        """
        import socket
        from mqtt_test_broker import TestMQTTBroker
        from shared_mqtt_pool import LOOPBACK_HOSTS, redirect_to_test_broker

        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            FREE_PORT = free.getsockname()[1]

        FURTHER = {1885: TestMQTTBroker()}
        redirect_to_test_broker(
            1883, FREE_PORT, hosts=["mqtt.invalid", *LOOPBACK_HOSTS], brokers=FURTHER
        )
        """,
    )


def test_whatever_opens_a_connection_is_led(repository):
    repository.write(
        "tests/test_it.py",
        """
        import asyncio, socket, types
        import conftest, plain, pytest

        MODULE = plain.connected("module")
        HOSTS = ["localhost", "127.0.0.1", "::1", "::ffff:127.0.0.1", "LOCALHOST.", "mqtt.invalid"]
        PORTS = [1883, 1885]

        @pytest.fixture(params=PORTS)
        def broker(request, session_mqtt_broker):
            found = session_mqtt_broker if request.param == 1883 else conftest.FURTHER[1885]
            return types.SimpleNamespace(is_at=lambda peer: peer[1] == found.port, at=request.param)

        def test_module(session_mqtt_broker):
            assert MODULE.getpeername()[1] == session_mqtt_broker.port
            plain.end(MODULE)

        @pytest.mark.parametrize("host", HOSTS)
        def test_create_connection(host, broker):
            connection = plain.connected(address=(host, broker.at))
            assert broker.is_at(connection.getpeername())
            plain.end(connection)

        @pytest.mark.parametrize("method", ["connect", "connect_ex"])
        @pytest.mark.parametrize(("family", "host"), [
            (socket.AF_INET, "127.0.0.1"), (socket.AF_INET, "localhost"), (socket.AF_INET6, "::1"),
        ])
        def test_socket(method, family, host, broker):
            with socket.socket(family) as connection:
                assert not getattr(connection, method)((host, broker.at))
                assert broker.is_at(connection.getpeername())

        @pytest.mark.parametrize("host", HOSTS)
        def test_streams(host, broker):
            assert broker.is_at(asyncio.run(plain.visit("streams", host, broker.at)))

        def test_loop(broker):
            async def test():
                loop = asyncio.get_running_loop()
                opening = loop.create_connection(asyncio.Protocol, "localhost", broker.at)
                transport, _ = await opening
                assert broker.is_at(transport.get_extra_info("peername"))
                transport.close()
                with socket.socket() as connection:
                    connection.setblocking(False)
                    await loop.sock_connect(connection, ("127.0.0.1", broker.at))
                    assert broker.is_at(connection.getpeername())
            asyncio.run(test())

        def test_the_port_may_be_text(session_mqtt_broker):
            found = socket.getaddrinfo("mqtt.invalid", "1883", type=socket.SOCK_STREAM)
            [(*_, address)] = found
            assert address == ("127.0.0.1", session_mqtt_broker.port)

        def test_a_method_stays_one():
            with socket.socket() as connection:
                assert connection.connect.__self__ is connection
                assert connection.connect.__name__ == "connect"
                with pytest.raises(TypeError): connection.connect()
                with pytest.raises(TypeError): connection.connect(("localhost",))
        """,
    )
    assert_green_and_silent(repository.run("-W", "error"), passed=1 + 2 * (6 + 6 + 6 + 1) + 2)


def test_what_is_not_meant_is_left_alone(repository):
    repository.write(
        "tests/test_it.py",
        """
        import asyncio, contextlib, socket
        import plain, pytest
        from conftest import FREE_PORT
        from mqtt_test_broker import TestMQTTBroker

        def is_refused(host, port):
            with contextlib.suppress(ConnectionRefusedError):
                socket.create_connection((host, port), 5).close()
                return False
            return True

        @pytest.mark.no_mqtt_broker(1883)
        def test_nobody():
            assert is_refused("localhost", 1883) and not is_refused("127.0.0.1", 1885)
            with pytest.raises(OSError):
                asyncio.run(plain.visit("refused", "localhost"))
            with socket.socket() as connection:
                assert connection.connect_ex(("127.0.0.1", 1883)) != 0

        def test_somebody():
            assert not is_refused("localhost", 1883)

        @pytest.mark.parametrize("again", range(2))
        def test_other_hosts(again):
            with socket.socket() as server:
                server.bind(("127.0.0.1", 0))  # and does not listen
                with pytest.raises(ConnectionRefusedError):
                    socket.create_connection(server.getsockname(), 5)
            with pytest.raises(socket.gaierror):
                socket.create_connection(("no.such.invalid", 1883), 5)
            with socket.socket() as connection:
                connection.settimeout(0.01)
                with pytest.raises(OSError):
                    connection.connect(("192.0.2.1", 1883))

        def test_a_server_of_the_suite():
            async def serve():
                server = await asyncio.start_server(lambda r, w: None, "localhost", FREE_PORT)
                async with server:
                    return {s.getsockname()[1] for s in server.sockets}
            assert asyncio.run(serve()) == {FREE_PORT}

        def test_datagrams():
            with socket.socket(type=socket.SOCK_DGRAM) as connection:
                connection.connect(("127.0.0.1", 1883))
                assert connection.getpeername()[1] == 1883
            found = socket.getaddrinfo("localhost", 1883, type=socket.SOCK_DGRAM)
            assert {address[1] for *_, address in found} == {1883}

        def test_a_broker_of_the_test():
            with TestMQTTBroker() as broker:
                connection = plain.connected(address=("localhost", broker.port))
                assert connection.getpeername()[1] == broker.port
                plain.end(connection)
        """,
    )
    result = repository.run("-W", "error")
    assert_green_and_silent(result, passed=7)
    result.stdout.fnmatch_lines_random(
        [
            "*MQTT connections that were not redirected*",
            "no.such.invalid:1883 is not among *: tests/*_hosts[[]0]; tests/*_hosts[[]1]",
            "192.0.2.1:1883 is not among *",
        ]
    )
    assert result.stdout.str().count("is not among") == 2


LEAVES = """
    import asyncio, socket
    import plain, pytest
    from shared_mqtt_pool import mqtt_client, mqtt_monitor, prompt_mqtt_clients

    LEFT = []

    @pytest.fixture(scope="class")
    def wide():
        yield plain.connected("wide")

    class TestLeaving:
        @pytest.mark.parametrize("n", range(2))
        def test_connection(self, prompt_mqtt_clients, mqtt_monitor, wide, n):
            LEFT.append(plain.connected(f"left-{n}", will="will", clean=False))
            LEFT[-1].sendall(plain.publish("retained", "text", retain=True))
            mqtt_monitor.wait_for("retained")

        def test_stream(self, mqtt_monitor, session_mqtt_broker):
            async def leave():
                reader, writer = await asyncio.open_connection("localhost", 1883)
                writer.write(plain.connect_packet("stream", will="will"))
                await reader.readexactly(4)
                LEFT.append(writer)
            loop = asyncio.new_event_loop()
            loop.run_until_complete(leave())
            LEFT.append(loop)

        @pytest.mark.leaks_on_purpose
        def test_leak(self, mqtt_monitor):
            LEFT.insert(0, plain.connected("kept"))

        def test_after(self, mqtt_monitor, session_mqtt_broker, wide):
            kept, *left, writer, loop = LEFT
            for connection in left:
                assert connection.recv(1) == b""
                connection.close()
            writer.close()
            loop.run_until_complete(asyncio.sleep(0))
            loop.close()
            kept.sendall(plain.publish("from", "kept"))
            mqtt_monitor.wait_for("from")
            wide.sendall(plain.publish("from", "wide"))
            mqtt_monitor.wait_for("from", where=lambda m: m.payload == b"wide")
            plain.end(kept)
            plain.end(wide)
            fresh = plain.connected("fresh")
            plain.exchange(fresh, plain.subscribe("#"), answer=bytes([0x90, 3, 0, 1, 1]))
            fresh.settimeout(0.05)
            with pytest.raises(socket.timeout):
                raise AssertionError(fresh.recv(100))  # nothing is retained, not even a will
            fresh.settimeout(5)
            plain.end(fresh)
            assert session_mqtt_broker.log.count("already connected") == 0
"""


def test_what_a_test_leaves_is_ended_without_its_will_and_named(repository):
    repository.write("tests/test_it.py", LEAVES)
    result = repository.run("-W", "error", "-p", "no:randomly")
    result.assert_outcomes(passed=5)
    result.stdout.fnmatch_lines_random(
        [
            "made at tests/plain.py:*: disconnect and close, or mark *: the connection from port "
            "* of tests*[[]0]; the connection *[[]1]",
            "made at tests/test_it.py:*: disconnect and close, or *::test_stream",
        ]
    )
    assert "test_leak" not in result.stdout.str()


def test_a_connection_that_the_broker_resets_has_ended():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as connection:
        connection.connect(server.getsockname())
        accepted, _ = server.accept()
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        accepted.close()
        end_connection(connection)


def test_a_session_that_a_test_leaves_is_ended(repository):
    """Left by paho without a loan, or without paho; those of others are left alone."""
    repository.write(
        "tests/test_it.py",
        """
        import plain, pytest
        import paho.mqtt.client as mqtt
        from shared_mqtt_pool import mqtt_client, mqtt_monitor

        PRESENT = bytes([0x20, 2, 1, 0])
        SUBACK = bytes([0x90, 3, 0, 1, 1])

        def has_session(client_id):
            connection = plain.socket.create_connection(("localhost", 1883), 5)
            connection.sendall(plain.connect_packet(client_id, clean=False))
            answer = connection.recv(4, plain.socket.MSG_WAITALL)
            plain.end(connection)
            return answer == PRESENT

        def leave_session(client_id):
            connection = plain.connected(client_id, clean=False)
            plain.exchange(connection, plain.subscribe("kept"), answer=SUBACK)
            plain.end(connection)

        @pytest.fixture(scope="class", params=["the one of a class"])
        def wide(request):
            leave_session(request.param)
            HERE.append(plain.connected("here", clean=False))

        HERE = []

        class TestSessions:
            def test_leave(self, wide, mqtt_monitor):
                leave_session("plain one")
                versions = getattr(mqtt, "CallbackAPIVersion", None)
                client = mqtt.Client(*([versions.VERSION2] if versions else []),
                    client_id="paho-one", clean_session=False)
                client.connect("localhost", 1883)
                client.loop_start()
                while not client.is_connected(): pass
                client.disconnect()
                client.loop_stop()
                assert has_session("plain one") and has_session("paho-one")

            def test_after(self, wide):
                assert not has_session("plain one")
                assert not has_session("paho-one")
                assert has_session("the one of a class")
                plain.exchange(HERE[0], plain.publish("x", ""), plain.subscribe("x"), answer=SUBACK)
                plain.end(HERE[0])
        """,
    )
    assert_green_and_silent(repository.run("-W", "error", "-p", "no:randomly"), passed=2)


def test_an_external_broker_at_the_very_address(repository, broker, monkeypatch):
    """What we look for there ourselves is not led, nor kept from it by the marker."""
    monkeypatch.setenv("MQTT_TEST_BROKER_URL", f"mqtt://localhost:{broker.port}")
    wiring = f"""
        from shared_mqtt_pool import redirect_to_test_broker
        PORT = {broker.port}
        redirect_to_test_broker(PORT)
    """
    repository.write("tests/conftest.py", wiring)
    repository.write(
        "tests/test_it.py",
        """
        import plain, pytest
        from conftest import PORT
        from shared_mqtt_pool import mqtt_client

        def test_a(mqtt_client): plain.end(plain.connected(address=("localhost", PORT)))

        @pytest.mark.no_mqtt_broker
        def test_nobody(mqtt_client):
            with pytest.raises(ConnectionRefusedError):
                plain.connected(address=("localhost", PORT))

        def test_b(mqtt_client): plain.end(plain.connected(address=("localhost", PORT)))
        """,
    )
    result = repository.run("-W", "error", "-p", "no:randomly")
    assert_green_and_silent(result, passed=3)


def test_a_client_library_without_paho(repository):
    pytest.importorskip("amqtt")
    repository.write(
        "tests/test_it.py",
        """
        import asyncio
        from amqtt.client import MQTTClient
        from shared_mqtt_pool import mqtt_client, mqtt_monitor

        async def use(host):
            client = MQTTClient(client_id="amqtt", config={"auto_reconnect": False})
            await client.connect(f"mqtt://{host}:1883/")
            await client.subscribe([("to/amqtt", 1)])
            await client.publish("from/amqtt", b"hello", qos=1, retain=True)
            await client.publish("to/amqtt", b"hello", qos=1)
            message = await client.deliver_message(timeout_duration=5)
            await client.disconnect()
            return message.data

        def test_it(mqtt_monitor):
            for host in ("localhost", "127.0.0.1", "mqtt.invalid"):
                assert asyncio.run(use(host)) == b"hello"
            mqtt_monitor.wait_for("from/amqtt", count=3)

        def test_after(mqtt_monitor, session_mqtt_broker):
            assert mqtt_monitor.messages == []
            assert session_mqtt_broker.log.count(" as amqtt ") == 3
        """,
    )
    result = repository.run("-p", "no:randomly")
    result.assert_outcomes(passed=2)
