"""New keys for an open vault: given by the caller, refused by the store, and asked for during a transfer."""

from __future__ import annotations

import contextlib
import http.client
import os
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import s3vault
from s3vault import ErrorCode, S3VaultError

KEYS = os.environ.get("S3VAULT_ACCESS_KEY", ""), os.environ.get("S3VAULT_SECRET_KEY", "")
REFUSAL = b"<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>"
DATA = os.urandom(1 << 20) * 20


class Front(ThreadingHTTPServer):
    """Forwards requests to the store, except those that it refuses."""

    daemon_threads = True
    refuse = 0
    """How many requests with payload to refuse."""
    refused = 0

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.lock = threading.Lock()

    def is_refused(self) -> bool:
        with self.lock:
            if self.refuse == 0:
                return False
            self.refuse -= 1
            self.refused += 1
            return True


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Front

    def _answer(self) -> None:
        # A call that failed closes the connections of its other requests.
        try:
            self._pass_on()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _pass_on(self) -> None:
        length = int(self.headers.get("content-length", 0))
        body = self.rfile.read(length) if length else None
        if body is not None and len(body) < length:
            raise ConnectionResetError(f"the client closed the connection after {len(body)} of {length} bytes")
        moves_payload = "partNumber" in self.path or "range" in self.headers
        if moves_payload and self.server.is_refused():
            self.send_response_only(400)
            self.send_header("content-length", str(len(REFUSAL)))
            self.end_headers()
            self.wfile.write(REFUSAL)
            return
        store = urlsplit(os.environ["S3VAULT_API_URL"])
        if store.scheme == "https":
            context = ssl.create_default_context(cafile=os.environ["S3VAULT_CA_FILE"])
            to_store: http.client.HTTPConnection = http.client.HTTPSConnection(store.netloc, context=context)
        else:
            to_store = http.client.HTTPConnection(store.netloc)
        with contextlib.closing(to_store):
            # The Host header must be the one that was signed.
            to_store.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                to_store.putheader(name, value)
            to_store.endheaders(body)
            # A reply that is not read to its end keeps the connection, so it is closed too.
            with to_store.getresponse() as reply:
                content = reply.read()
        self.send_response_only(reply.status)
        for name, value in reply.getheaders():
            if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                self.send_header(name, value)
        self.send_header("content-length", reply.headers.get("content-length") or str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _answer

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def front() -> Iterator[Front]:
    """A proxy in front of the store that can refuse requests."""
    with Front() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def through(front: Front, keyring: Path, credentials: s3vault.CredentialsFunction | None) -> s3vault.Vault:
    config = s3vault.Config().env()
    config.set("api_url", f"http://127.0.0.1:{front.server_port}")
    return s3vault.open(config, keyring=keyring, credentials=credentials)


def test_new_keys_are_asked_for_during_a_transfer(front: Front, keyring_file: Path, container: str) -> None:
    asked = []

    def credentials() -> tuple[str, str]:
        asked.append(threading.current_thread())
        return KEYS

    with through(front, keyring_file, credentials) as vault:
        front.refuse = 1
        with vault.create(container, "p") as upload:
            upload.write(DATA)
        front.refuse = 1
        with vault.find(container, "p").open() as backup:
            assert backup.read() == DATA
    assert front.refused == 2
    assert asked == [threading.current_thread()] * 2, "in the thread of the call"


def test_without_new_keys_the_call_fails_with_the_refusal_of_the_store(
    front: Front, keyring_file: Path, container: str
) -> None:
    for credentials in (None, lambda: None):
        with through(front, keyring_file, credentials) as vault:
            front.refuse = 1000
            with pytest.raises(S3VaultError) as caught, vault.create(container, "p") as upload:
                upload.write(DATA)
            front.refuse = 0
            assert (caught.value.code, caught.value.s3_code) == (ErrorCode.ACCESS_DENIED, "ExpiredToken")
            assert list(vault.versions(container, "p")) == []


def test_an_exception_of_the_credentials_function_is_raised(front: Front, keyring_file: Path, container: str) -> None:
    def credentials() -> None:
        raise LookupError("no keys today")

    with through(front, keyring_file, credentials) as vault:
        front.refuse = 1000
        with pytest.raises(LookupError, match="no keys today"), vault.create(container, "p") as upload:
            upload.write(DATA)


def test_keys_that_the_store_refuses_are_not_used(keyring_file: Path, container: str) -> None:
    with s3vault.open(s3vault.Config().env(), keyring=keyring_file) as vault:
        with pytest.raises(S3VaultError) as caught:
            vault.update(KEYS[0], "wrong-secret-key")
        assert caught.value.code == ErrorCode.SIGNATURE_REFUSED
        vault.update(*KEYS)
        with vault.create(container, "p") as upload:
            upload.write(b"x")
        assert [row.size for row in vault.versions(container, "p")] == [1]
