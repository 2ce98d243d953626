"""Resumed uploads, reads by position, and the limits of the process."""

from __future__ import annotations

import io
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from stream import stream

import s3vault
from s3vault import ErrorCode, S3VaultError

MIB = 1 << 20
DATA = stream(20 * MIB + 7, 3)


def start(vault: s3vault.Vault, container: str, checkpoint: Path) -> s3vault.Upload:
    return vault.create(container, "p", checkpoint=checkpoint)


def vids(vault: s3vault.Vault, container: str) -> list[str]:
    return [row.vid for row in vault.versions(container, "p")]


def test_close_without_a_commit_suspends(vault: s3vault.Vault, container: str, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint"
    upload = start(vault, container, checkpoint)
    assert upload.offset == 0
    upload.write(DATA[: 18 * MIB])
    upload.close()
    assert checkpoint.exists()
    assert vids(vault, container) == []
    with start(vault, container, checkpoint) as again:
        assert again.tell() == again.offset <= 16 * MIB
        again.write(DATA[again.offset :])
    assert not checkpoint.exists()
    with vault.find(container, "p").open() as source:
        assert source.read() == DATA


def test_an_exception_suspends(vault: s3vault.Vault, container: str, tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint"
    with pytest.raises(KeyError), start(vault, container, checkpoint) as upload:
        upload.write(DATA)
        raise KeyError
    assert upload.closed
    assert checkpoint.exists()
    start(vault, container, checkpoint).abort()
    assert not checkpoint.exists()
    assert vids(vault, container) == []


def test_suspend_needs_a_checkpoint(vault: s3vault.Vault, container: str) -> None:
    upload = vault.create(container, "p")
    with pytest.raises(S3VaultError) as caught:
        upload.suspend()
    assert caught.value.code == ErrorCode.WRONG_STATE
    upload.write(b"the upload continues")
    upload.commit()


def test_a_reader_is_seekable(vault: s3vault.Vault, container: str) -> None:
    with vault.create(container, "p") as upload:
        upload.write(DATA)
    with vault.find(container, "p").open() as source:
        assert source.seekable()
        assert source.read(100) == DATA[:100]
        assert source.seek(-7, io.SEEK_END) == len(DATA) - 7
        assert source.read() == DATA[-7:]
        assert source.seek(9 * MIB) == source.tell() == 9 * MIB
        assert source.read(5) == DATA[9 * MIB : 9 * MIB + 5]
        assert source.seek(1, io.SEEK_CUR) == 9 * MIB + 6
        assert source.read(1) == DATA[9 * MIB + 6 : 9 * MIB + 7]
        assert source.seek(len(DATA) + 10) == len(DATA) + 10
        assert source.read(1) == b""
        source.seek(0)
        assert source.read() == DATA
        with pytest.raises(ValueError, match="before the start"):
            source.raw.seek(-1)


def test_threads_share_reads_by_position(vault: s3vault.Vault, container: str) -> None:
    with vault.create(container, "p") as upload:
        upload.write(DATA)
    with vault.find(container, "p").open(verify="part") as source, ThreadPoolExecutor(8) as pool:
        places = range(0, len(DATA), MIB)
        found = pool.map(lambda start: source.raw.pread(MIB, start), places)
        assert b"".join(found) == DATA


def test_descriptors(vault: s3vault.Vault, container: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(DATA)
    with source.open("rb") as file:
        version = vault.put_fd(container, "p", file)
    read, write = os.pipe()
    with ThreadPoolExecutor(1) as pool, os.fdopen(read, "rb") as out:
        found = pool.submit(out.read)
        version.restore_fd(write)
        os.close(write)
        assert found.result() == DATA


def test_the_limits_of_the_process() -> None:
    before = s3vault.process.stats()
    assert 0 <= before.memory <= before.memory_peak <= before.memory_limit
    s3vault.process.set(connections=7, memory=64 * MIB)
    try:
        now = s3vault.process.stats()
        assert (now.connections_limit, now.memory_limit) == (7, 64 * MIB)
    finally:
        s3vault.process.set(connections=before.connections_limit, memory=before.memory_limit)
    with pytest.raises(S3VaultError, match="memory") as caught:
        s3vault.process.set(memroy=1)
    assert caught.value.code == ErrorCode.UNKNOWN_OPTION
    with pytest.raises(S3VaultError) as caught:
        s3vault.process.set(bucket="b")
    assert caught.value.code == ErrorCode.INVALID_OPTION


def test_transfers_are_counted(vault: s3vault.Vault, container: str) -> None:
    before = s3vault.process.stats()
    with vault.create(container, "p") as upload:
        upload.write(DATA)
    assert s3vault.process.stats().bytes_up >= before.bytes_up + len(DATA)
