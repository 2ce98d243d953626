"""What prune, sweep, rotate and rekey share: their arguments, and what they print."""

from __future__ import annotations

import argparse
from typing import Callable

from .._job import ItemFunction, JobItem, JobReport
from .output import Output, Problems, item_fields, printable, report_fields, size_text

# Items that say that nothing changes. They are printed in a dry run.
_QUIET = ("keep", "wait", "refused", "leave")


def add_job_arguments(parser: argparse.ArgumentParser, grace: bool = True) -> None:
    """CONTAINER, and what every job takes."""
    parser.add_argument("container", metavar="CONTAINER", nargs="?", help="only this container (default: all)")
    parser.add_argument(
        "--dry-run", action="store_true", help="say for each version what would be done and why, and change nothing"
    )
    if grace:
        parser.add_argument(
            "--grace",
            metavar="TIME",
            help="leave a put that was not completed alone for this long, for example 36h (default: 7d)",
        )


def run_job(
    output: Output,
    title: str,
    job: Callable[[ItemFunction], JobReport],
    nothing: str = "nothing to delete or free",
) -> None:
    """Runs a job, and prints its items and its report: ``nothing`` if it did nothing. Problems end the command with
    exit code 4."""
    refused: list[JobItem] = []
    with output.counting(title) as count:

        def show(item: JobItem) -> None:
            count()
            if item.action == "refused":
                refused.append(item)
            if output.json:
                output.object(item_fields(item))
            elif item.dry_run or item.action not in _QUIET:
                output.line(printable(item.text))

        report = job(show)
    if output.json:
        output.object(report_fields(report))
    else:
        output.text(summary(report, nothing))
        if refused:
            output.line(printable(refusals(refused)))
    if report.problems:
        raise Problems(report)


def _versions(count: int) -> str:
    return "1 version" if count == 1 else f"{count} versions"


def refusals(items: list[JobItem]) -> str:
    """What the store refused to delete, in a sentence. It may be the same each night until a lock ends, so only the
    first one is named."""
    first = items[0]
    return (
        f"the store refused to free {_versions(len(items))}, such as {first.container} {first.path} {first.vid}: "
        f"{first.reason}"
    )


def summary(report: JobReport, nothing: str = "nothing to delete or free") -> str:
    """The report in a sentence: ``deleted 3 versions (1.5 GiB); freed 2 versions (1.0 GiB); 9 stay``."""
    would = "would " if report.dry_run else ""
    said = []
    if report.deleted:
        said.append(
            f"{would}delete{'' if would else 'd'} {_versions(report.deleted)} ({size_text(report.deleted_bytes)})"
        )
    if report.freed:
        said.append(f"{would}free{'' if would else 'd'} {_versions(report.freed)} ({size_text(report.freed_bytes)})")
    if report.suspected:
        puts = "1 abandoned put" if report.suspected == 1 else f"{report.suspected} abandoned puts"
        said.append(f"{would}mark{'' if would else 'ed'} {puts}")
    if report.aborted:
        uploads = "1 upload" if report.aborted == 1 else f"{report.aborted} uploads"
        said.append(f"{would}abort{'' if would else 'ed'} {uploads}")
    if report.rotated:
        wrapped = f"{would}wrap{'' if would else 'ped'}"
        said.append(f"{wrapped} the data keys of {_versions(report.rotated)} with the current key")
    if report.rekeyed:
        copied = "would copy" if report.dry_run else "copied"
        size = size_text(report.rekeyed_bytes)
        said.append(f"{copied} {_versions(report.rekeyed)} ({size}) under new data keys")
    if report.adopted:
        said.append(f"{would}adopt{'' if would else 'ed'} {_versions(report.adopted)}")
    if not said:
        said.append(nothing)
    if report.kept:
        said.append("1 stays" if report.kept == 1 else f"{report.kept} stay")
    if report.left:
        stay = "stays under its data key" if report.left == 1 else "stay under their data keys"
        said.append(f"{report.left} {stay}: only a new backup has a new one")
    if report.waiting:
        said.append("1 waits for a later run" if report.waiting == 1 else f"{report.waiting} wait for a later run")
    return "; ".join(said)
