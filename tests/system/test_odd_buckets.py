"""Buckets as the field has them: versioning that somebody suspends, keys with thousands of versions and of delete markers, data
that a lifecycle rule removed."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import s3vault
from buckets import Bucket
from clocked_store import ClockedStore


def put(vault: s3vault.Vault, data: bytes) -> str:
    with vault.create("vm", "disk") as upload:
        upload.write(data)
    return upload.commit().info.vid


def test_versioning_is_suspended_while_a_vault_is_open(store: ClockedStore) -> None:
    bucket = Bucket()
    with s3vault.open(s3vault.Config().env().set("bucket", bucket.name)) as vault:
        first = put(vault, b"first")
        bucket.set_versioning("Suspended")
        # The first put finds it out by the reply to its data, the others before they send any.
        for said in ("returned no version id", "has versioning suspended", "has versioning suspended"):
            with pytest.raises(s3vault.S3VaultError, match=said) as refused:
                put(vault, b"x" * (9 << 20) if said != "returned no version id" else b"second")
            assert refused.value.code == s3vault.ErrorCode.VERSIONING and "versioning" in (refused.value.hint or "")
        said_at_once = bucket.run("put", "vm", "disk", "-", data=b"second", code=2)
        assert "has versioning suspended" in said_at_once.error[0] and "single-bucket-no-versioning" in said_at_once.error[1]

        # What is stored is found, hidden, taken back and verified.
        assert vault.find("vm", "disk").open().read() == b"first"
        vault.delete("vm", "disk")
        assert vault.undelete("vm", "disk").info.vid == first
        assert bucket.run("verify").out == ["1 of 1 versions are good (5 B read)"]
        assert bucket.run("prune", "--keep-fulls", "1").error == []

        bucket.set_versioning("Enabled")
        second = put(vault, b"second")
        assert [version.vid for version in vault.versions("vm", "disk")] == [second, first]
        assert bucket.s3.get_object(Bucket=bucket.name, Key="vm/disk")["Body"].read() == b"second"

    # What the refused put left, and the entries without versions, go with two sweeps.
    for days in (8, 9):
        store.ahead = timedelta(days=days)
        assert bucket.run("sweep", api_url=store.url).error == []
    assert [len(bucket.of_the_version(vid)) for vid in (first, second)] == [3, 3]
    assert len(bucket.versions()) == 7 and bucket.delete_markers() == []


def test_a_key_with_thousands_of_versions(store: ClockedStore, pytestconfig: pytest.Config, counts: Counter) -> None:
    bucket, foreign = Bucket(), (pytestconfig.getoption("--versions") or 1100)

    def write(number: int) -> None:
        bucket.s3.put_object(Bucket=bucket.name, Key="vm/disk", Body=b"foreign %d" % number)

    first = bucket.put("disk", b"first")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(foreign)))
    second, third = bucket.put("disk", b"second"), bucket.put("disk", b"third")
    assert bucket.get("disk", "--version", first) == b"first"
    assert "deleted 2 versions (11 B)" in bucket.run("prune", "--keep-fulls", "1").out[-1]
    store.ahead = timedelta(minutes=40)
    assert bucket.run("sweep", api_url=store.url).out[-1] == "freed 2 versions (11 B)"
    # Those of other programs stay.
    assert len(bucket.versions("vm/disk")) == foreign + 1
    assert bucket.visible("disk") == [third]
    adopted = bucket.run("--json", "adopt", "vm").rows[-1]
    assert (adopted["adopted"], adopted["problems"]) == (foreign, 0)
    assert len(bucket.visible("disk")) == foreign + 1
    assert bucket.get("disk") == b"third"
    assert second not in bucket.visible("disk")
    counts["versions of one key"] += foreign


def test_delete_markers_by_the_thousand_end_no_list_early(
    store: ClockedStore, pytestconfig: pytest.Config, counts: Counter
) -> None:
    bucket, markers = Bucket(), (pytestconfig.getoption("--versions") or 1100)
    # Where the entries of a backup are, before and after its own in the order of keys; and on the key of its data.
    names = [f"{'07'[number % 2]}YBQARZXFB9WMN5C3S{number:08}.1796008315412.full.100.-" for number in range(markers)]
    keys = [f"_s3vault/1/cat/vm/disk/{name}" for name in names]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: bucket.s3.put_object(Bucket=bucket.name, Key=key), [*keys, "vm/disk"]))
    for some in (*(keys[at : at + 1000] for at in range(0, markers, 1000)), ["vm/disk"]):
        bucket.s3.delete_objects(Bucket=bucket.name, Delete={"Objects": [{"Key": key} for key in some]})
    assert len(bucket.delete_markers("_s3vault/1/cat/")) == markers
    first, second = bucket.put("disk", b"first"), bucket.put("disk", b"second")
    assert bucket.visible("disk") == [second, first]
    assert bucket.get("disk") == b"second" and bucket.get("disk", "--version", first) == b"first"
    assert "deleted 1 version (5 B)" in bucket.run("prune", "--keep-fulls", "1").out[-1]
    store.ahead = timedelta(minutes=40)
    assert bucket.run("sweep", api_url=store.url).out[-1] == "freed 1 version (5 B)"
    assert len(bucket.of_the_version(second)) == 3 and bucket.of_the_version(first) == []
    assert bucket.run("verify").out == ["1 of 1 versions are good (6 B read)"]
    counts["delete markers"] += len(bucket.delete_markers())


def test_data_that_a_lifecycle_rule_removed_is_missing_and_its_version_can_be_pruned(store: ClockedStore) -> None:
    bucket = Bucket()
    old, new = bucket.put("disk", b"old"), bucket.put("disk", b"new")
    (data,) = (one for one in bucket.of_the_version(old) if one["Key"] == "vm/disk")
    bucket.s3.delete_object(Bucket=bucket.name, Key="vm/disk", VersionId=data["VersionId"])
    missing = bucket.run("get", "vm", "disk", "-", "--version", old, code=6)
    assert "404 NoSuch" in missing.error[0] and "deleted the data outside of s3vault" in missing.error[1]
    verified = bucket.run("verify", code=6)
    assert verified.out[0].startswith(f"missing: vm/disk {old}: ")
    assert (verified.out[-1], verified.error) == (
        "1 of 2 versions are good (3 B read); 1 missing", ["s3vault: 1 version is bad"]
    )  # fmt: skip
    assert bucket.get("disk") == b"new"
    assert "deleted 1 version (3 B)" in bucket.run("prune", "--keep-fulls", "1").out[-1]
    store.ahead = timedelta(minutes=40)
    swept = bucket.run("sweep", api_url=store.url)
    assert (swept.out[-1], swept.error) == ("freed 1 version (0 B)", [])
    assert bucket.of_the_version(old) == [] and len(bucket.of_the_version(new)) == 3
    assert bucket.run("verify").out == ["1 of 1 versions are good (3 B read)"]
