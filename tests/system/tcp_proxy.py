"""A TCP proxy on loopback, in a thread: it counts the bytes that pass through, and breaks some connections."""

import asyncio
import os
import random
import threading
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass
class Counts:
    """Bytes and connections since the last reset."""

    up: int = 0
    down: int = 0
    connections: int = 0
    broken: int = 0
    open: set = field(default_factory=set)


class _Side(asyncio.Protocol):
    """One end of a connection; the other end writes what this end reads."""

    def __init__(self, proxy: "Proxy", upward: bool, peer: "_Side | None" = None) -> None:
        self.proxy, self.upward, self.peer = proxy, upward, peer
        self.transport: asyncio.Transport
        self.left: list[int] | None = None  # bytes until the connection breaks, shared by both ends

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.set_write_buffer_limits(high=1 << 20)
        if self.upward:
            self.left = self.proxy.draw()
            transport.pause_reading()
            self.proxy.counts.connections += 1
            self.proxy.counts.open.add(self)
            self.proxy.loop.create_task(self.connect())
        elif self.peer is not None:
            self.left = self.peer.left
            self.peer.peer = self
            if self.peer.transport.is_closing():
                transport.abort()
            else:
                self.peer.transport.resume_reading()

    async def connect(self) -> None:
        try:
            await self.proxy.loop.create_connection(lambda: _Side(self.proxy, False, self), *self.proxy.target)
        except OSError:
            self.transport.abort()

    def data_received(self, data: bytes) -> None:
        if self.left is not None:
            if self.left[0] <= len(data):
                self.abort()
                return
            self.left[0] -= len(data)
        if self.upward:
            self.proxy.counts.up += len(data)
        else:
            self.proxy.counts.down += len(data)
        if self.peer is not None:
            self.peer.transport.write(data)

    def abort(self) -> None:
        """Breaks the connection at both ends."""
        self.proxy.counts.broken += 1
        for side in (self.peer, self):
            if side is not None:
                side.transport.abort()

    def pause_writing(self) -> None:
        if self.peer is not None:
            self.peer.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.peer is not None and not self.peer.transport.is_closing():
            self.peer.transport.resume_reading()

    def connection_lost(self, error: Exception | None) -> None:
        self.proxy.counts.open.discard(self)
        if self.peer is not None and not self.peer.transport.is_closing():
            self.peer.transport.close() if error is None else self.peer.transport.abort()


class Proxy:
    """Listens on a free port and connects to `target` for each connection; `share` of the connections break at a random byte."""

    def __init__(self, target: tuple[str, int], *, seed: int = 0) -> None:
        self.target, self.share = target, 0.0
        self.random = random.Random(seed)
        self.counts = Counts()
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()
        self.port = 0
        self.listen()

    def listen(self) -> None:
        """Accepts connections: on any port at first, then on the same again."""
        self.server = asyncio.run_coroutine_threadsafe(self._listen(), self.loop).result()
        self.port = self.server.sockets[0].getsockname()[1]

    async def _listen(self) -> asyncio.Server:
        return await self.loop.create_server(lambda: _Side(self, True), "127.0.0.1", self.port)

    def stop(self) -> None:
        """Refuses connections, and breaks those that are open, as a store that restarts does."""
        asyncio.run_coroutine_threadsafe(self._stop(), self.loop).result()

    async def _stop(self) -> None:
        self.server.close()
        await self._abort_all()

    def draw(self) -> list[int] | None:
        """Decides whether the next connection breaks, and after how many bytes in both directions: 1 byte to 16 MiB, each
        size as likely as its double."""
        return [int(2 ** self.random.uniform(0, 24))] if self.random.random() < self.share else None

    def reset(self) -> None:
        """Resets the counts; open connections stay open."""
        self.counts = Counts(open=self.counts.open)

    def abort_all(self) -> None:
        """Breaks all open connections."""
        asyncio.run_coroutine_threadsafe(self._abort_all(), self.loop).result()

    async def _abort_all(self) -> None:
        for side in list(self.counts.open):
            side.abort()


def to_store(*, seed: int = 0) -> tuple[Proxy, str]:
    """Returns a proxy to the store that the environment names, and the store's address through the proxy."""
    url = urlsplit(os.environ["S3VAULT_API_URL"])
    assert url.hostname is not None and url.port is not None
    proxy = Proxy((url.hostname, url.port), seed=seed)
    return proxy, f"{url.scheme}://{url.hostname}:{proxy.port}"
