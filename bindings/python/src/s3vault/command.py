"""The command `s3vault`: what it takes, what it does, and how it ends."""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import select
import shlex
import signal
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import IO, Any, NoReturn

from . import _help, process
from ._config import Config
from ._errors import ErrorFlag, S3VaultError
from ._keyring import Keyring
from ._output import Output
from ._sign import _explain, explain, presign, sign
from ._streams import Upload
from ._tables import OPTIONS, ErrorCode
from ._vault import Vault
from ._vault import open as open_vault
from ._version import Version

DEFAULT_CONFIG = "s3vault.toml"
CHUNK = 1 << 20
SIGNALS_EVERY = 0.2


class Interrupted(KeyboardInterrupt):
    """SIGTERM: ends as Ctrl-C does, so that an upload is given up in the store too."""


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    args = _help.parser().parse_args(arguments)
    output = Output(json=args.json)
    try:
        signal.signal(signal.SIGTERM, _terminate)
        _COMMANDS[args.command](args, output)
        sys.stdout.flush()
        return 0
    except S3VaultError as error:
        output.error(error)
        return error.exit_code
    except BrokenPipeError:
        # The reader went away, which is its right (`| head`): end as a program that SIGPIPE killed.
        _drop_stdout()
        return 128 + signal.SIGPIPE
    except OSError as error:
        _drop_stdout()
        failed = S3VaultError.from_os(error, str(error.filename or "standard input or output"))
        output.error(failed)
        return failed.exit_code
    except Interrupted:
        output.notice("terminated")
        return 128 + signal.SIGTERM
    except KeyboardInterrupt:
        output.notice("interrupted")
        return 128 + signal.SIGINT


def _terminate(number: int, frame: Any) -> NoReturn:
    raise Interrupted


def _drop_stdout() -> None:
    """What is still buffered cannot be written; without this, the interpreter's end would complain of it."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _config(args: argparse.Namespace) -> Config:
    """The file that is named, else the one that is here; the environment over it."""
    config = Config()
    if args.config is not None:
        config.load(args.config)
    elif os.path.exists(DEFAULT_CONFIG):
        config.load(DEFAULT_CONFIG)
    return config.env()


def _open(args: argparse.Namespace) -> Vault:
    return _open_with(_config(args))


def _open_with(config: Config) -> Vault:
    """The vault, and the limits of this process, which stand in the same settings."""
    process.set(**{row.key: config.get(row.key) for row in OPTIONS if row.scope == "process"})
    return open_vault(config)


def _put(args: argparse.Namespace, output: Output) -> None:
    config = _config(args)
    options = {"kind": args.kind, "parent": args.parent, "checkpoint": args.checkpoint}
    with _open_with(config) as vault, _resumable(args, output):
        if not config.get("keyring"):
            output.notice("no keyring is set, so the backup is stored unsigned: 's3vault keys new FILE' makes one")
        with output.progress("put") as progress:
            if _is_stream(args.file):
                with _reader(args.file) as source:
                    upload = vault.create(args.container, args.path, progress=progress, **options)
                    with upload:
                        _skip(source, upload.offset, output)
                        _put_stream(source, upload)
                    version = upload.commit()
            else:
                version = vault.put_file(args.container, args.path, args.file, progress=progress, **options)
    output.stored(version.info)


@contextmanager
def _resumable(args: argparse.Namespace, output: Output) -> Iterator[None]:
    """Says how to go on, where a put ended early and its checkpoint can: one that was given up begins anew."""
    try:
        yield
    except BaseException as error:
        is_final = isinstance(error, S3VaultError) and (
            ErrorFlag.MISUSE in error.flags or error.code == ErrorCode.GIVEN_UP
        )
        if args.checkpoint is not None and not is_final and os.path.exists(args.checkpoint):
            what = "suspended" if isinstance(error, KeyboardInterrupt) else "not stored yet"
            output.notice(f"{what}: {args.checkpoint} has what the store holds; the same command again goes on from there")
        raise


def _get(args: argparse.Namespace, output: Output) -> None:
    if args.file == "-" and sys.stdout.isatty():
        raise S3VaultError(
            ErrorCode.INVALID_ARGUMENT, "standard output is a terminal: name a file, or redirect the output"
        )
    with _open(args) as vault:
        version = vault.find(args.container, args.path, version=args.version, as_of=args.as_of)
        with output.progress("get") as progress:
            if args.file == "-":
                with _writer("-") as target, version.open(verify=args.verify, progress=progress) as source:
                    _get_stream(source.raw, target)
            else:
                version.restore(args.file, verify=args.verify, holes=args.holes or None, progress=progress)
    if args.file != "-":
        output.restored(version.info, args.file)


def _manifest(args: argparse.Namespace, output: Output) -> None:
    with _open(args) as vault:
        version: Version = vault.find(args.container, args.path, version=args.version)
        manifest = version.manifest()
    with _writer(args.file) as target:
        _write_all(target, memoryview(manifest))


def _versions(args: argparse.Namespace, output: Output) -> None:
    with _open(args) as vault:
        output.versions(vault.versions(args.container, args.path))


def _ls(args: argparse.Namespace, output: Output) -> None:
    with _open(args) as vault:
        if args.container is None:
            output.containers(vault.containers())
        else:
            output.paths(vault.paths(args.container, args.prefix))


def _keys(args: argparse.Namespace, output: Output) -> None:
    file = args.file or _config(args).get("keyring")
    if not file:
        raise S3VaultError(ErrorCode.KEYRING, "name the keyring file, or set the setting keyring")
    keyring = Keyring.create(file) if args.action == "new" else Keyring.open(file)
    output.public_key(file, keyring.id, keyring.public)


def _sign(args: argparse.Namespace, output: Output) -> None:
    config = _config(args)
    if args.curl and args.payload == "-":
        raise S3VaultError(ErrorCode.INVALID_ARGUMENT, "curl cannot read standard input again: name a file")
    given = _headers(args.headers)
    hash_of_body = _payload_hash(args.payload)
    added = sign(config, args.method, args.url, headers=given, payload_hash=hash_of_body)
    url = args.url
    if url.lower().startswith("s3://"):
        # The library knows where that is: the URL that it presigns.
        url = presign(config, args.method, url).partition("?")[0]
    file = args.payload if args.payload is not None and hash_of_body != args.payload else None
    if args.curl:
        output.text(_curl(args.method.upper(), url, [*given, *added.items()], file))
    else:
        output.signed(args.method.upper(), url, added)


def _curl(method: str, url: str, headers: list[tuple[str, str]], file: str | None) -> str:
    # What curl would change by itself (dots in the path, brackets in the URL) would not be what was signed.
    words = ["curl", "--path-as-is", "--globoff", *(["--head"] if method == "HEAD" else ["-X", method])]
    for name, value in headers:
        # A semicolon is curl's sign for a header without a value.
        words += ["-H", f"{name}: {value.strip()}" if value.strip() else f"{name};"]
    if file is not None:
        words += ["-T", file]
    return shlex.join([*words, url])


def _presign(args: argparse.Namespace, output: Output) -> None:
    expires = _duration(args.expires)
    url = presign(_config(args), args.method, args.url, expires=expires, headers=_headers(args.headers))
    output.presigned(args.method.upper(), url, expires)


def _explain_refusal(args: argparse.Namespace, output: Output) -> None:
    if args.request == "-" and args.reply == "-":
        raise S3VaultError(ErrorCode.INVALID_ARGUMENT, "standard input cannot be both the request and the reply")
    request = _read_text(args.request)
    reply = _read_text(args.reply) if args.reply is not None else ""
    if args.json:
        output.text(_explain(request, reply))
    else:
        output.explanation(explain(request, reply))


def _headers(given: list[str]) -> list[tuple[str, str]]:
    headers = []
    for header in given:
        name, colon, value = header.partition(":")
        if not colon:
            raise S3VaultError(ErrorCode.INVALID_ARGUMENT, f"-H {header!r} is not 'NAME: VALUE'")
        headers.append((name, value.strip()))
    return headers


def _payload_hash(payload: str | None) -> str:
    """Of the file that is named; what is a hash or a word of x-amz-content-sha256 already, stays."""
    if payload is None:
        return ""
    if re.fullmatch("[0-9a-fA-F]{64}|UNSIGNED-PAYLOAD|STREAMING-[A-Z0-9-]+", payload):
        return payload
    digest = hashlib.sha256()
    with _reader(payload) as source:
        while chunk := source.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _duration(text: str) -> timedelta:
    found = re.fullmatch("([0-9]{1,9})([smhd]?)", text)
    if found is None:
        raise S3VaultError(ErrorCode.INVALID_ARGUMENT, f"--expires {text!r} is not a time such as 90s, 15m, 1h or 7d")
    return int(found[1]) * timedelta(seconds={"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}[found[2]])


def _read_text(file: str) -> str:
    with open(0 if file == "-" else file, "rb", closefd=file != "-") as source:
        return source.read().decode(errors="replace").replace("\0", "\ufffd")


_COMMANDS = {
    "put": _put,
    "get": _get,
    "versions": _versions,
    "ls": _ls,
    "manifest": _manifest,
    "keys": _keys,
    "sign": _sign,
    "presign": _presign,
    "explain": _explain_refusal,
}


def _is_stream(file: str) -> bool:
    """Standard input, a named pipe: read here, where Ctrl-C ends a wait for the writer."""
    if file == "-":
        return True
    try:
        mode = os.stat(file).st_mode
    except OSError:
        # The library says what is wrong with it.
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode)


@contextmanager
def _reader(file: str) -> Iterator[IO[bytes]]:
    with open(0 if file == "-" else file, "rb", buffering=0, closefd=file != "-") as source:
        yield source


@contextmanager
def _writer(file: str) -> Iterator[IO[bytes]]:
    """Unbuffered, so that the last byte's failure is raised here too."""
    with open(1 if file == "-" else file, "wb", buffering=0, closefd=file != "-") as target:
        yield target


def _put_stream(source: Any, upload: Upload) -> None:
    """In large writes, however small the pipe's portions are."""
    buffer = memoryview(bytearray(CHUNK))
    filled = 0
    while True:
        count = _read_into(source, buffer[filled:])
        filled += count
        if filled and (filled == CHUNK or not count):
            upload.write(buffer[:filled])
            filled = 0
        if not count:
            return


def _skip(source: Any, offset: int, output: Output) -> None:
    """Passes over what is stored already: the source begins anew, the upload does not."""
    if not offset:
        return
    output.notice(f"going on at byte {offset}: so many bytes of the input are stored already, and are passed over")
    buffer, left = memoryview(bytearray(CHUNK)), offset
    while left:
        count = _read_into(source, buffer[: min(left, CHUNK)])
        if not count:
            raise S3VaultError(
                ErrorCode.SOURCE_CHANGED,
                f"the input ended at byte {offset - left}, and {offset} bytes of it are stored already: it is another one",
            )
        left -= count


def _read_into(source: Any, buffer: memoryview) -> int:
    # A read that began just after a signal came would wait for the writer before the signal is handled.
    while not select.select([source], [], [], SIGNALS_EVERY)[0]:
        pass
    return int(source.readinto(buffer))


def _get_stream(source: Any, target: Any) -> None:
    buffer = memoryview(bytearray(CHUNK))
    while count := source.readinto(buffer):
        _write_all(target, buffer[:count])


def _write_all(target: Any, data: memoryview) -> None:
    while data:
        data = data[target.write(data) :]
