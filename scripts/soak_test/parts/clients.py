"""Clients on loan among many others."""

from __future__ import annotations

from collections.abc import Iterator

from shared.formatting import duration
from shared.modules import MQTTMonitor, SharedMQTTPool, TestMQTTBroker, crowd, in_another_process
from shared.timing import timed

from ..figures import FailedError, Figure, exactly, median, told
from ..workspace import Workspace

PATIENCE = 30.0
"""Seconds that the broker gets to answer."""


def clients(workspace: Workspace) -> Iterator[Figure]:
    """Lend clients while a thousand others are connected."""
    others = lent = workspace.of(1000)
    with TestMQTTBroker() as broker, SharedMQTTPool(broker.get_connection_params()) as pool:
        monitor = MQTTMonitor(pool)
        alone = timed(lambda: _lend_and_publish(pool), lent)
        with in_another_process(crowd, broker.port, others) as process:
            monitor.wait_for("hello/+", others, PATIENCE)
            among_them = timed(lambda: _lend_and_publish(pool), lent)
            process.communicate(timeout=PATIENCE)
            stayed = monitor.wait_for("goodbye/+", others, PATIENCE)
    yield exactly("other clients, connected from first to last", len(stayed), others)
    yield exactly("loans meanwhile, each with a QoS 1 message", len(among_them), lent)
    yield told("such a loan, median", median(among_them), duration)
    yield told("without the others", median(alone), duration)


def _lend_and_publish(pool: SharedMQTTPool) -> None:
    client = pool.acquire()
    info = client.publish("loan", b"", 1)
    info.wait_for_publish(PATIENCE)
    if not info.is_published():
        raise FailedError(f"a client on loan got no PUBACK within {PATIENCE:g} s")
    pool.release(client)
