"""A store on loopback that forwards requests to the real one, and answers some of them itself: falsely, endlessly, slowly."""

import itertools
import os
import re
import socket
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from http.client import HTTPResponse
from urllib.parse import parse_qs, urlsplit

CATALOGUE, LOCATORS = "_s3vault/1/cat/", "_s3vault/1/loc/"


@dataclass
class Request:
    """A request as it arrived."""

    method: str
    target: str
    raw: bytes

    @property
    def operation(self) -> str:
        """What it asks for, in the words of :attr:`HostileStore.answers`."""
        url = urlsplit(self.target)
        query = parse_qs(url.query, keep_blank_values=True)
        key = url.path.removeprefix("/").partition("/")[2]
        if "versioning" in query:
            return "versioning"
        if "list-type" in query:
            return "locators" if query["prefix"][0].startswith(LOCATORS) else "list"
        if "uploads" in query:
            return "create"
        if "uploadId" in query:
            return {"PUT": "part", "POST": "complete", "GET": "parts", "DELETE": "abort"}[self.method]
        what = "put" if self.method == "PUT" else "get"
        if key == "_s3vault/vault.json":
            return f"{what} description"
        for prefix, kind in ((CATALOGUE, "entry"), (LOCATORS, "locator")):
            if key.startswith(prefix):
                return f"{what} {kind}"
        return f"{what} data"


# Answers a request on this connection, which is closed afterwards unless the result is True.
Answer = Callable[["HostileStore", socket.socket, Request], object]


class HostileStore:
    """Listens on a free port. `answers` has an answer for each operation that is not forwarded."""

    def __init__(self, answers: dict[str, Answer]) -> None:
        url = urlsplit(os.environ["S3VAULT_API_URL"])
        assert url.scheme == "http" and url.hostname is not None and url.port is not None, "a store without TLS"
        self.store = (url.hostname, url.port)
        self.answers = answers
        self.asked: Counter[str] = Counter()
        self.reached = threading.Event()  # one of `answers` was used
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Accepts no more connections."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def forward(self, request: Request) -> socket.socket:
        """Sends the request to the real store, which closes the connection after its reply."""
        head, _, body = request.raw.partition(b"\r\n\r\n")
        store = socket.create_connection(self.store)
        store.sendall(head + b"\r\nconnection: close\r\n\r\n" + body)
        return store

    def body(self, request: Request) -> bytes:
        """The body of the real store's reply."""
        with self.forward(request) as store:
            reply = HTTPResponse(store)
            reply.begin()
            return reply.read()

    def _accept(self) -> None:
        while True:
            try:
                wire, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(wire,), daemon=True).start()

    def _serve(self, wire: socket.socket) -> None:
        wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            with wire:
                while (request := _receive(wire)) is not None:
                    self.asked[request.operation] += 1
                    answer = self.answers.get(request.operation)
                    if answer is None:
                        with self.forward(request) as store:
                            while piece := store.recv(1 << 20):
                                wire.sendall(piece)
                        return
                    self.reached.set()
                    if answer(self, wire, request) is not True:
                        return
        except OSError:
            # The client has closed the connection, which most answers wait for.
            pass


def _receive(wire: socket.socket) -> Request | None:
    raw = b""
    while b"\r\n\r\n" not in raw:
        piece = wire.recv(65536)
        if not piece:
            return None
        raw += piece
    head = raw.partition(b"\r\n\r\n")[0]
    found = re.search(rb"(?im)^content-length: *(\d+)", head)
    length = len(head) + 4 + (int(found[1]) if found else 0)
    pieces, have = [raw], len(raw)
    while have < length:
        piece = wire.recv(1 << 20)
        if not piece:
            return None
        pieces.append(piece)
        have += len(piece)
    method, target, _ = head.split(b"\r\n")[0].decode().split(" ")
    return Request(method, target, b"".join(pieces))


# ---- answers ----


def reply(body: bytes | str = b"", status: str = "200 OK", *headers: str) -> bytes:
    """A reply with this body."""
    body = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(body)}", 'etag: "e"', *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def head(status: str = "200 OK", *headers: str) -> bytes:
    """The head of a reply without a length of its body."""
    return "\r\n".join([f"HTTP/1.1 {status}", *headers]).encode() + b"\r\n\r\n"


def send(data: bytes) -> Answer:
    """Sends this, and leaves it to the client whether the connection is used again."""

    def answer(_: HostileStore, wire: socket.socket, __: Request) -> bool:
        wire.sendall(data)
        return True

    return answer


def send_and_close(data: bytes) -> Answer:
    """Sends this, and closes the connection."""
    return lambda _, wire, __: wire.sendall(data)


def endless(start: bytes, again: bytes) -> Answer:
    """Sends `start`, and then `again` until the client closes the connection."""
    many = again * (65536 // len(again))

    def answer(_: HostileStore, wire: socket.socket, __: Request) -> None:
        wire.sendall(start)
        while True:
            wire.sendall(many)

    return answer


def trickle(start: bytes, again: bytes = b" ") -> Answer:
    """Sends `start`, and then `again` every 20 ms until the client closes the connection."""

    def answer(_: HostileStore, wire: socket.socket, __: Request) -> None:
        wire.sendall(start)
        wire.settimeout(0.02)
        while True:
            wire.sendall(again)
            try:
                if not wire.recv(1):
                    return
            except TimeoutError:
                pass

    return answer


def pages(page: Callable[[int], str]) -> Answer:
    """Answers with another page each time, by its number."""
    numbers = itertools.count(1)

    def answer(_: HostileStore, wire: socket.socket, __: Request) -> bool:
        wire.sendall(reply(page(next(numbers))))
        return True

    return answer


def changed(change: Callable[[bytes], bytes], status: str = "200 OK", *headers: str) -> Answer:
    """Answers with the body of the real store's reply after this change."""

    def answer(hostile: HostileStore, wire: socket.socket, request: Request) -> bool:
        wire.sendall(reply(change(hostile.body(request)), status, *headers))
        return True

    return answer


def chunk(data: bytes) -> bytes:
    """A chunk of a chunked body."""
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"
