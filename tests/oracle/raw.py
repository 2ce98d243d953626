"""Requests to the store that the environment (S3VAULT_*) names, as they stand: nothing is added to them."""

import http.client
import os
import ssl
import urllib.parse
from collections.abc import Iterable

URL = urllib.parse.urlsplit(os.environ["S3VAULT_API_URL"])
TLS = ssl.create_default_context(cafile=os.environ["S3VAULT_CA_FILE"]) if URL.scheme == "https" else None


def send(method: str, target: str, headers: Iterable[tuple[str, str]], body: bytes = b"") -> tuple[int, bytes]:
    """Status and body of the reply."""
    if TLS:
        connection = http.client.HTTPSConnection(URL.netloc, context=TLS, timeout=30)
    else:
        connection = http.client.HTTPConnection(URL.netloc, timeout=30)
    try:
        connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        for name, value in headers:
            connection.putheader(name, value)
        connection.endheaders()
        try:
            connection.send(body)
        except (BrokenPipeError, ConnectionResetError, ssl.SSLError):
            pass  # the server has answered before it read all
        reply = connection.getresponse()
        return reply.status, reply.read()
    finally:
        connection.close()
