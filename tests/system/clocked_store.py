"""The store of the environment with another clock: it forwards each request to the real store under a new signature, and writes
its own time into the replies. What was stored while it showed another time keeps that time, so a test lives through weeks.

A request that is dated otherwise is refused as a store refuses it (RequestTimeTooSkewed), from which the client learns the
clock. The client's own signature is not checked.
"""

import hashlib
import os
import re
import ssl
import threading
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from http.client import HTTPConnection, HTTPResponse, HTTPSConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from fake_store import unframed

# How far the date of a request may be from the store's clock.
LEEWAY = timedelta(minutes=15)
# Headers of the client that belong to its signature, its framing or its connection.
OWN_HEADERS = {
    "authorization", "host", "connection", "content-length", "content-encoding", "transfer-encoding", "expect", "x-amz-date",
    "x-amz-content-sha256", "x-amz-trailer", "x-amz-decoded-content-length",
}  # fmt: skip
OBJECT = re.compile(rb"<(Contents|Version|DeleteMarker)>.*?</\1>", re.DOTALL)


def element(name: str, xml: bytes) -> str:
    found = re.search(rf"<{name}>(.*?)</{name}>".encode(), xml, re.DOTALL)
    return unquote(found[1].decode()).replace("&amp;", "&") if found else ""


class ClockedStore:
    """Listens on a free port. `ahead` is how far its clock is ahead of the real store's."""

    def __init__(self, ahead: timedelta = timedelta()) -> None:
        env = os.environ
        url = urlsplit(env["S3VAULT_API_URL"])
        assert url.hostname is not None and url.port is not None
        self.host, self.port, self.upstream = url.hostname, url.port, f"{url.scheme}://{url.netloc}"
        self.tls = ssl.create_default_context(cafile=env["S3VAULT_CA_FILE"]) if url.scheme == "https" else None
        credentials = Credentials(env["S3VAULT_ACCESS_KEY"], env["S3VAULT_SECRET_KEY"])
        self.signer = S3SigV4Auth(credentials, "s3", env.get("S3VAULT_REGION", "us-east-1"))
        self.ahead = ahead
        # How far the clock was ahead when an object (bucket and key, version id) was written.
        self.written: dict[tuple[str, str], timedelta] = {}
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Handler,), {"store": self}))
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def connect(self) -> HTTPConnection:
        if self.tls:
            return HTTPSConnection(self.host, self.port, context=self.tls)
        return HTTPConnection(self.host, self.port)

    def shifted(self, bucket: str, xml: bytes) -> bytes:
        """The list, with the times at which its objects were written."""

        def shift(found: re.Match[bytes]) -> bytes:
            one = found[0]
            at = datetime.fromisoformat(element("LastModified", one)) + self.then(
                f"{bucket}/{element('Key', one)}", element("VersionId", one)
            )
            text = at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03}Z"
            return re.sub(rb"(?<=<LastModified>)[^<]*", text.encode(), one)

        return OBJECT.sub(shift, xml)

    def then(self, key: str, version: str) -> timedelta:
        """How far the clock was ahead when this was written. A list without versions means the newest."""
        return self.written.get((key, version), self.written.get((key, ""), timedelta()))


class Handler(BaseHTTPRequestHandler):
    store: ClockedStore
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    upstream: HTTPConnection | None = None

    def log_message(self, *_: Any) -> None:
        pass

    def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def is_skewed(self) -> bool:
        dated = datetime.strptime(self.headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        return abs(dated - self.store.now()) > LEEWAY

    def handle_request(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        date = format_datetime(self.store.now(), usegmt=True)
        if self.is_skewed():
            said = "<Message>The difference between the request time and the server's time is too large.</Message>"
            xml = f"<Error><Code>RequestTimeTooSkewed</Code>{said}</Error>".encode()
            return self.answer(403, {"Date": date, "Content-Length": str(len(xml))}, xml)
        reply, data = self.forward(body)
        headers = {name: value for name, value in reply.getheaders() if name.lower() not in ("connection", "transfer-encoding")}
        bucket, _, key = unquote(urlsplit(self.path).path).removeprefix("/").partition("/")
        version = reply.getheader("x-amz-version-id", "")
        if self.command in ("PUT", "POST") and reply.status == 200 and key:
            self.store.written[f"{bucket}/{key}", version] = self.store.ahead
            self.store.written[f"{bucket}/{key}", ""] = self.store.ahead
        if modified := reply.getheader("last-modified"):
            then = parsedate_to_datetime(modified) + self.store.then(f"{bucket}/{key}", version)
            headers["Last-Modified"] = format_datetime(then, usegmt=True)
        if not key and self.command == "GET":
            data = self.store.shifted(bucket, data)
        if self.command != "HEAD":
            headers["Content-Length"] = str(len(data))
        self.answer(reply.status, {**headers, "Date": date}, data)

    def forward(self, body: bytes) -> tuple[HTTPResponse, bytes]:
        """Sends the request to the real store, dated by the real clock."""
        headers = {name: value for name, value in self.headers.items() if name.lower() not in OWN_HEADERS}
        if trailer := self.headers.get("x-amz-trailer"):
            body, headers[trailer] = unframed(body)
        request = AWSRequest(self.command, self.store.upstream + self.path, headers, body)
        request.headers["X-Amz-Content-SHA256"] = hashlib.sha256(body).hexdigest()
        self.store.signer.add_auth(request)
        if self.upstream is None:
            self.upstream = self.store.connect()
        self.upstream.request(self.command, self.path, body, dict(request.headers))
        reply = self.upstream.getresponse()
        return reply, reply.read()

    def finish(self) -> None:
        if self.upstream is not None:
            self.upstream.close()
        super().finish()

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_request
