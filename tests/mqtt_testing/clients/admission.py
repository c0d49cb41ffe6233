"""Lets a client in to an endpoint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..wire.endpoint import MQTTEndpoint


def constructor_options(endpoint: MQTTEndpoint) -> dict[str, Any]:
    """Return what paho's ``Client`` takes for *endpoint*."""
    return {"transport": "websockets"} if endpoint.websockets else {}


def admit(client: Any, endpoint: MQTTEndpoint) -> None:
    """Have *client* reach *endpoint* in the way that the endpoint wants it."""
    if endpoint.username is not None:
        client.username_pw_set(endpoint.username, endpoint.password)
    if endpoint.ssl_context is not None and not client._ssl:
        client.tls_set_context(endpoint.ssl_context)
    client._ssl = endpoint.ssl_context is not None
    client._transport = "websockets" if endpoint.websockets else "tcp"
    # On a broker that runs share, a fixed client id would throw out that of another run.
    suffix = endpoint.client_id_suffix.encode()
    if client._client_id and not client._client_id.endswith(suffix):
        client._client_id += suffix


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
