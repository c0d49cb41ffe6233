"""A test broker that does not answer."""

from __future__ import annotations

from ..broker.errors import BrokerError
from ..wire.endpoint import MQTTEndpoint


class MQTTConnectionError(BrokerError):
    """The test broker does not let us in or has stopped answering."""

    def __init__(self, endpoint: MQTTEndpoint, reason: object) -> None:
        super().__init__(
            f"MQTT connection failed: {endpoint.host}:{endpoint.port}: {reason}. "
            "Check that the test broker is running: the shared connection needs it throughout."
        )


class DeadBrokerError(MQTTConnectionError):
    """The broker has ended although no call asked it to."""
