# SPDX-License-Identifier: MIT
"""The vendored folder of the MQTT test modules: copy it, with the doors that are wanted.

The doors are the plain modules beside it, such as ``mqtt_test_broker.py``: import from those.
Source: the repository whose ``tests/`` this was copied from; licence: MIT, the project's
contributors. ``REPLACED`` lists everything that is replaced in a running process.
"""

from __future__ import annotations

from typing import NamedTuple

__version__ = "2.2.0"


class Replacement(NamedTuple):
    """Something of the process that is replaced for a while."""

    names: str
    by: str
    when: str
    instead: str
    """How to do without."""


_SERVICE = "while a service of service_fixture lives"
_CLIENTS = (
    "while the session has a pool, prompt or redirected clients; with redirect_to_test_broker() "
    "from that call to the end of the run"
)
_OWN_FIXTURE = "a fixture of your own in the place of service_fixture"
_OWN_CLIENT = "your own client, without fixtures of shared_mqtt_pool"

REPLACED = (
    Replacement(
        "concurrent.futures.thread.ThreadPoolExecutor.__init__ "
        "concurrent.futures.process.ProcessPoolExecutor.__init__",
        "concurrent_futures_fix.py",
        "from the import in conftest.py to the end of the run",
        "leave out concurrent_futures_fix and the fixtures of services",
    ),
    Replacement(
        "threading._thread_shutdown",
        "concurrent_futures_fix.py",
        "on Python 3.13 and later, once a thread had to be let go that would keep Python alive",
        "end the threads that the report names",
    ),
    Replacement("threading.Thread.start time.sleep", "threads.py", _SERVICE, _OWN_FIXTURE),
    Replacement("subprocess.Popen.__init__", "services/programs.py", _SERVICE, _OWN_FIXTURE),
    Replacement(
        "paho.mqtt.client.Client.__init__ paho.mqtt.client.Client.connect "
        "paho.mqtt.client.Client.connect_async paho.mqtt.client.Client.reconnect "
        "paho.mqtt.client.Client._reconnect_wait "
        "paho.mqtt.client.Client.loop paho.mqtt.client.Client.loop_forever "
        "paho.mqtt.client.Client.loop_stop paho.mqtt.client.Client.publish "
        "paho.mqtt.client.Client._handle_connack "
        "paho.mqtt.client.time paho.mqtt.client._socketpair_compat",
        "clients/listeners.py",
        _CLIENTS,
        _OWN_CLIENT,
    ),
    Replacement(
        "socket.socket.connect socket.socket.connect_ex socket.getaddrinfo",
        "clients/sockets.py",
        "while redirected_mqtt_clients is in use; with redirect_to_test_broker() from that call to "
        "the end of the run",
        "addresses of a broker that tests can choose",
    ),
    Replacement(
        "asyncio.runners._cancel_all_tasks",
        "clients/lingering.py",
        "from the first test with a fixture of clients after asyncio was imported, to the end of "
        "the session; that of anyio and of backports.asyncio.runner, too, and before Python 3.11 "
        "unittest.IsolatedAsyncioTestCase._tearDownAsyncioLoop",
        "end the tasks that the summary names",
    ),
    Replacement(
        "sys.meta_path",
        "clients/listeners.py, services/wiring.py",
        f"{_CLIENTS}, for a paho that is imported anew; with the camera detector's door from its "
        "import to the end of the run, to explain `import tests.test_detect`",
        _OWN_CLIENT,
    ),
)
"""What is replaced, by dotted names. Besides, on objects that a run leaves: ``join`` and
``_invoke_excepthook`` of threads that go on at its end, and a filter on log handlers that write to
pytest's closed streams; the task factory of an event loop in which tasks of a wider fixture or of
another service run, which calls the one that was there; while a service lives, environment
variables such as ``MQTT_PORT``, on its class the coroutines that ``hold`` names, and the default
executor of the event loop that it lives in; while its own cleanup runs, the handler of SIGURG, by
which a cleanup that does not end is interrupted; in ``settle_mqtt_clients()``, of clients
``_packet_handle`` and TCP_NODELAY."""
