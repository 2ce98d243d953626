"""Buckets with object lock: what cannot be deleted yet is hidden, said, and freed by a later run."""

import re
import time
from datetime import UTC, datetime, timedelta

import pytest
from botocore.exceptions import ClientError
from buckets import Bucket
from clocked_store import ClockedStore

# The store's code and message follow.
REFUSAL = re.compile(
    r"the store refused to free 3 versions, such as vm disk [0-9A-Z]{26}: the store did not delete _s3vault/1/cat/vm/disk/\S+: \w+: ."
)


@pytest.fixture
def later(store: ClockedStore) -> str:
    """The store's address when the markers of today are old enough."""
    store.ahead = timedelta(minutes=40)
    return store.url


def retained_until(bucket: Bucket, vid: str) -> dict[str, datetime]:
    """Until when each object of this version is locked, by its key."""
    return {
        one["Key"]: bucket.s3.get_object_retention(Bucket=bucket.name, Key=one["Key"], VersionId=one["VersionId"])[
            "Retention"
        ]["RetainUntilDate"].astimezone(UTC)
        for one in bucket.of_the_version(vid)
    }


def end_all_locks(bucket: Bucket) -> None:
    """As if the days had passed: all locks end in two seconds, which are waited for."""
    soon = timedelta(seconds=2)
    for one in bucket.versions():
        bucket.s3.put_object_retention(
            Bucket=bucket.name, Key=one["Key"], VersionId=one["VersionId"], BypassGovernanceRetention=True,
            Retention={"Mode": "GOVERNANCE", "RetainUntilDate": datetime.now(UTC) + soon},
        )  # fmt: skip
    time.sleep(soon.total_seconds() + 1)


def test_with_a_default_retention_everything_works_and_space_is_freed_when_it_ends(later: str) -> None:
    bucket = Bucket(locked=True)
    bucket.set_default_retention(days=1)
    oldest, old, new = (bucket.put("disk", b"version %d" % number) for number in range(3))
    large = bucket.put("large", b"x" * (9 << 20))

    bucket.run("rm", "vm", "disk")
    deletion = bucket.visible("disk")[0]
    bucket.run("get", "vm", "disk", "-", code=3)
    bucket.run("undelete", "vm", "disk")
    assert bucket.get("disk") == b"version 2"

    pruned = bucket.run("prune", "--keep-fulls", "1")
    assert pruned.error == [] and "deleted 2 versions (18 B)" in pruned.out[-1]
    assert bucket.visible("disk") == [new]
    before = bucket.versions()

    # Each deletion is refused: it changes nothing, makes no delete marker, and is said once and not as an error.
    for _ in range(2):
        swept = bucket.run("sweep", api_url=later)
        assert swept.error == []
        assert swept.out[0] == "nothing to delete or free; 3 wait for a later run"
        (refusal,) = swept.out[1:]
        assert REFUSAL.match(refusal), refusal
    rows = bucket.run("--json", "sweep", api_url=later).rows
    assert {row["vid"]: row["action"] for row in rows[:-1]} == dict.fromkeys((oldest, old, deletion), "refused")
    assert (rows[-1]["waiting"], rows[-1]["problems"]) == (3, 0)
    assert (bucket.versions(), bucket.delete_markers()) == (before, [])
    assert bucket.run("verify").out[-1].startswith("2 of 2 versions are good")

    end_all_locks(bucket)
    assert bucket.run("sweep", api_url=later).out[-1] == "freed 3 versions (18 B)"
    assert [len(bucket.of_the_version(vid)) for vid in (new, large, old, oldest, deletion)] == [3, 3, 0, 0, 0]
    assert len(bucket.versions()) == 7 and bucket.delete_markers() == []


def test_what_is_immutable_is_locked_with_its_whole_chain(store: ClockedStore, later: str) -> None:
    bucket, days = Bucket(locked=True), {"immutable_days": "2"}
    store.ahead = timedelta(days=-1)
    full = bucket.put("disk", b"full", api_url=store.url, **days)
    yesterday = retained_until(bucket, full)
    inc = bucket.put("disk", b"inc", "--kind", "incremental", "--parent", full, **days)
    locks = retained_until(bucket, inc)
    (end,) = set(locks.values())
    assert len(locks) == 3 and end > datetime.now(UTC) + timedelta(days=2)
    assert set(yesterday.values()) == {end - timedelta(days=1)}
    assert set(retained_until(bucket, full).values()) == {end}

    # Data, locator and entry of both.
    for one in bucket.of_the_version(full) + bucket.of_the_version(inc):
        with pytest.raises(ClientError):
            bucket.s3.delete_object(Bucket=bucket.name, Key=one["Key"], VersionId=one["VersionId"])

    new = bucket.put("disk", b"a new full")
    pruned = bucket.run("--json", "prune", "--keep-fulls", "1", "--keep-incs", "1", "--keep-inc-days", "1").rows
    assert [(row["vid"], row["action"]) for row in pruned[:-1]] == [(vid, "keep") for vid in (new, inc, full)]
    refused = bucket.run("rm", "vm", "disk", "--version", inc, code=4)
    assert refused.error[0].endswith(f"version {inc} of vm disk is locked until {end:%Y-%m-%dT%H:%M:%S}.000Z")
    store.ahead = timedelta(minutes=40)
    assert bucket.run("sweep", api_url=later).out == ["nothing to delete or free"]
    assert bucket.get("disk", "--version", inc) == b"inc" and bucket.get("disk", "--version", full) == b"full"
