"""Certificates for brokers that speak TLS."""

from __future__ import annotations

from .errors import BrokerError


def issue_certificates(host: str) -> dict[str, str]:
    """Make an authority, and what it issues to the broker and its clients; by file name.

    Raises:
        BrokerError: the package trustme is not installed.
    """
    __tracebackhide__ = True
    try:
        import trustme
    except ImportError:
        raise BrokerError(
            "tls=True needs the package trustme for its certificates: pip install trustme"
        ) from None
    authority = trustme.CA()
    files = {"ca.pem": authority.cert_pem.bytes().decode()}
    for owner, names in {"server": (host, "localhost"), "client": ("client@mqtt.test",)}.items():
        issued = authority.issue_cert(*names)
        chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
        files[f"{owner}.pem"] = chain.decode()
        files[f"{owner}-key.pem"] = issued.private_key_pem.bytes().decode()
    return files
