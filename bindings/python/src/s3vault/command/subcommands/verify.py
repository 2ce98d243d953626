"""`s3vault verify`."""

from __future__ import annotations

import argparse
from dataclasses import asdict

from ..._errors import S3VaultError
from ..._tables import ErrorCode
from ..._verification import VerifyReport, VersionReport
from ..configuration import load, open_with
from ..output import BadVersions, Output, printable, size_text

SUMMARY = "read backups in the store, and compare them with their signed manifests"
EXAMPLES = """\
  s3vault verify
  s3vault verify web01 disk.img
  s3vault verify web01 disk.img --version 7SZQ4M3T8X0V5R9K2N6B1D4F8G
  s3vault verify --sample 5 --state /var/lib/s3vault/verify.state
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument("container", metavar="CONTAINER", nargs="?", help="only this container (default: all)")
    parser.add_argument("path", metavar="PATH", nargs="?", help="only this backup of it")
    parser.add_argument("--version", metavar="VID", help="only the version with this id, or whose id starts like this")
    parser.add_argument(
        "--sample", metavar="PERCENT", help="only this share of the versions, at least one; every day other ones"
    )
    parser.add_argument("--sample-seed", metavar="N", help="chooses the sample (default: the day)")
    parser.add_argument(
        "--state", metavar="FILE", help="record in FILE what is done, so that a run that was stopped continues"
    )


def _line(one: VersionReport) -> str:
    name = f"{printable(one.container)}/{printable(one.path)} {one.vid}"
    return f"{one.verdict}: {name}" + (f": {printable(one.reason)}" if one.reason else "")


def _summary(report: VerifyReport) -> str:
    said = [f"{report.good} of {report.chosen} versions are good ({size_text(report.bytes)} read)"]
    counts = ("damaged", "missing", "untrusted", "unverifiable")
    said += [f"{getattr(report, name)} {name}" for name in counts if getattr(report, name)]
    if report.hidden:
        said.append(f"{report.hidden} not listed, but needed by others")
    if report.chosen < report.versions:
        said.append(f"{report.versions} in all")
    return "; ".join(said)


def _one(args: argparse.Namespace, output: Output) -> None:
    if args.path is None or args.sample or args.sample_seed or args.state:
        why = "--version needs CONTAINER and PATH, and no --sample, --sample-seed or --state"
        raise S3VaultError(ErrorCode.INVALID_ARGUMENT, why)
    with open_with(load(args, output)) as vault:
        version = vault.find(args.container, args.path, version=args.version)
        with output.progress("verifying", version.info.size) as progress:
            report = version.verify(progress=progress)
    if output.json:
        output.object(asdict(report))
    else:
        output.text(_line(report))
    if report.is_bad:
        raise BadVersions(f"version {report.vid} is {report.verdict}")


def run(args: argparse.Namespace, output: Output) -> None:
    """Verifies. Bad versions end the command with exit code 6."""
    if args.version is not None:
        _one(args, output)
        return
    given = {
        "container": args.container,
        "path": args.path,
        "sample": args.sample,
        "sample_seed": args.sample_seed,
        "state": args.state,
    }
    with open_with(load(args, output)) as vault, output.counting("verifying") as count:

        def show(one: VersionReport) -> None:
            count()
            if output.json:
                output.object(asdict(one))
            elif one.verdict != "good":
                output.line(_line(one))

        report = vault.verify(on_version=show, **given)
    if output.json:
        output.object(asdict(report))
    else:
        output.text(_summary(report))
    if report.bad:
        raise BadVersions("1 version is bad" if report.bad == 1 else f"{report.bad} versions are bad")
