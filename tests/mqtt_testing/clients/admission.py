"""Lets a client in to an endpoint, and says where it was not let in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..broker.errors import BrokerError
from ..wire.endpoint import MQTTEndpoint, address
from .paho_internals import client_id_of, set_client_id, speak_as_wanted_by


class MQTTConnectionError(BrokerError):
    """The test broker does not let us in or has stopped answering."""

    def __init__(self, endpoint: MQTTEndpoint, reason: object) -> None:
        super().__init__(
            f"MQTT connection failed: {address(endpoint)}: {str(reason).rstrip('.')}. "
            "Check that the test broker is running: the shared connection needs it throughout."
        )


class DeadBrokerError(MQTTConnectionError):
    """The broker has ended although no call asked it to."""


def constructor_options(endpoint: MQTTEndpoint) -> dict[str, Any]:
    """Return what paho's ``Client`` takes for *endpoint*."""
    return {"transport": "websockets"} if endpoint.websockets else {}


def admit(client: Any, endpoint: MQTTEndpoint) -> None:
    """Let *client* in to *endpoint*, in the way that the endpoint wants it."""
    if endpoint.username is not None:
        client.username_pw_set(endpoint.username, endpoint.password)
    speak_as_wanted_by(endpoint, client)
    # On a broker that runs share, a fixed client id would throw out that of another run.
    client_id, suffix = client_id_of(client), endpoint.client_id_suffix
    if client_id and not client_id.endswith(suffix):
        set_client_id(client, client_id + suffix)


def endpoint_from(params: Mapping[str, Any]) -> MQTTEndpoint:
    """Make an endpoint of what ``SharedMQTTPool`` takes."""
    known = {"host", "port", "keepalive", "username", "password", "ssl_context", "transport"}
    known |= {"client_id_suffix", "topic_prefix"}
    if not {"host", "port"} <= set(params) or not set(params) <= known:
        raise ValueError(
            f"connection_params has {sorted(params)}; it needs host and port, and may have "
            f"{sorted(known - {'host', 'port'})}"
        )
    endpoint = MQTTEndpoint(
        params["host"],
        params["port"],
        username=params.get("username"),
        password=params.get("password"),
        ssl_context=params.get("ssl_context"),
        websockets=params.get("transport") == "websockets",
        client_id_suffix=params.get("client_id_suffix", ""),
        topic_prefix=params.get("topic_prefix", ""),
    )
    endpoint.keepalive = params.get("keepalive", MQTTEndpoint.keepalive)
    return endpoint
