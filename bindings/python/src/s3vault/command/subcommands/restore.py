"""`s3vault restore`."""

from __future__ import annotations

import argparse
import logging
import os

from ..._errors import S3VaultError
from ..._tables import ErrorCode
from ..._vault import Vault
from ..._version import VersionInfo
from ..arguments import add_as_of, named
from ..configuration import load, open_with
from ..output import Output, printable, size_text, version_fields

SUMMARY = "restore all paths of a container into a folder, as they are or as they were at a time"
EXAMPLES = """\
  s3vault restore web01 /restore/web01
  s3vault restore web01 /restore/web01 --as-of 2026-11-24T13:30:00Z
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument("container", metavar="CONTAINER", help="the container, for example the name of a machine")
    parser.add_argument(
        "folder",
        metavar="FOLDER",
        help="folder to restore into, which is created if it does not exist. A path becomes a file below it; an "
        "incremental becomes a file for each version of its chain, PATH@VERSION",
    )
    add_as_of(parser, "restore of each path the newest version")
    parser.add_argument("--holes", action="store_true", help="write sparse files: leave holes where the data is zero")


def run(args: argparse.Namespace, output: Output) -> None:
    """Restores the paths one after the other. A file that is there already is replaced."""
    count = size = 0
    # The library warns of each incremental that is restored: here it comes with its chain.
    logging.getLogger("s3vault").addFilter(lambda record: "is incremental" not in record.getMessage())
    with open_with(load(args, output)) as vault:
        what = f"container {args.container}" + (f" as of {args.as_of}" if args.as_of else "")
        paths = named(vault.paths(args.container, as_of=args.as_of), what, "List the containers: s3vault ls", vault)
        for path in paths:
            for info, name in _files(vault, path):
                file = file_below(args.folder, name)
                version = vault.find(info.container, info.path, version=info.vid)
                with output.progress(info.path) as progress:
                    version.restore(file, holes=args.holes or None, progress=progress)
                count, size = count + 1, size + info.size
                if output.json:
                    output.object({**version_fields(version.info), "file": file})
                else:
                    print(f"restored  {printable(file)} ({info.kind}, {size_text(info.size)})", flush=True)
    if not output.json:
        print(f"total     {count} {'file' if count == 1 else 'files'}, {size_text(size)}")


def _files(vault: Vault, path: VersionInfo) -> list[tuple[VersionInfo, str]]:
    """The versions that have to be restored for a path, in order, and the name of the file for each."""
    if path.kind != "incremental":
        return [(path, path.path)]
    chain = vault.find(path.container, path.path, version=path.vid).chain()
    return [(info, f"{info.path}@{info.vid}") for info in chain]


def file_below(folder: str, name: str) -> str:
    """The file of this name in the folder, whose own folder exists then. It is never outside: a vault accepts no path
    with a segment that is empty, `.` or `..`, and a link below the folder is not followed."""
    *folders, last = name.split("/")
    try:
        os.makedirs(folder, exist_ok=True)
        parent = folder
        for segment in folders:
            parent = os.path.join(parent, segment)
            _refuse_link(name, parent)
            if not os.path.isdir(parent):
                os.mkdir(parent)
    except FileExistsError as error:
        raise _clash(name, f"{error.filename} is a file, and its folder has the same name") from None
    except OSError as error:
        raise S3VaultError(ErrorCode.IO, f"cannot create the folder {error.filename}: {error.strerror}") from None
    file = os.path.join(parent, last)
    _refuse_link(name, file)
    if os.path.isdir(file):
        raise _clash(name, f"{file} is a folder")
    return file


def _refuse_link(name: str, path: str) -> None:
    if os.path.islink(path):
        link = S3VaultError(ErrorCode.IO, f"cannot restore {name}: {path} is a link, which may lead out of the folder")
        link.hint = "Restore into an empty folder."
        raise link


def _clash(name: str, why: str) -> S3VaultError:
    clash = S3VaultError(ErrorCode.IO, f"cannot restore {name}: {why}")
    clash.hint = "Restore this path by itself with 's3vault get', or into another folder."
    return clash
