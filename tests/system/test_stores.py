"""Puts with default settings on stores that have less than S3, or get it wrong: what is stored is restored byte for byte, and
what cannot be stored is an error."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from callers import Caller, command
from data import make_file, sha256
from fake_store import FakeStore

NOT_IMPLEMENTED, INVALID = (501, "NotImplemented"), (400, "InvalidArgument")
DENIED, BAD_DIGEST = (403, "AccessDenied"), (400, "BadDigest")
# A call that has not ended after so many seconds hangs.
HANGS = 120
# Name, what the store does, how often each of the three parts is sent, and what the command warns of.
RIGHT: list[tuple[str, dict, int, tuple[str, ...]]] = [
    ("shows no checksums", {}, 1, ()),
    ("shows checksums of parts", {"echo": True}, 1, ()),
    ("refuses trailers", {"refused": {"trailer": INVALID}}, 2, ("refuses checksums in trailers",)),
    ("refuses checksums", {"refused": {"trailer": INVALID, "checksum": NOT_IMPLEMENTED}}, 1, ("Content-MD5",)),
    ("refuses checksums of Complete", {"refused": {"checksum complete": INVALID}}, 1, ("checksums of a Complete",)),
    ("refuses checksums of HEAD", {"refused": {"mode": NOT_IMPLEMENTED}}, 1, ()),
    ("a composite checksum", {"whole": "AAAAAAAAAAA=-3"}, 1, ()),
    ("a wrong checksum", {"whole": "AAAAAAAAAAA="}, 1, ("cannot be trusted",)),
    ("compares wrong checksums", {"refused": {"checksum complete": BAD_DIGEST}}, 1, ("cannot be trusted",)),
    ("keeps the framing", {"framing": True}, 2, ("keeps the lengths of chunks",)),
    ("keeps the framing, lists nothing", {"framing": True, "refused": {"parts": DENIED}}, 2, ("cannot be checked",)),
    ("loses a Complete", {"lost": 1}, 1, ()),
    ("loses a Complete, refuses checksums of HEAD", {"lost": 1, "refused": {"mode": INVALID}}, 1, ()),
]
# Name, what the store does, exit codes, and what the message says.
WRONG: list[tuple[str, dict, int, str]] = [
    ("no version id", {"version": None}, 2, "returned no version id"),
    ("the version id null", {"version": "null"}, 2, "returned no version id"),
    ("no version id, and a lost Complete", {"version": None, "lost": 1}, 2, "returned no version id"),
    ("a Complete that drops a part", {"truncates": True}, 6, "from other parts than were sent"),
    ("framing that ListParts does not show", {"framing": True, "lies": True}, 6, "from other parts than were sent"),
    ("a lost Complete that nothing shows", {"lost": 1, "opaque": True}, 7, "shows neither its checksum nor an ETag"),
]


@pytest.fixture(scope="module")
def files(folder: Path, seed: int) -> list[Path]:
    """An empty file, a small one, and one of three parts."""
    for name, mib in (("empty", 0), ("large", 20)):
        make_file(folder / name, mib, seed)
    (folder / "small").write_bytes((folder / "large").read_bytes()[:5000])
    return [folder / name for name in ("empty", "small", "large")]


@pytest.fixture
def start() -> Iterator[Callable[..., tuple[FakeStore, Caller]]]:
    """Starts a store, and returns it with the command that uses it."""
    stores: list[FakeStore] = []

    def start(**fields) -> tuple[FakeStore, Caller]:
        stores.append(FakeStore(**fields))
        return stores[-1], command().with_store_at(stores[-1].url)

    yield start
    for store in stores:
        store.close()


def run(caller: Caller, *args: str, stdin: Path = Path("/dev/null")) -> subprocess.CompletedProcess:
    with stdin.open("rb") as source:
        return caller.run(*args, stdin=source, capture_output=True, text=True, timeout=HANGS)


def put(caller: Caller, file: Path, kind: str, *options: str) -> subprocess.CompletedProcess:
    source = ("-", file) if kind == "stream" else (str(file), Path("/dev/null"))
    return run(caller, "put", "vm", file.name, source[0], *options, stdin=source[1])


@pytest.mark.parametrize("kind", ("file", "stream"))
@pytest.mark.parametrize(("rules", "times", "warnings"), [row[1:] for row in RIGHT], ids=[row[0] for row in RIGHT])
def test_what_is_stored_is_restored(rules: dict, times: int, warnings: tuple[str, ...], kind: str, start, files,
                                    folder: Path, tmp_path: Path) -> None:
    for file in files:
        store, caller = start(**rules)
        checkpoint = () if file.name == "small" else ("--checkpoint", str(tmp_path / "checkpoint"))
        done = put(caller, file, kind, *checkpoint)
        assert done.returncode == 0, done.stderr
        if file.name == "large":
            assert store.asked["part"] <= 3 * times, store.asked
            assert len(store.objects[f"vm/{file.name}"]) == 1
            found = [line for line in done.stderr.splitlines() if "warning" in line]
            assert len(found) == len(warnings) and all(map(str.__contains__, found, warnings)), done.stderr
        assert not (tmp_path / "checkpoint").exists()
        restored = tmp_path / "restored"
        got = run(caller, "get", "vm", file.name, str(restored))
        assert got.returncode == 0, got.stderr
        assert sha256(restored) == sha256(file)
        restored.unlink()


@pytest.mark.parametrize("kind", ("file", "stream"))
@pytest.mark.parametrize(("rules", "code", "message"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_what_is_not_stored_is_an_error_each_time(rules: dict, code: int, message: str, kind: str, start, files,
                                                  tmp_path: Path) -> None:
    store, caller = start(**rules)
    for _ in range(2):
        done = put(caller, files[-1], kind, "--checkpoint", str(tmp_path / "checkpoint"))
        assert done.returncode == code, done.stderr
        assert message in done.stderr and "help: " in done.stderr
        assert not [key for key in store.objects if key.startswith("_s3vault/1/cat")]
    assert store.asked["part"] <= 12, store.asked
