"""Nobody gets in who should not, and nothing secret comes out."""

import contextlib
import os
import socket
import ssl
import stat
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
from helpers.broker_by_hand import free_port
from helpers.clients import connected
from helpers.drop_in import TESTS, Repository
from mqtt_test_broker import BrokerError, TestMQTTBroker
from mqtt_testing.wire.endpoint import MQTTEndpoint

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


def listening_addresses(pid):
    """Return the addresses that a process listens on, as /proc/net writes them."""
    return {address for address, _ in listening_sockets(pid)}


def listening_ports(pid):
    return {int(port, 16) for _, port in listening_sockets(pid)}


def listening_sockets(pid):
    inodes = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # a connection that has just been closed
            inodes.add(str(descriptor.readlink()))
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in inodes:
                found.add(tuple(fields[1].split(":")))
    return found


LOOPBACK = "0100007F"
LOOPBACK_6 = "0" * 24 + "01000000"


def own_address():
    """Return an address of this machine that is not the loopback interface's."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # sends nothing
        address = probe.getsockname()[0]
    if address.startswith("127."):
        pytest.skip("this machine has the loopback interface only")
    return address


class TestListening:
    @pytest.mark.parametrize("websockets", [False, True], ids=["plain", "websockets"])
    def test_on_no_other_address(self, websockets):
        address = own_address()
        with TestMQTTBroker(websockets=websockets) as broker, pytest.raises(ConnectionRefusedError):
            socket.create_connection((address, broker.port), 5).close()

    @linux_only
    @pytest.mark.parametrize(
        "options",
        [{}, {"tls": True}, {"websockets": True}, {"tls": True, "websockets": True}],
        ids=["plain", "TLS", "websockets", "TLS and websockets"],
    )
    def test_on_the_loopback_interface_alone(self, options):
        with TestMQTTBroker(**options) as broker:
            assert listening_addresses(broker.pid) == {LOOPBACK}

    @linux_only
    def test_on_the_loopback_interface_of_ipv6(self):
        try:
            with TestMQTTBroker(host="::1") as broker:
                assert listening_addresses(broker.pid) == {LOOPBACK_6}
        except BrokerError as error:
            pytest.skip(f"no IPv6 here: {error}")

    @linux_only
    def test_further_listeners_are_for_the_user_to_add(self):
        port = free_port()
        lines = [f"listener {port} 127.0.0.1", "protocol websockets", "socket_domain ipv4"]
        with TestMQTTBroker(config_lines=lines) as broker:
            assert listening_addresses(broker.pid) == {LOOPBACK}
            with connected(MQTTEndpoint("127.0.0.1", port), transport="websockets") as client:
                assert client.is_connected()

    @pytest.mark.parametrize(
        ("lines", "remedy"),
        [
            (["listener 1884"], "`listener 1884 127.0.0.1`"),
            (["  listener   1884 "], "`listener 1884 127.0.0.1`"),
            (["listener"], "`listener PORT 127.0.0.1`"),
            (["max_qos 1", "port 1884"], "`listener PORT ADDRESS`"),
            (["include_dir /etc/mosquitto/conf.d"], "give its lines"),
            (["max_qos 1\nlistener 1884"], "part it"),
            (["listener 1884 127.0.0.1", "protocol websockets"], "`socket_domain ipv4`"),
        ],
    )
    def test_lines_that_would_listen_everywhere_are_refused(self, lines, remedy):
        with pytest.raises(ValueError, match="config_lines has") as error:
            TestMQTTBroker(config_lines=lines)
        assert remedy in str(error.value)

    def test_an_empty_host_is_refused(self):
        with pytest.raises(ValueError, match="all interfaces"):
            TestMQTTBroker(host="")

    @linux_only
    def test_what_listens_beside_websockets_asks_for_the_same(self):
        secured = {"tls": True, "username": "me", "password": "s3cret"}
        with TestMQTTBroker(websockets=True, **secured) as broker:
            [port] = listening_ports(broker.pid) - {broker.port}
            context = broker.ssl_context
            stranger = MQTTEndpoint("127.0.0.1", port, ssl_context=context)
            assert not MQTTEndpoint("127.0.0.1", port).answers()
            assert stranger.connack() == 5  # not authorised
        with TestMQTTBroker(websockets=True, require_client_certificate=True, tls=True) as broker:
            [port] = listening_ports(broker.pid) - {broker.port}
            without = ssl.create_default_context(cafile=broker.get_tls_params()["ca_certs"])
            assert not MQTTEndpoint("127.0.0.1", port, ssl_context=without).answers()


@pytest.mark.parametrize("length", [6, 600], ids=["in a short frame", "in a long frame"])
def test_websockets_are_spoken(length):
    login = {"username": "me", "password": "x" * length}
    broker = TestMQTTBroker(websockets=True, **login)
    with broker, connected(broker, transport="websockets", **login) as client:
        assert client.is_connected()


def test_the_credentials_let_in_and_nothing_else_does():
    with TestMQTTBroker(username="me", password="s3cret") as broker:
        with connected(broker, username="me", password="s3cret") as client:
            assert client.is_connected()
        for username, password in [(None, None), ("me", "wrong"), ("you", "s3cret")]:
            with connected(broker, username=username, password=password) as client:
                assert not client.is_connected()


class TestTLS:
    @pytest.mark.parametrize("websockets", [False, True], ids=["plain", "websockets"])
    def test_it_is_spoken_and_verified(self, websockets):
        transport = {"transport": "websockets"} if websockets else {}
        with TestMQTTBroker(tls=True, websockets=websockets) as broker:
            with connected(broker, ssl_context=broker.ssl_context, **transport) as client:
                assert client.is_connected()
            assert broker.answers()
            for context in (None, ssl.create_default_context()):
                assert not endpoint(broker, ssl_context=context, websockets=websockets).answers()

    def test_without_trustme_it_says_what_to_install(self, monkeypatch, temporary_folder):
        monkeypatch.setitem(sys.modules, "trustme", None)
        with pytest.raises(BrokerError, match="pip install trustme"):
            TestMQTTBroker(tls=True).start()
        assert not list(temporary_folder.iterdir())

    def test_a_certificate_of_another_authority_is_refused(self):
        with TestMQTTBroker(tls=True) as broker, TestMQTTBroker(tls=True) as other:
            assert endpoint(broker, ssl_context=broker.ssl_context).answers()
            assert not endpoint(other, ssl_context=broker.ssl_context).answers()

    def test_clients_get_in_after_a_restart_as_well(self):
        with TestMQTTBroker(tls=True) as broker:
            context = broker.ssl_context
            broker.restart()
            assert broker.ssl_context is context
            assert endpoint(broker, ssl_context=context).answers()
            broker.stop()
            broker.start()
            assert endpoint(broker, ssl_context=context).answers()

    def test_the_files_are_there_for_clients_that_want_files(self):
        assert TestMQTTBroker().get_tls_params() == {}
        with TestMQTTBroker(tls=True, require_client_certificate=True) as broker:
            files = broker.get_tls_params()
            context = ssl.create_default_context(cafile=files["ca_certs"])
            context.load_cert_chain(files["certfile"], files["keyfile"])
            assert endpoint(broker, ssl_context=context).answers()

    @pytest.mark.parametrize("websockets", [False, True], ids=["plain", "websockets"])
    def test_a_client_without_the_certificate_is_refused(self, websockets):
        options = {"require_client_certificate": True, "websockets": websockets}
        with TestMQTTBroker(tls=True, **options) as broker:
            transport = {"transport": "websockets"} if websockets else {}
            with connected(broker, ssl_context=broker.ssl_context, **transport) as client:
                assert client.is_connected()
            without = ssl.create_default_context(cafile=broker.get_tls_params()["ca_certs"])
            position = broker.log_position
            assert not endpoint(broker, ssl_context=without, websockets=websockets).answers()
            assert "New client connected" not in broker.log_since(position)

    def test_the_certificate_of_another_authority_is_refused(self):
        options = {"tls": True, "require_client_certificate": True}
        with TestMQTTBroker(**options) as broker, TestMQTTBroker(**options) as other:
            files = other.get_tls_params()
            context = ssl.create_default_context(cafile=broker.get_tls_params()["ca_certs"])
            context.load_cert_chain(files["certfile"], files["keyfile"])
            assert not endpoint(broker, ssl_context=context).answers()

    def test_a_client_certificate_without_tls_is_refused(self):
        with pytest.raises(ValueError, match="needs tls=True"):
            TestMQTTBroker(require_client_certificate=True)


def endpoint(broker, **options):
    return MQTTEndpoint(broker.host, broker.port, **options)


class TestFiles:
    CODE = """
        import encodings.idna, os, stat, sys  # before Python's own files are out of reach
        sys.path.insert(0, sys.argv[1])
        import trustme
        from mqtt_test_broker import TestMQTTBroker
        trustme.CA().issue_cert("localhost")  # imports the rest of what it needs

        if sys.argv[2] == "somebody else" and os.geteuid() == 0:
            os.setgroups([])
            os.setgid(12345)
            os.setuid(12345)
        options = {"tls": True, "require_client_certificate": True, "websockets": True}
        with TestMQTTBroker(username="me", password="s3cret", **options) as broker:
            assert broker.answers()
            folder = broker.log_path.parent
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
            for path in folder.iterdir():
                print(path.name, oct(stat.S_IMODE(path.stat().st_mode)))
            print("user", os.stat(f"/proc/{broker.pid}").st_uid)
    """

    @linux_only
    @pytest.mark.parametrize("identity", ["root", "somebody else"])
    def test_nobody_else_reads_them(self, identity, monkeypatch):
        if identity == "root" and os.geteuid() != 0:
            pytest.skip("we are not root")
        monkeypatch.setenv("TMPDIR", "/tmp")  # which everybody can reach
        command = [sys.executable, "-c", dedent(self.CODE), str(TESTS), identity]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr
        modes = dict(line.split() for line in run.stdout.splitlines())
        assert modes.pop("user") != "0"
        assert {"mosquitto.log", "mosquitto.conf", "passwords", "client-key.pem"} < set(modes)
        assert set(modes.values()) == {"0o600"}

    def test_they_are_private_on_every_system(self, temporary_folder):
        with TestMQTTBroker(username="me", password="s3cret"):
            [folder] = temporary_folder.iterdir()
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert modes["passwords"] == modes["mosquitto.conf"] == 0o600


SECRET = "s3cret-and-long"


@pytest.mark.usefixtures("few_plugins")
class TestReports:
    """What pytest shows of a failed test, with the locals of all its frames, has no password."""

    SUITE = """
        import os
        import pytest
        from mqtt_test_broker import TestMQTTBroker, BrokerError

        with open("secret") as file:
            SECRET = file.read()

        @pytest.fixture
        def broker(request):
            options = getattr(request, "param", {})
            with TestMQTTBroker(username="me", password=SECRET, **options) as broker:
                yield broker

        def test_of_the_test(broker):
            params = broker.get_connection_params()
            security = broker.get_security_params()
            host, password = broker.host, security["password"]
            vars_of_broker = vars(broker)
            assert (broker, params) == (security, host)

        def test_of_a_refused_connection(broker):
            broker.kill()
            security = broker.get_security_params()
            broker.end_session("one")

        def test_of_a_connection_without_an_answer(broker):
            broker.pause()
            broker.end_session("one", timeout=0.1)

        def test_of_a_broker_that_does_not_start():
            TestMQTTBroker(username="me", password=SECRET, config_lines=["nonsense"]).start()

        def test_of_options_that_contradict_each_other():
            TestMQTTBroker(username=None, password=SECRET)

        def test_of_a_listener():
            TestMQTTBroker(username="me", password=SECRET, config_lines=["listener 1"])

        def test_of_an_executable():
            TestMQTTBroker(username="me", password=SECRET, executable="/bin/true").start()

        def test_of_a_dead_broker(broker):
            os.kill(broker.pid, 9)
            broker.wait_for_ready(1)
    """

    @pytest.mark.parametrize("options", ["-l -vv", "-l -vv --full-trace", "-l -vv --tb=long -rA"])
    def test_of_a_failure(self, pytester, options):
        repository = Repository(pytester, ["mqtt_test_broker"])
        (pytester.path / "secret").write_text(SECRET)
        repository.write("tests/test_it.py", self.SUITE)
        result = repository.run(*options.split())
        result.assert_outcomes(failed=8)
        assert SECRET not in result.stdout.str() + result.stderr.str()


def test_no_process_shows_it():
    with TestMQTTBroker(username="me", password=SECRET) as broker:
        shown = subprocess.run(
            ["ps", "axeww", "-o", "command="], capture_output=True, text=True, check=True
        )
        assert str(broker.log_path.parent) in shown.stdout
        assert SECRET not in shown.stdout
        assert SECRET not in broker.log
        assert SECRET not in repr(broker)
        assert SECRET not in repr(vars(broker))
        assert SECRET not in repr(broker.get_security_params())
