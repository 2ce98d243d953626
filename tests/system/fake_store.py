"""A small S3 in memory, on loopback, that has less than S3 or gets it wrong, as its fields say. It checks no signature."""

import hashlib
import re
import threading
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

CHECKSUM = "x-amz-checksum-crc64nvme"


@dataclass
class FakeStore:
    """What the store refuses and shows. By default it has no checksums, ignores those it is sent, and is right."""

    refused: dict[str, tuple[int, str]] = field(default_factory=dict)
    """Status and code of requests of an operation, or with `trailer`, `checksum` (header) or `mode` (of HEAD and GET)."""
    whole: str | None = None
    """CRC64NVME of a multipart object in Complete and HEAD."""
    echo: bool = False
    """Parts are answered with the checksum that they came with."""
    framing: bool = False
    """The framing of aws-chunked is kept as data."""
    lies: bool = False
    """ListParts shows sizes without the framing."""
    opaque: bool = False
    """ETags are no MD5s."""
    version: str | None = "v"
    """Prefix of version ids in replies; `null` is the same for all; None: none."""
    lost: int = 0
    """So many Completes take effect, and their connections close without a reply."""
    truncates: bool = False
    """An object of several parts lacks the last one."""
    asked: Counter = field(default_factory=Counter)
    objects: dict[str, list[tuple[str, bytes, dict[str, str]]]] = field(default_factory=dict)
    uploads: dict[str, tuple[str, dict[str, str], dict[int, tuple[bytes, str]]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.lock = threading.Lock()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Handler,), {"store": self}))
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def etag(self, digest: str) -> str:
        return f'"opaque{digest[:8]}"' if self.opaque else f'"{digest}"'

    def add(self, key: str, body: bytes, headers: dict[str, str]) -> str:
        versions = self.objects.setdefault(key, [])
        versions.append((f"v{len(versions) + 1}", body, headers))
        return versions[-1][0]


def unframed(body: bytes) -> tuple[bytes, str]:
    """The data of chunks, and the checksum in their trailer."""
    chunks: list[bytes] = []
    at = 0
    while True:
        end = body.index(b"\r\n", at)
        length = int(body[at:end].split(b";")[0], 16)
        if not length:
            trailer = re.search(rb"(?i)x-amz-checksum-crc64nvme: *(\S+)", body[end:])
            return b"".join(chunks), trailer[1].decode() if trailer else ""
        chunks.append(body[end + 2 : end + 2 + length])
        at = end + 4 + length


class Handler(BaseHTTPRequestHandler):
    store: FakeStore
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def log_message(self, *_) -> None:
        pass

    def answer(self, body: bytes | str = b"", status: int = 200, size: int | None = None, **headers: str | None) -> None:
        body = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        self.send_header("content-length", str(len(body) if size is None else size))
        for name, value in headers.items():
            if value is not None:
                self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def refuse(self, status: int, code: str) -> None:
        xml = f"<Error><Code>{code}</Code><Message>{code} is what this store says</Message></Error>"
        self.answer(b"" if self.command == "HEAD" else xml, status)

    def payload(self) -> bytes:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if "aws-chunked" not in self.headers.get("content-encoding", "") or self.store.framing:
            return body
        data, trailer = unframed(body)
        self.headers[CHECKSUM] = trailer
        return data

    def handle_request(self) -> None:
        store, url = self.store, urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query, keep_blank_values=True).items()}
        key = unquote(url.path).removeprefix("/").partition("/")[2]
        of_upload = {"PUT": "part", "POST": "complete", "GET": "parts", "DELETE": "abort"}
        operation = next((name for name in ("versioning", "versions", "uploads") if name in query), self.command.lower())
        operation = "list" if "list-type" in query else of_upload[self.command] if "uploadId" in query else operation
        traits = [operation]
        if "x-amz-trailer" in self.headers:
            traits += ["trailer", f"trailer {operation}"]
        elif any(re.match("x-amz-(sdk-)?checksum-(?!mode)", name.lower()) for name in self.headers):
            traits += ["checksum", f"checksum {operation}"]
        if "x-amz-checksum-mode" in self.headers:
            traits += ["mode"]
        body = self.payload()
        with store.lock:
            store.asked.update(traits)
            refused = next((store.refused[trait] for trait in traits if trait in store.refused), None)
            if refused:
                return self.refuse(*refused)
            getattr(self, f"on_{operation}")(key, query, body)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_request

    def metadata(self) -> dict[str, str]:
        return {name: value for name, value in self.headers.items() if name.lower().startswith("x-amz-meta-")}

    def version_id(self, own: str) -> str | None:
        return own if self.store.version == "v" else self.store.version

    def on_versioning(self, *_) -> None:
        self.answer("<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>")

    def on_put(self, key: str, _: dict, body: bytes) -> None:
        own = self.store.add(key, body, self.metadata() | {"etag": self.store.etag(hashlib.md5(body).hexdigest())})
        self.answer(etag=self.store.objects[key][-1][2]["etag"], x_amz_version_id=self.version_id(own))

    def on_uploads(self, key: str, *_) -> None:
        uid = f"u{len(self.store.uploads) + self.store.asked['complete']}"
        self.store.uploads[uid] = (key, self.metadata(), {})
        self.answer(f"<InitiateMultipartUploadResult><UploadId>{uid}</UploadId></InitiateMultipartUploadResult>")

    def on_part(self, _: str, query: dict, body: bytes) -> None:
        etag = self.store.etag(hashlib.md5(body).hexdigest())
        self.store.uploads[query["uploadId"]][2][int(query["partNumber"])] = (body, etag)
        self.answer(etag=etag, x_amz_checksum_crc64nvme=self.headers.get(CHECKSUM) if self.store.echo else None)

    def on_parts(self, _: str, query: dict, __: bytes) -> None:
        if query["uploadId"] not in self.store.uploads:
            return self.refuse(404, "NoSuchUpload")
        parts = self.store.uploads[query["uploadId"]][2]
        numbers = sorted(n for n in parts if n > int(query.get("part-number-marker", 0)))
        numbers = numbers[: int(query.get("max-parts", 1000))]
        rows = (
            f"<Part><PartNumber>{n}</PartNumber><ETag>{parts[n][1]}</ETag><Size>{self.listed(parts[n][0])}</Size></Part>"
            for n in numbers
        )
        return self.answer(f"<ListPartsResult><IsTruncated>false</IsTruncated>{''.join(rows)}</ListPartsResult>")

    def listed(self, part: bytes) -> int:
        """The size that ListParts shows; a store that lies leaves the framing out."""
        return len(unframed(part)[0]) if self.store.lies and b"x-amz-checksum" in part[-200:] else len(part)

    def on_complete(self, key: str, query: dict, body: bytes) -> None:
        store = self.store
        if query["uploadId"] not in store.uploads:
            return self.refuse(404, "NoSuchUpload")
        _, headers, parts = store.uploads.pop(query["uploadId"])
        numbers = [int(n) for n in re.findall(rb"<PartNumber>(\d+)<", body)]
        digest = hashlib.md5(b"".join(hashlib.md5(parts[n][0]).digest() for n in numbers)).hexdigest()
        headers |= {"etag": store.etag(f"{digest}-{len(numbers)}")} | ({CHECKSUM: store.whole} if store.whole else {})
        own = store.add(key, b"".join(parts[n][0] for n in numbers[: len(numbers) - store.truncates]), headers)
        if store.lost:
            store.lost -= 1
            self.close_connection = True
            return None
        crc = f"<ChecksumCRC64NVME>{store.whole}</ChecksumCRC64NVME>" if store.whole else ""
        xml = f"<CompleteMultipartUploadResult><ETag>{headers['etag']}</ETag>{crc}</CompleteMultipartUploadResult>"
        self.answer(xml, x_amz_version_id=self.version_id(own))

    def on_abort(self, _: str, query: dict, __: bytes) -> None:
        self.store.uploads.pop(query["uploadId"], None)
        self.answer(status=204)

    def on_head(self, key: str, query: dict, _: bytes) -> None:
        self.on_get(key, query, b"")

    def on_get(self, key: str, query: dict, _: bytes) -> None:
        found = [version for version in self.store.objects.get(key, []) if query.get("versionId", version[0]) == version[0]]
        if not found:
            return self.refuse(404, "NoSuchKey")
        own, body, headers = found[-1]
        shown: dict[str, Any] = {name.replace("-", "_"): value for name, value in headers.items()}
        shown["x_amz_version_id"] = self.version_id(own)
        if self.command == "HEAD":
            return self.answer(size=len(body), **shown)
        if (asked := self.headers.get("range")) is None:
            return self.answer(body, **shown)
        start, end = asked.removeprefix("bytes=").split("-")
        last = min(int(end), len(body) - 1) if end else len(body) - 1
        self.answer(body[int(start) : last + 1], 206, content_range=f"bytes {start}-{last}/{len(body)}", **shown)

    def on_list(self, _: str, query: dict, __: bytes) -> None:
        keys = sorted(k for k in self.store.objects if k.startswith(query.get("prefix", "")) and k > query.get("start-after", ""))
        rows = "".join(
            f"<Contents><Key>{k}</Key><Size>{len(self.store.objects[k][-1][1])}</Size>"
            "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
            for k in keys
        )
        self.answer(f"<ListBucketResult><IsTruncated>false</IsTruncated>{rows}</ListBucketResult>")

    def on_versions(self, _: str, query: dict, __: bytes) -> None:
        rows = "".join(
            f"<Version><Key>{k}</Key><VersionId>{v}</VersionId><Size>{len(body)}</Size></Version>"
            for k, versions in self.store.objects.items()
            for v, body, _ in reversed(versions)
            if k.startswith(query.get("prefix", ""))
        )
        self.answer(f"<ListVersionsResult><IsTruncated>false</IsTruncated>{rows}</ListVersionsResult>")
