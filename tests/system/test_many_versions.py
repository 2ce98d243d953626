"""A vault of many versions, on the embedded store: what list, prune, sweep and verify ask the store for, and that their memory
does not grow with the vault.

The steps of `many_versions.py` run as processes, first on a vault of a tenth of the --versions and of the --backups, then on one
of all of them. Prune keeps a tenth of the versions. The numbers of requests are those of docs/protocol.md, "What jobs cost", exactly. The memory of each step is what
the process takes beyond an open vault: at most LIMIT, and at most GROWTH more in the large vault than in the small one. A job that
kept 350 bytes of each version would not pass with 20,000 versions, and with 200,000 none that kept 35.
"""

import json
import os
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Callable
from math import ceil
from pathlib import Path
from typing import Any

import pytest
from boto3_client import client
from many_versions import hook

PROGRAM = Path(__file__).with_name("many_versions.py")
STEPS = ("list", "dry-run", "prune", "sweep", "finish", "verify")
# In MiB. What was verified is remembered, up to 10,000 keys: that is the growth from 2,000 versions to 20,000, and there it ends.
LIMIT, GROWTH = 32, 12
PAGE = 1_000


class Vault:
    """A bucket of its own with versions of backups, and what each step said: see `many_versions.py`."""

    def __init__(self, versions: int, backups: int) -> None:
        self.versions, self.backups = versions, backups
        self.bucket = f"many-{uuid.uuid4().hex[:12]}"
        self.is_native = os.environ.get("S3VAULT_MODE", "single-bucket") == "single-bucket"
        self.said: dict[str, dict[str, Any]] = {}

    @property
    def of_each(self) -> int:
        """Number of versions of each backup."""
        return self.versions // self.backups

    @property
    def kept(self) -> int:
        """Number of versions of each backup that the retention keeps."""
        return self.of_each // 10

    @property
    def gone(self) -> int:
        """Number of versions that the retention lets go."""
        return self.versions - self.backups * self.kept

    def run(self, action: str, *numbers: int) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, str(PROGRAM), action, *map(str, numbers)],
            env={**os.environ, "S3VAULT_BUCKET": self.bucket},
            stdout=subprocess.PIPE,
            check=True,
        )
        said: dict[str, Any] = json.loads(done.stdout)
        return said

    def run_all(self) -> None:
        """Fills the bucket, and runs the steps."""
        s3 = client()
        s3.create_bucket(Bucket=self.bucket)
        if self.is_native:
            s3.put_bucket_versioning(Bucket=self.bucket, VersioningConfiguration={"Status": "Enabled"})
        self.said["fill"] = self.run("fill", self.versions, self.backups)
        self.said["list"] = self.run("list")
        self.said["dry-run"] = self.run("dry-run", self.kept)
        self.said["prune"] = self.run("prune", self.kept)
        self.said["sweep"] = self.run("sweep")
        # Half an hour later.
        for marker in (".-d", ".-s"):
            hook("age", {"bucket": self.bucket, "part": marker, "seconds": 3600})
        self.said["finish"] = self.run("sweep")
        self.said["verify"] = self.run("verify")

    def requests(self, step: str) -> Counter[str]:
        return Counter(self.said[step]["requests"])

    def keys(self) -> Counter[str]:
        """How many objects the bucket has, by the first part of their keys; all versions of them."""
        pages = client().get_paginator("list_object_versions" if self.is_native else "list_objects_v2").paginate(Bucket=self.bucket)
        fields = ("Versions", "DeleteMarkers") if self.is_native else ("Contents",)
        objects = [one for page in pages for field in fields for one in page.get(field, [])]
        parts = (one["Key"].split("/") for one in objects)
        return Counter("/".join(part[:3]) if part[0] == "_s3vault" else "data" for part in parts)


@pytest.fixture(scope="module")
def vaults(pytestconfig: pytest.Config, keyring: None) -> dict[str, Vault]:
    versions, backups = pytestconfig.getoption("versions") or 20_000, pytestconfig.getoption("backups")
    of_each = versions // max(backups, 1)
    # A job works on 8 backups at a time: with fewer in the small vault, memory would grow with their number.
    if backups < 200 or backups % 10 or of_each % 10 or of_each * backups != versions or not 10 <= of_each <= PAGE // 3:
        raise pytest.UsageError("--backups is a multiple of 10, 200 or more; of each there are 10, 20, ... or 330 --versions")
    both = {"small": Vault(versions // 10, backups // 10), "large": Vault(versions, backups)}
    for vault in both.values():
        vault.run_all()
    return both


@pytest.fixture(params=("small", "large"))
def vault(request: pytest.FixtureRequest, vaults: dict[str, Vault]) -> Vault:
    return vaults[request.param]


@pytest.fixture
def rate(vault: Vault, record_property) -> Callable[[str, int], None]:
    """Says how many versions a step worked on in a second."""

    def say(step: str, versions: int) -> None:
        seconds = vault.said[step]["seconds"]
        record_property("measured", f"{versions:,} versions in {seconds:.1f} s, {versions / seconds:,.0f} per second")

    return say


def test_versions_are_stored_with_one_list_and_three_puts(vault: Vault, rate, counts) -> None:
    # More where a put met the store's clock of the next day, and was sent again.
    assert vault.said["fill"]["versions"] == vault.versions
    assert vault.requests("fill")["PutObject"] >= 3 * vault.versions
    rate("fill", vault.versions)
    counts["versions stored"] += vault.versions


def test_a_list_of_all_takes_one_request_for_each_thousand(vault: Vault, rate) -> None:
    assert vault.said["list"]["versions"] == vault.versions
    assert vault.requests("list") == {"ListObjectsV2": ceil(vault.versions / PAGE)}
    rate("list", vault.versions)


def test_a_dry_run_says_what_the_prune_does_and_changes_nothing(vault: Vault, rate) -> None:
    dry, real = vault.said["dry-run"], vault.said["prune"]
    assert dry["digest"] == real["digest"]
    assert real["actions"] == {"keep": vault.versions - vault.gone, "delete": vault.gone}
    assert {**dry["report"], "dry_run": False} == real["report"]
    assert vault.requests("prune") - vault.requests("dry-run") == {"PutObject": vault.gone}
    rate("dry-run", vault.versions)


def test_a_prune_reads_each_version_of_its_backups_and_writes_a_marker_for_each_that_goes(vault: Vault, rate) -> None:
    assert vault.requests("prune") == {
        "GetBucketVersioning": 1,
        "GetObject": vault.versions,
        "ListObjectsV2": ceil(vault.versions / PAGE) + vault.backups,
        "PutObject": vault.gone,
    }
    rate("prune", vault.versions)


def test_a_sweep_marks_what_was_abandoned_and_leaves_young_markers(vault: Vault, rate) -> None:
    assert vault.said["sweep"]["actions"] == {"suspect": vault.backups, "wait": vault.gone}
    entries, locators = vault.versions + vault.gone, vault.versions + vault.backups
    assert vault.requests("sweep") == {
        "GetBucketVersioning": 1,
        "GetObject": vault.backups,
        # One of all, for those that stored versions left, and one for each abandoned put.
        "ListMultipartUploads": 1 + vault.backups,
        "ListObjectsV2": ceil(entries / PAGE) + ceil(locators / PAGE) + vault.backups,
        "PutObject": vault.backups,
    }
    rate("sweep", vault.versions)


def test_the_next_sweep_frees_what_was_marked(vault: Vault, rate, counts) -> None:
    freed = vault.gone + vault.backups
    assert vault.said["finish"]["actions"] == {"free": freed}
    entries, locators = vault.versions + freed, vault.versions + vault.backups
    walk = ceil(entries / PAGE) + ceil(locators / PAGE)
    expected = {"GetBucketVersioning": 1, "GetObject": 2 * freed, "DeleteObjects": 4 * vault.backups}
    if vault.is_native:
        # The metadata of the versions that stay says that they are not the abandoned put's.
        expected |= {"HeadObject": vault.kept * vault.backups, "ListMultipartUploads": 1 + 2 * vault.backups}
        expected |= {"ListObjectVersions": 5 * vault.backups, "ListObjectsV2": walk + vault.backups}
    else:
        expected |= {"ListMultipartUploads": 1 + vault.backups, "ListObjectsV2": walk + 4 * vault.backups}
    assert vault.requests("finish") == expected
    rate("finish", freed)
    counts["versions and abandoned puts freed"] += freed


def test_three_objects_are_left_of_each_version_that_stays_and_none_of_others(vault: Vault) -> None:
    stay = vault.versions - vault.gone
    left = vault.keys()
    assert left.pop("_s3vault/vault.json") == 1
    assert left == {"_s3vault/1/cat": stay, "_s3vault/1/loc": stay, "data": stay}


def test_a_sample_of_what_stays_is_good(vault: Vault, rate) -> None:
    report = vault.said["verify"]["report"]
    chosen = report["chosen"]
    assert (report["versions"], report["good"]) == (vault.versions - vault.gone, chosen) and chosen > 0
    walk = ceil(report["versions"] / PAGE)
    assert vault.requests("verify") == {"GetObject": 3 * chosen, "ListObjectsV2": walk + 2 * chosen}
    rate("verify", chosen)


@pytest.mark.parametrize("step", STEPS)
def test_the_memory_of_a_job_does_not_grow_with_the_vault(step: str, vaults: dict[str, Vault], record_property) -> None:
    small, large = (vaults[size].said[step]["peak_kib"] / 1024 for size in ("small", "large"))
    assert large <= LIMIT
    assert large - small <= GROWTH
    record_property("measured", f"{large:.1f} MiB with {vaults['large'].versions:,} versions, {LIMIT} allowed; "
                                f"{large - small:+.1f} than with a tenth, {GROWTH} allowed")
