"""What the command prints: tables for people, or one JSON object a line."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from ._call import Progress, ProgressFunction
from ._errors import S3VaultError
from ._sign import Difference, Explanation
from ._time import rfc3339
from ._version import VersionInfo

_ERROR_FIELDS = (
    "name",
    "message",
    "hint",
    "http_status",
    "s3_code",
    "request_id",
    "operation",
    "bucket",
    "key",
)


def printable(text: str) -> str:
    """Names may hold anything; a terminal must not obey it."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def size_text(size: int) -> str:
    """Bytes for people: ``1.5 GiB``."""
    if size < 1024:
        return f"{size} B"
    value = float(size)
    for unit in ("KiB", "MiB", "GiB"):
        value /= 1024
        if value < 1024:
            return f"{value:.1f} {unit}"
    return f"{value / 1024:.1f} TiB"


class Output:
    """Results to standard output; progress, notices and errors to standard error."""

    def __init__(self, *, json: bool) -> None:
        self._json = json
        # What a terminal's encoding lacks is escaped, not raised.
        reconfigure = getattr(sys.stdout, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")

    def error(self, error: S3VaultError) -> None:
        """A failure, and what helps."""
        if self._json:
            fields = {name: getattr(error, name) for name in _ERROR_FIELDS}
            found = {name: value for name, value in fields.items() if value}
            print(json.dumps({"error": {"code": int(error.code), **found}}), file=sys.stderr)
        else:
            print(f"s3vault: {printable(error.message)}", file=sys.stderr)
            if error.hint:
                print(f"help: {printable(error.hint)}", file=sys.stderr)

    def notice(self, text: str) -> None:
        """What a person should know, and a program does not need."""
        if not self._json:
            print(f"s3vault: {text}", file=sys.stderr)

    @contextmanager
    def progress(self, what: str) -> Iterator[ProgressFunction | None]:
        """A bar, where a person is looking."""
        if self._json or not sys.stderr.isatty():
            yield None
            return
        # Only here: a command in a pipe need not pay for it.
        from tqdm import tqdm

        with tqdm(desc=what, unit="B", unit_scale=True, unit_divisor=1024, leave=False, file=sys.stderr) as bar:

            def show(progress: Progress) -> None:
                bar.total = progress.total
                bar.update(progress.done - bar.n)

            yield show

    def stored(self, info: VersionInfo) -> None:
        """The result of a put."""
        if self._json:
            self._object(_version_fields(info))
        else:
            print(f"stored    {_name(info)} ({info.kind}, {size_text(info.size)})")
            print(f"version   {info.vid}")
            print(f"recorded  {rfc3339(info.recorded)}")
            print(f"manifest  {info.manifest_hash}")

    def restored(self, info: VersionInfo, file: str) -> None:
        """The result of a get into a file."""
        if self._json:
            self._object({**_version_fields(info), "file": file})
        else:
            print(f"restored  {_name(info)} ({info.kind}, {size_text(info.size)}) to {printable(file)}")
            print(f"version   {info.vid}")
            print(f"recorded  {rfc3339(info.recorded)}")

    def versions(self, rows: Iterable[VersionInfo]) -> None:
        """The versions of one backup."""
        if self._json:
            for row in rows:
                self._object(_version_fields(row))
            return
        head = ("VERSION", "KIND", "SIZE", "RECORDED", "PARENT")
        self._table(head, ((r.vid, r.kind, size_text(r.size), rfc3339(r.recorded), r.parent or "-") for r in rows))

    def paths(self, rows: Iterable[VersionInfo]) -> None:
        """The paths of one container."""
        if self._json:
            for row in rows:
                self._object(_version_fields(row))
            return
        head = ("VERSION", "KIND", "SIZE", "RECORDED", "PATH")
        self._table(head, ((r.vid, r.kind, size_text(r.size), rfc3339(r.recorded), printable(r.path)) for r in rows))

    def containers(self, names: Iterable[str]) -> None:
        """The containers."""
        for name in names:
            if self._json:
                self._object({"container": name})
            else:
                print(printable(name))

    def public_key(self, file: str, key_id: str, public: str) -> None:
        """A keyring's public key."""
        if self._json:
            self._object({"keyring": file, "id": key_id, "public": public})
        else:
            print(public)

    def text(self, line: str) -> None:
        """One line, as it is."""
        print(line, flush=True)

    def signed(self, method: str, url: str, headers: dict[str, str]) -> None:
        """The headers that a signature adds."""
        if self._json:
            self._object({"method": method, "url": url, "headers": headers})
        else:
            for name, value in headers.items():
                print(f"{name}: {value}")

    def presigned(self, method: str, url: str, expires: timedelta) -> None:
        """A presigned URL."""
        if self._json:
            self._object({"method": method, "url": url, "expires_s": expires // timedelta(seconds=1)})
        else:
            print(url)

    def explanation(self, found: Explanation) -> None:
        """Why a signature was refused, for people: the cause first, then what it is concluded from."""
        print(f"cause  {printable(found.cause)}")
        for note in found.notes:
            print(f"note   {printable(note)}")
        if found.store_code:
            print(f"store  {printable(found.store_code)}: {printable(found.store_message)}")
        d = found.difference
        in_request = d is not None and d.part not in ("date", "scope", "canonical request's hash")
        if d is not None:
            text = "canonical request" if in_request else "string to sign"
            where = f", line {d.line} of the {text}" if d.line else ""
            print(f"\nfirst difference: {printable(' '.join(filter(None, (d.part, d.name))))}{where}")
            print(f"  signed  {printable(d.ours) or '(none)'}")
            print(f"  store   {printable(d.store) or '(none)'}")
            longer = d.ours if len(d.ours) >= d.column else d.store
            print(" " * (10 + len(printable(longer[: d.column - 1]))) + "^")
        for title, text, is_request in (
            ("canonical request, as it was signed", found.canonical_request, True),
            ("canonical request, as the store has it", found.store_canonical_request, True),
            ("string to sign, as it was signed", found.string_to_sign, False),
            ("string to sign, as the store has it", found.store_string_to_sign, False),
        ):
            if text:
                self._marked(title, text, d if is_request == in_request else None)

    def _marked(self, title: str, text: str, difference: Difference | None) -> None:
        print(f"\n{title}:")
        for number, line in enumerate(text.split("\n"), 1):
            mark = ">" if difference is not None and number == difference.line else " "
            print(f"{mark} {printable(line)}".rstrip())

    def _object(self, fields: dict[str, Any]) -> None:
        # A line each at once: a program may read a long list as it comes.
        print(json.dumps(fields), flush=True)

    def _table(self, head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
        table = [head, *rows]
        if len(table) == 1:
            self.notice("nothing found")
            return
        widths = [max(len(row[column]) for row in table) for column in range(len(head))]
        for row in table:
            cells = (
                cell.rjust(width) if name == "SIZE" else cell.ljust(width)
                for name, cell, width in zip(head, row, widths)
            )
            print("  ".join(cells).rstrip())


def _name(info: VersionInfo) -> str:
    return f"{printable(info.container)}/{printable(info.path)}"


def _version_fields(info: VersionInfo) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "vid": info.vid,
        "container": info.container,
        "path": info.path,
        "kind": info.kind,
        "parent": info.parent,
        "size": info.size,
        "initiated": rfc3339(info.initiated),
        "recorded": rfc3339(info.recorded),
    }
    if info.manifest_hash is not None:
        fields["manifest_hash"] = info.manifest_hash
    return fields
