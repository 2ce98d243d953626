"""A store that accepts the start of an upload, and then answers at most the request to abort it."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

UPLOAD_ID = "upload-1"

_LIST = "<ListBucketResult><IsTruncated>false</IsTruncated><KeyCount>0</KeyCount></ListBucketResult>"
_VERSIONING = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
_CREATED = f"<InitiateMultipartUploadResult><UploadId>{UPLOAD_ID}</UploadId></InitiateMultipartUploadResult>"
_COMPLETED = (
    '<CompleteMultipartUploadResult><ETag>"e"</ETag><ChecksumCRC64NVME>{}</ChecksumCRC64NVME>'
    "</CompleteMultipartUploadResult>"
)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: StallingStore

    def reply(self, status: int, body: str = "", **headers: str) -> None:
        data = body.encode()
        self.send_response(status)
        for name, value in {**headers, "content-length": str(len(data))}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(data)

    def stall(self) -> None:
        self.server.stalled.set()
        self.server.released.wait()
        self.close_connection = True

    def parts(self) -> str:
        """The list of the parts that arrived: in the order of their numbers, after the marker, a page."""
        query = parse_qs(urlsplit(self.path).query)
        marker, limit = int(query.get("part-number-marker", ["0"])[0]), int(query.get("max-parts", ["1000"])[0])
        parts = [(number, part) for number, part in sorted(self.server.parts.items()) if number > marker]
        page = parts[:limit]
        more = f"<NextPartNumberMarker>{page[-1][0]}</NextPartNumberMarker>" if len(parts) > limit else ""
        listed = "".join(part for _, part in page)
        return f"<ListPartsResult><IsTruncated>{str(bool(more)).lower()}</IsTruncated>{more}{listed}</ListPartsResult>"

    def do_GET(self) -> None:
        if "versioning" in self.path:
            self.reply(200, _VERSIONING)
        elif "list-type" in self.path:
            self.reply(200, _LIST)
        elif "uploadId" in self.path:
            self.reply(200, self.parts())
        else:
            self.reply(404, "<Error><Code>NoSuchKey</Code></Error>")

    def do_PUT(self) -> None:
        if "partNumber" in self.path and not self.server.completes:
            self.stall()
            return
        self.rfile.read(int(self.headers["content-length"]))
        if number := re.search(r"partNumber=(\d+)", self.path):
            size = self.headers["x-amz-decoded-content-length"] or self.headers["content-length"]
            fields = f"<PartNumber>{number[1]}</PartNumber><ETag>e</ETag><Size>{size}</Size>"
            self.server.parts[int(number[1])] = f"<Part>{fields}</Part>"
        self.reply(200, ETag='"e"', x_amz_version_id="v1")

    def do_POST(self) -> None:
        if "uploadId" not in self.path:
            self.reply(200, _CREATED)
            return
        self.rfile.read(int(self.headers["content-length"]))
        self.server.stalled.set()
        self.server.released.wait()
        self.reply(200, _COMPLETED.format(self.headers["x-amz-checksum-crc64nvme"]), x_amz_version_id="v1")

    def do_DELETE(self) -> None:
        self.server.aborts.append(self.path)
        if self.server.refuses:
            self.reply(403, "<Error><Code>AccessDenied</Code></Error>")
        else:
            self.stall()

    def log_message(self, *_: Any) -> None:
        """Prints nothing."""


class StallingStore(ThreadingHTTPServer):
    """The server. `refuses`: the request to abort the upload is refused; otherwise it is not answered. `completes`: the
    upload is completed, once it is `released`."""

    daemon_threads = True

    def __init__(self, *, refuses: bool, completes: bool) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.refuses, self.completes = refuses, completes
        self.stalled, self.released = threading.Event(), threading.Event()
        self.aborts: list[str] = []
        self.parts: dict[int, str] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def stalling_store(*, refuses: bool = False, completes: bool = False) -> Iterator[StallingStore]:
    """Runs the server in a thread."""
    with StallingStore(refuses=refuses, completes=completes) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.released.set()
            server.shutdown()
            thread.join()
