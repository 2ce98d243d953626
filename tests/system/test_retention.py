"""A hundred days of one machine under "7 fulls, 14 days of incrementals": prune does what its dry run said, a sweep frees all of
it, and each chain that stays restores the image as it was on its day.

Each day has a process of its own, as a nightly job has, with a store whose clock shows that day.
"""

import json
import re
from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import boto3_client
import pytest
import s3vault
from buckets import bucket_of
from callers import command
from clocked_store import ClockedStore
from disk_image import DiskImage, changes, restored, sha256

DAYS, WEEK = 100, 7
FULLS, INC_DAYS = 7, 14
CONTAINER, PATH = "vm-100", "disks/root.img"
VID_IN_A_KEY = re.compile(r"[/@]([0-9A-Z]{26})(?:\.|$)")
POLICY = ("--keep-fulls", str(FULLS), "--keep-inc-days", str(INC_DAYS))


@dataclass
class Day:
    """What was stored on a day."""

    vid: str
    parent: str | None
    image: str
    """SHA-256 of the image."""


@dataclass
class History:
    """The machine's backups, from the oldest to the newest, in this bucket."""

    bucket: str
    days: list[Day]

    def chain(self, vid: str) -> list[str]:
        """This version and what it builds on."""
        parents = {day.vid: day.parent for day in self.days}
        found = [vid]
        while (parent := parents[found[-1]]) is not None:
            found.append(parent)
        return found

    def kept(self) -> set[str]:
        """What the policy keeps: the newest fulls, and the incrementals of the last days with all that they need."""
        fulls = [day.vid for day in self.days if day.parent is None][-FULLS:]
        # The newest is an hour old.
        incs = [day.vid for day in self.days[-INC_DAYS:] if day.parent is not None]
        return {needed for vid in fulls + incs for needed in self.chain(vid)}


def live(store: ClockedStore, folder: Path, mib: int, seed: int) -> History:
    image, days, before = DiskImage(folder / "image", mib, seed), list[Day](), b""
    for number in range(DAYS):
        store.ahead = timedelta(days=number + 1 - DAYS, hours=-1)
        after = image.live_a_day(number)
        with s3vault.open(s3vault.Config().env().set("api_url", store.url)) as vault:
            is_full = number % WEEK == 0
            options: dict[str, Any] = {} if is_full else {"kind": "incremental", "parent": days[-1].vid}
            with vault.create(CONTAINER, PATH, **options) as upload:
                upload.write(after if is_full else changes(before, after))
            stored = upload.commit().info
        assert abs(stored.recorded - store.now()) < timedelta(minutes=1)
        days.append(Day(stored.vid, options.get("parent"), sha256(after)))
        before = after
    store.ahead = timedelta()
    return History(bucket_of(CONTAINER), days)


@pytest.fixture(scope="module")
def history(store: ClockedStore, folder: Path, pytestconfig: pytest.Config, seed: int) -> History:
    return live(store, folder, pytestconfig.getoption("mib") or 12, seed)


def run(*arguments: str, api_url: str | None = None) -> list[dict[str, Any]]:
    """Runs the command, which must succeed without a word on standard error, and returns the lines of its JSON."""
    caller = command().with_store_at(api_url) if api_url else command()
    done = caller.run("--json", *arguments, capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, ""), done
    return [json.loads(line) for line in done.stdout.splitlines()]


def verdicts(lines: list[dict[str, Any]]) -> dict[str, tuple[str, str]]:
    """What is done with each version, and why."""
    return {line["vid"]: (line["action"], line["reason"]) for line in lines if "vid" in line}


def objects(history: History) -> Counter[str]:
    """How many objects the store has of each version (data, locators, entries, markers), and how many delete markers."""
    s3, found = boto3_client.client(), Counter[str]()
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=history.bucket):
        found["delete marker"] += len(page.get("DeleteMarkers", []))
        for one in page.get("Versions", []):
            if of_a_version := VID_IN_A_KEY.search(one["Key"]):
                found[of_a_version[1]] += 1
            elif one["Key"] == f"{CONTAINER}/{PATH}":
                head = s3.head_object(Bucket=history.bucket, Key=one["Key"], VersionId=one["VersionId"])
                found[head["Metadata"]["s3vault-vid"]] += 1
            else:
                assert one["Key"] == "_s3vault/vault.json"
    return +found


def test_a_policy_keeps_what_it_says_and_the_rest_leaves_the_store(
    history: History, store: ClockedStore, counts: Counter
) -> None:
    kept = history.kept()
    all_vids = {day.vid for day in history.days}
    assert set(objects(history)) == all_vids
    dry = verdicts(run("prune", CONTAINER, *POLICY, "--dry-run"))
    did = verdicts(run("prune", CONTAINER, *POLICY))
    assert did == dry
    assert {vid for vid, (action, _) in did.items() if action == "keep"} == kept
    assert {vid for vid, (action, _) in did.items() if action == "delete"} == all_vids - kept

    # What was deleted is hidden at once, and its bytes are there until the markers are half an hour old.
    with s3vault.open(s3vault.Config().env()) as vault:
        assert {version.vid for version in vault.versions(CONTAINER, PATH)} == kept
    assert set(objects(history)) == all_vids
    assert {action for action, _ in verdicts(run("sweep", CONTAINER)).values()} == {"wait"}
    store.ahead = timedelta(minutes=40)
    swept = run("sweep", CONTAINER, "--grace", "30m", api_url=store.url)
    assert {vid for vid, (action, _) in verdicts(swept).items() if action == "free"} == all_vids - kept
    # Data, locator and entry of each version, and nothing else.
    assert objects(history) == Counter(dict.fromkeys(kept, 3))

    images = {day.vid: day.image for day in history.days}
    with s3vault.open(s3vault.Config().env()) as vault:
        for vid in kept:
            chain = [one.vid for one in vault.find(CONTAINER, PATH, version=vid).chain()]
            assert chain == history.chain(vid)[::-1]
            full, *incs = (vault.find(CONTAINER, PATH, version=one).open(verify="part").read() for one in chain)
            assert sha256(restored(full, incs)) == images[vid]
            counts["chains restored"] += 1
    counts["versions stored"] += len(all_vids)
    counts["versions freed"] += len(all_vids - kept)


def test_another_prune_and_sweep_have_nothing_to_do(history: History) -> None:
    again = run("prune", CONTAINER, *POLICY)
    assert {action for action, _ in verdicts(again).values()} == {"keep"}
    assert (again[-1]["deleted"], again[-1]["freed"], again[-1]["problems"]) == (0, 0, 0)
    assert verdicts(run("sweep", CONTAINER)) == {}
