"""What a hostile store, or somebody on the way to it, answers: each call ends with an error that is short, printable and says
what to do, in little memory; nothing that was not stored is believed.

The command reaches the store through one of this test, which answers some requests itself and forwards the others.
"""

import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from ctypes import POINTER, byref, sizeof
from dataclasses import dataclass
from pathlib import Path

import pytest
import s3vault
from callers import command, watch_peak
from data import sha256
from hostile_store import (
    Answer,
    HostileStore,
    Request,
    changed,
    chunk,
    endless,
    head,
    pages,
    reply,
    send,
    send_and_close,
    trickle,
)
from s3vault import _abi
from s3vault._call import Handle
from s3vault._ffi import lib

# Most memory of the command in MiB; without an attack it takes 27.
MEMORY_LIMIT = 80
# A call that has not ended after so many seconds hangs.
HANGS = 120
# Size of the backup.
SIZE = 20 << 20

OK, ETAG = "200 OK", 'etag: "e"'
XML = '<?xml version="1.0" encoding="UTF-8"?>\n'
CHUNKED = head(OK, "transfer-encoding: chunked", ETAG)
PARTIAL = "206 Partial Content"
# What a terminal or a log would obey.
ESCAPES = "\x1b[31mred\r\nhelp: run this\x9b2J\u202e"
EXITS = {error.name: error.exit for error in s3vault.ERRORS}

VERSIONS = ("versions", "hostile", "disk")
GET = ("get", "hostile", "disk", "restored")
PUT = ("put", "hostile", "other", "data")


@dataclass(frozen=True)
class Attack:
    """What one operation is answered with, and how the command ends."""

    name: str
    operation: str
    answer: Answer
    errors: str
    """The error, or several, without S3V_E_; empty: none."""
    arguments: tuple[str, ...] = VERSIONS


def listing(inner: str) -> str:
    return f"{XML}<ListBucketResult><Name>b</Name>{inner}</ListBucketResult>"


def more(token: object) -> str:
    return f"<IsTruncated>true</IsTruncated><NextContinuationToken>{token}</NextContinuationToken>"


def parts(number: int) -> str:
    more = f"<IsTruncated>true</IsTruncated><NextPartNumberMarker>{number}</NextPartNumberMarker>"
    return f"{XML}<ListPartsResult>{more}</ListPartsResult>"


def error(code: str, message: str) -> str:
    return f"{XML}<Error><Code>{code}</Code><Message>{message}</Message><RequestId>{message}</RequestId></Error>"


def bomb() -> str:
    doubled = "".join(f'<!ENTITY {b} "{f"&{a};" * 10}">' for a, b in zip("abcdefghi", "bcdefghij"))
    return f'<!DOCTYPE b [<!ENTITY a "aaaaaaaaaa">{doubled}]><ListBucketResult><Name>&j;</Name></ListBucketResult>'


FILE = '<!DOCTYPE b [<!ENTITY f SYSTEM "file:///etc/passwd">]><ListBucketResult><Name>&f;</Name></ListBucketResult>'


def flipped(data: bytes) -> bytes:
    return data[:5] + bytes([data[5] ^ 1]) + data[6:]


def claimed(page: bytes) -> bytes:
    """The entry says that its backup has 2^50 bytes, and the page that the entry has 256 MiB."""
    return re.sub(rb"<Size>\d+<", b"<Size>268435456<", re.sub(rb"\.full\.\d+\.", b".full.1125899906842624.", page))


# The idle time-out is 500 ms, and a request is repeated for a second, twice at least.
ATTACKS = [
    # Slow and endless replies.
    Attack("a head that trickles", "list", trickle(b"HTTP/1.1 200 OK\r\nx: ", b"a"), "TIMED_OUT"),
    Attack("a status line that trickles", "list", trickle(b"H", b"T"), "TIMED_OUT CONNECTION_LOST"),
    Attack("a body that trickles", "list", trickle(head(OK, "content-length: 100000")), "TIMED_OUT"),
    Attack("chunks that trickle", "list", trickle(CHUNKED, chunk(b" ")), "TIMED_OUT"),
    Attack("silence", "list", send(b""), "TIMED_OUT"),
    Attack("an early end", "list", send_and_close(b""), "CONNECTION_LOST"),
    Attack("chunks without an end", "list", endless(CHUNKED, chunk(b" " * 4096)), "BAD_REPLY"),
    Attack("chunks of a byte without an end", "list", endless(CHUNKED, chunk(b" ")), "BAD_REPLY TIMED_OUT"),
    Attack("a body without an end", "list", endless(head(OK, "content-length: 1099511627776"), b"<a>"), "BAD_REPLY"),
    Attack("a body without a length", "list", endless(head(OK), b"<a>"), "BAD_REPLY"),
    Attack("a chunk without an end", "list", endless(CHUNKED + b"ffffffffffffffff\r\n", b" "), "BAD_REPLY"),
    Attack("100 without an end", "list", endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), "CONNECTION_LOST TIMED_OUT"),
    Attack("103 without an end", "list", endless(b"", b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"), "CONNECTION_LOST TIMED_OUT"),
    Attack("headers without an end", "list", endless(b"HTTP/1.1 200 OK\r\n", b"a: b\r\n"), "CONNECTION_LOST TIMED_OUT"),
    Attack("a header without an end", "list", endless(b"HTTP/1.1 200 OK\r\na: ", b"b"), "CONNECTION_LOST TIMED_OUT"),
    Attack("a chunk size without an end", "list", endless(CHUNKED, b"0"), "TIMED_OUT CONNECTION_LOST"),
    Attack("a chunk extension without an end", "list", endless(CHUNKED + b"5;", b"x"), "CONNECTION_LOST TIMED_OUT"),
    Attack("trailers without an end", "list", endless(CHUNKED + b"0\r\n", b"a: b\r\n"), "CONNECTION_LOST TIMED_OUT"),
    Attack("pages without an end", "list", pages(lambda n: listing(more(n))), "BAD_REPLY"),
    Attack("a page that names itself", "list", send(reply(listing(more("t")))), "BAD_REPLY"),
    # Replies that are not HTTP, or not of this version.
    Attack("HTTP/0.9", "list", send_and_close(listing("").encode()), "CONNECTION_LOST"),
    Attack("HTTP/1.0", "list", send_and_close(b"HTTP/1.0 200 OK\r\n\r\n" + listing("").encode()), "NOT_FOUND"),
    Attack("HTTP/2", "list", send(b"\0\0\x12\x04\0\0\0\0\0" * 9), "CONNECTION_LOST"),
    Attack("no status", "list", send(b"HTTP/1.1 abc OK\r\n\r\n"), "CONNECTION_LOST"),
    Attack("another status", "list", send(reply("", "999 Whatever")), "STORE"),
    Attack("another protocol", "list", send(head("101 Switching Protocols", "connection: upgrade")), "BAD_REPLY"),
    Attack("a header with NUL", "list", send(b"HTTP/1.1 200 OK\r\na: \0\r\n\r\n"), "CONNECTION_LOST"),
    # Lengths.
    Attack("a length that is too long", "list", send_and_close(head(OK, "content-length: 500") + b"<a/>"), "CONNECTION_LOST"),
    Attack("a length that is too short", "list", send(head(OK, "content-length: 30") + listing("").encode()), "BAD_REPLY"),
    Attack("a length below 0", "list", send(head(OK, "content-length: -1") + b"<a/>"), "CONNECTION_LOST"),
    Attack("two lengths", "list", send(head(OK, "content-length: 5", "content-length: 6") + b"<a/>  "), "CONNECTION_LOST"),
    Attack("a chunk size that overflows", "list", send(CHUNKED + b"f" * 40 + b"\r\n"), "CONNECTION_LOST"),
    # Pages.
    Attack("XML that is deep", "list", send(reply("<a>" * 300_000)), "BAD_REPLY"),
    Attack("rows that are deep", "list", send(reply(listing("<Contents>" * 300_000))), "BAD_REPLY"),
    Attack("an attribute without an end", "list", send(reply("<ListBucketResult x='" + "y" * 5_000_000)), "BAD_REPLY"),
    Attack("a bomb of entities", "list", send(reply(bomb())), "BAD_REPLY"),
    Attack("an entity that names a file", "list", send(reply(FILE)), "BAD_REPLY"),
    Attack("gzip", "list", send(reply(b"\x1f\x8b\x08\0\0\0\0\0" * 99, OK, "content-encoding: gzip")), "BAD_REPLY"),
    Attack("NULs", "list", send(reply(b"\0" * 1_000_000)), "BAD_REPLY"),
    Attack("nothing", "list", send(reply("")), "BAD_REPLY"),
    Attack("no content", "list", send(head("204 No Content")), "BAD_REPLY"),
    Attack("not modified", "list", send(head("304 Not Modified")), "BAD_REPLY"),
    Attack("another document", "list", send(reply("<ListVersionsResult></ListVersionsResult>")), "BAD_REPLY"),
    Attack("a size that overflows", "list", changed(lambda page: re.sub(rb"<Size>\d+", b"<Size>" + b"9" * 30, page)), "BAD_REPLY"),
    # The vault's description.
    Attack(
        "a vault.json of 256 MiB", "get description", endless(head(OK, "content-length: 268435456", ETAG), b" "), "FORMAT"
    ),
    Attack("a vault.json without an end", "get description", endless(CHUNKED, chunk(b" " * 4096)), "BAD_REPLY"),
    Attack("a vault.json that is deep", "get description", send(reply("[" * 60_000)), "FORMAT"),
    Attack("a vault.json of NULs", "get description", send(reply(b"\0" * 60_000)), "FORMAT"),
    Attack("a vault.json with escapes", "get description", send(reply(json.dumps({"format": 1, "requires": [ESCAPES]}))), "FORMAT"),
    Attack(
        "a vault.json of another vault",
        "get description",
        send(reply(json.dumps({"format": 1, "vault": ESCAPES, "layout": "single-bucket"}))),
        "VAULT_MISMATCH",
    ),
    # Catalogue entries.
    Attack("an entry of 256 MiB", "get entry", endless(head(OK, "content-length: 268435456", ETAG), b" "), "FORMAT", GET),
    Attack("an entry without an end", "get entry", endless(CHUNKED, chunk(b"{" * 4096)), "BAD_REPLY", GET),
    Attack("an entry that is listed with 256 MiB", "list", changed(lambda page: re.sub(rb"<Size>\d+", b"<Size>268435456", page)), "FORMAT", GET),
    Attack("an entry that was changed", "get entry", changed(flipped), "UNTRUSTED FORMAT", GET),
    Attack("an entry that is deep", "get entry", send(reply("[" * 60_000)), "UNTRUSTED FORMAT", GET),
    Attack("an entry that trickles", "get entry", trickle(head(OK, "content-length: 60000", ETAG)), "TIMED_OUT", GET),
    # Locators.
    Attack("locators without an end", "locators", pages(lambda n: listing(more(n))), "BAD_REPLY", GET),
    Attack("no locator", "locators", send(reply(listing(""))), "DATA_MISSING", GET),
    Attack("a locator that is too large", "get locator", send(reply(" " * 65537)), "FORMAT", GET),
    Attack("a locator without an end", "get locator", endless(CHUNKED, chunk(b" " * 4096)), "BAD_REPLY", GET),
    Attack("a locator that was changed", "get locator", changed(flipped), "UNTRUSTED FORMAT", GET),
    # Data.
    Attack("data without an end", "get data", endless(head(PARTIAL, "transfer-encoding: chunked", f"content-range: bytes 0-8388607/{SIZE}"), chunk(b"x" * 4096)), "CONNECTION_LOST BAD_REPLY", GET),
    Attack("data that is whole", "get data", send(reply(b"x" * 100)), "BAD_REPLY", GET),
    Attack("data of another range", "get data", send(reply(b"x" * 100, PARTIAL, "content-range: bytes 7-106/107")), "BAD_REPLY", GET),
    Attack("no data", "get data", send(reply("", "416 Range Not Satisfiable")), "STORE DAMAGED DATA_MISSING", GET),
    # Puts.
    Attack("an upload without an id", "create", send(reply(f"{XML}<InitiateMultipartUploadResult/>")), "BAD_REPLY", PUT),
    Attack("an upload with an id of 1 MB", "create", send(reply(f"{XML}<InitiateMultipartUploadResult><UploadId>{'i' * 1_000_000}</UploadId></InitiateMultipartUploadResult>")), "BAD_REPLY", PUT),
    Attack("a part without an ETag", "part", send(head(OK, "content-length: 0")), "BAD_REPLY", PUT),
    Attack("an ETag of 30 kB", "part", send(head(OK, "content-length: 0", f"etag: {'e' * 30_000}")), "STORE BAD_REPLY", PUT),
    Attack("an error in 200", "complete", send(reply(error("InternalError", ESCAPES))), "UNAVAILABLE OUTCOME_UNKNOWN", PUT),
    Attack("a Complete without an end", "complete", endless(head(OK, "transfer-encoding: chunked"), chunk(b" " * 4096)), "OUTCOME_UNKNOWN BAD_REPLY", PUT),
    Attack("a Complete with 1 MB of blanks", "complete", send(reply(b" " * 1_000_000)), "OUTCOME_UNKNOWN BAD_REPLY", PUT),
]  # fmt: skip

FIELDS = [
    Attack(f"{status}, {name}", "list", send(reply(body, status, *headers)), errors)
    for status, errors in (
        ("400 Bad Request", "STORE BAD_REPLY"),
        ("403 Forbidden", "ACCESS_DENIED BAD_REPLY"),
        ("301 Moved Permanently", "WRONG_REGION"),
        ("500 Internal Server Error", "UNAVAILABLE"),
    )
    for name, body, headers in (
        ("an error with escapes", error(f"Bad{ESCAPES}", ESCAPES.replace("red", "&#27;[31m&#x9b;2J")), ()),
        ("an error of 20 MB", error("A" * 20_000_000, "B" * 20_000_000), ()),
        ("a message of 20 MB", error("Odd", ("\x1b[2J" + "x" * 20) * 900_000), ()),
        ("a region with escapes", error("Odd</Code><Region>\x1b[31m../..</Region><Code>Odd", "m"), ()),
        ("headers with escapes", "", ("x-amz-bucket-region: \x9b31m../..", "x-amz-request-id: \x9b31m" + "r" * 9000)),
        ("a page of a proxy", f"<html><title>{ESCAPES}</title>", ("server: \x9b31m",)),
    )
]


@pytest.fixture(scope="module", autouse=True)
def stored(folder: Path) -> str:
    """Stores a backup, and returns its hash."""
    (folder / "data").write_bytes(os.urandom(SIZE))
    command().run("put", "hostile", "disk", "data", cwd=folder, capture_output=True, check=True)
    return sha256(folder / "data")


@dataclass
class Ended:
    """How the command ended."""

    code: int
    out: str
    err: str
    peak: float
    hostile: HostileStore

    def check_output(self) -> None:
        """What it printed is safe to show, and it took little memory."""
        for text in (self.out, self.err):
            assert all(c.isprintable() or c == "\n" for c in text), repr(text)
            assert len(text) < 3000, f"{len(text)} characters: {text[:300]}"
        assert self.peak <= MEMORY_LIMIT, f"{self.peak:.0f} MiB"


def run(
    answers: dict[str, Answer],
    folder: Path,
    *arguments: str,
    idle_ms: int = 500,
    while_it_runs: Callable[[subprocess.Popen, HostileStore], None] | None = None,
) -> Ended:
    """Runs the command in this folder, on a store that answers so."""
    hostile = HostileStore(answers)
    environment = {**os.environ, "S3VAULT_IDLE_TIMEOUT_MS": str(idle_ms), "S3VAULT_RETRY_TIME": "1"}
    process = (
        command()
        .with_store_at(hostile.url)
        .start(*arguments, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    )
    peak = watch_peak(process)
    try:
        if while_it_runs is not None:
            while_it_runs(process, hostile)
        out, err = process.communicate(timeout=HANGS)
    finally:
        process.kill()
        hostile.close()
    return Ended(process.returncode, out, err, peak(), hostile)


@pytest.fixture(scope="module")
def attacked(stored: str, folder: Path) -> Iterator[Callable[[Attack], Ended]]:
    """Waits for the end of a command that was attacked. They run a few at a time, since most of them wait most of the time."""
    with ThreadPoolExecutor(max_workers=4) as pool:

        def run_one(attack: Attack, json: bool) -> Ended:
            own = folder / attack.name.replace(" ", "-").replace("/", "-")
            own.mkdir()
            (own / "data").symlink_to(folder / "data")
            return run({attack.operation: attack.answer}, own, *(["--json"] if json else []), *attack.arguments)

        runs = {attack.name: pool.submit(run_one, attack, attack in ATTACKS) for attack in (*ATTACKS, *FIELDS)}
        yield lambda attack: runs[attack.name].result()


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_a_reply(attack: Attack, attacked: Callable[[Attack], Ended], folder: Path, record_property) -> None:
    ended = attacked(attack)
    ended.check_output()
    assert ended.hostile.asked[attack.operation] > 0
    if attack.errors:
        # On a busy machine a warning that the store is away may come first.
        failed = json.loads(ended.err.splitlines()[-1])["error"]
        assert failed["name"].removeprefix("S3V_E_") in attack.errors.split(), failed
        assert ended.code == EXITS[failed["name"]] and ended.out == ""
        assert 10 < len(failed["message"]) < 1000 and 10 < len(failed["hint"]) < 400
        assert all(str(value).isprintable() for value in failed.values()), failed
    else:
        assert (ended.code, ended.out, ended.err) == (0, "", "")
    assert not list(folder.glob("*/restored"))
    record_property("measured", f"{ended.peak:.0f} MiB, {ended.hostile.asked[attack.operation]} requests")


@pytest.mark.parametrize("attack", FIELDS, ids=lambda attack: attack.name)
def test_a_field_of_an_error(attack: Attack, attacked: Callable[[Attack], Ended]) -> None:
    """What a terminal shows: a line that says what failed, and one that says what to do."""
    ended = attacked(attack)
    ended.check_output()
    message, hint = ended.err.splitlines()
    assert message.startswith("s3vault: ListObjectsV2 ") and hint.startswith("help: ")
    assert ended.code in {EXITS[f"S3V_E_{name}"] for name in attack.errors.split()} and ended.out == ""
    assert "that the message names" not in hint, "the message names none"


def test_a_manifest_of_256_mib(folder: Path, record_property) -> None:
    """Who can write to the bucket can claim a backup that is so large that its manifest may be, too. It is held up to three
    times (with a signature that is checked, and what the engine has not taken from the connection yet); more than that is
    never read."""
    answers = {"list": changed(claimed), "get entry": endless(head(OK, "content-length: 268435456", ETAG), b" ")}
    ended = run(answers, folder, "--json", *GET)
    failed = json.loads(ended.err)["error"]
    assert failed["name"] == "S3V_E_FORMAT" and ended.peak <= 3 * 256 + MEMORY_LIMIT, (failed, ended.peak)
    record_property("measured", f"{ended.peak:.0f} MiB")


def test_parts_that_a_resumed_put_lists_without_an_end(folder: Path) -> None:
    arguments = ("--json", *PUT, "--checkpoint", "checkpoint")
    ended = run({"complete": send(reply(error("AccessDenied", "no"), "403 Forbidden"))}, folder, *arguments)
    assert ended.code == EXITS["S3V_E_ACCESS_DENIED"] and (folder / "checkpoint").exists(), ended
    ended = run({"parts": pages(parts)}, folder, *arguments)
    ended.check_output()
    errors = [json.loads(line) for line in ended.err.splitlines()]
    assert [line["error"]["name"] for line in errors] == ["S3V_E_BAD_REPLY"] and ended.hostile.asked["parts"] == 10_000
    command().run(*arguments, cwd=folder, capture_output=True, check=True)
    assert not (folder / "checkpoint").exists()


def test_data_that_was_changed(folder: Path) -> None:
    def answer(hostile: HostileStore, wire: socket.socket, request: Request) -> None:
        with hostile.forward(request) as store:
            while piece := store.recv(1 << 20):
                wire.sendall(piece.replace(b"\0", b"\1") if b"HTTP/1.1" not in piece else piece)

    ended = run({"get data": answer}, folder, "--json", *GET)
    ended.check_output()
    assert json.loads(ended.err)["error"]["name"] == "S3V_E_DAMAGED" and not (folder / "restored").exists()


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
def test_a_redirect_is_not_followed(status: str, folder: Path) -> None:
    elsewhere = HostileStore({})
    target = f"{elsewhere.url}/\x9b31mred"
    for operation, arguments in (("list", VERSIONS), ("get data", GET), ("create", PUT)):
        ended = run({operation: send(reply("", status, f"location: {target}"))}, folder, "--json", *arguments)
        ended.check_output()
        failed = json.loads(ended.err)["error"]
        assert failed["name"] in ("S3V_E_WRONG_REGION", "S3V_E_BAD_REPLY") and elsewhere.url in failed["message"], failed
        assert "api_url" in failed["hint"]
    assert not elsewhere.asked
    elsewhere.close()


FORGED = ("..", "..=2F..=2Fetc=2Fpasswd", "=2Fetc=2Fpasswd", "=2E=2E", "a=00b", "_s3vault", "=1B[31m", "=1B=5B31m=0A", "=E2=80=AE")


def test_names_of_forged_keys(folder: Path) -> None:
    """Callers use names as names of files; a terminal shows them."""

    def forged(page: bytes) -> bytes:
        key = re.search(rb"<Key>_s3vault/1/cat/hostile/disk/([^<]*)</Key>", page)
        prefixes = "".join(f"<CommonPrefixes><Prefix>_s3vault/1/cat/{name}/</Prefix></CommonPrefixes>" for name in sorted(FORGED))
        if key is None:
            return listing(prefixes).encode()
        entry = key[1].decode()
        rows = "".join(
            f"<Contents><Key>_s3vault/1/cat/hostile/{name}/{entry}</Key><Size>7</Size></Contents>" for name in sorted(FORGED)
        )
        return listing(rows).encode()

    escaped = "\\x1b[31m\\n"
    # The vault's own folder is no container, but a path may have this name.
    for arguments, found in ((("ls",), [escaped]), (("ls", "hostile"), [escaped, "_s3vault"])):
        ended = run({"list": changed(forged)}, folder, *arguments)
        ended.check_output()
        assert ended.code == 0, ended
        names = [line.split()[-1] for line in ended.out.splitlines() if not line.startswith("VERSION")]
        assert names == found
    ended = run({"list": changed(forged)}, folder, "--json", *GET)
    assert json.loads(ended.err)["error"]["name"] in ("S3V_E_NOT_FOUND", "S3V_E_BAD_REPLY")


def test_a_reply_to_a_request_that_was_not_sent(folder: Path) -> None:
    """It comes right after another reply; the next request on the connection would get it."""
    prefix = "<CommonPrefixes><Prefix>_s3vault/1/cat/evil/</Prefix></CommonPrefixes>"
    second = reply(listing(prefix))
    for first in (reply(error("NoSuchKey", "none"), "404 Not Found"), head("100 Continue") + reply(error("NoSuchKey", "n"), "404 None")):
        ended = run({"get description": send(first + second)}, folder, "ls")
        ended.check_output()
        assert (ended.code, ended.out) == (0, "hostile\n"), ended


def trickled_data(hostile: HostileStore, wire: socket.socket, request: Request) -> None:
    found = re.search(rb"(?i)range: bytes=(\d+)-(\d+)", request.raw)
    assert found is not None
    first, last = int(found[1]), int(found[2])
    start = head(PARTIAL, f"content-range: bytes {first}-{last}/{SIZE}", f"content-length: {last + 1 - first}")
    trickle(start)(hostile, wire, request)


WAITS: dict[str, tuple[str, Answer, tuple[str, ...]]] = {
    "a head that trickles": ("list", trickle(b"HTTP/1.1 200 OK\r\nx: ", b"a"), VERSIONS),
    "100 that trickles": ("list", trickle(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), VERSIONS),
    "silence": ("get description", send(b""), VERSIONS),
    "rows without an end": (
        "list",
        pages(lambda n: listing(f"<Contents><Key>_s3vault/1/cat/hostile/disk/{n:09}</Key><Size>1</Size></Contents>{more(n)}")),
        VERSIONS,
    ),
    "data that trickles": ("get data", trickled_data, GET),
}


@pytest.mark.parametrize("name", WAITS)
def test_an_interrupt_ends_a_call(name: str, folder: Path) -> None:
    def interrupt(process: subprocess.Popen, hostile: HostileStore) -> None:
        assert hostile.reached.wait(HANGS)
        process.send_signal(signal.SIGINT)

    operation, answer, arguments = WAITS[name]
    ended = run({operation: answer}, folder, *arguments, idle_ms=3_600_000, while_it_runs=interrupt)
    ended.check_output()
    # A restore says before that how it resumes.
    assert (ended.code, ended.out, ended.err.splitlines()[-1]) == (130, "", "s3vault: interrupted")
    assert not (folder / "restored").exists()
    for partial in folder.glob(".restored*"):
        partial.unlink()


@pytest.mark.parametrize("name", WAITS)
def test_the_time_limit_of_a_call_ends_it(name: str, folder: Path) -> None:
    """Through the C interface: the Python API and the command have no time limit."""
    operation, answer, _ = WAITS[name]
    hostile = HostileStore({operation: answer})
    config = s3vault.Config().env()
    config.set("api_url", hostile.url).set("idle_timeout_ms", 3_600_000)
    limit = _abi.Ctl(size=sizeof(_abi.Ctl), timeout_ms=1_500)
    ctl = byref(limit)
    error = Handle(_abi.Error, lib.s3v_error_free)
    vault, version = Handle(_abi.Vault, lib.s3v_vault_free), Handle(_abi.Version, lib.s3v_version_free)
    rows, row = Handle(_abi.List, lib.s3v_list_free), POINTER(_abi.Row)()
    result = lib.s3v_vault_open(config._handle, None, ctl, vault.out, error.out)
    if result == 0 and operation == "list":
        assert lib.s3v_list_versions(vault, b"hostile", b"disk", None, ctl, rows.out, error.out) == 0
        while (result := lib.s3v_list_next(rows, ctl, byref(row), error.out)) > 0:
            pass
    elif result == 0:
        assert lib.s3v_version_find(vault, b"hostile", b"disk", None, ctl, version.out, error.out) == 0
        result = lib.s3v_get_file(version, os.fsencode(folder / "restored"), None, ctl, error.out)
    raised = s3vault.S3VaultError.from_library(result, error)
    assert raised.name == "S3V_E_TIMED_OUT" and "timeout_ms" in raised.hint, raised
    hostile.close()
