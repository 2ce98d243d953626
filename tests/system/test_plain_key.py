"""In native mode a plain S3 client reads the newest version of a backup at CONTAINER/PATH, also after deletions and adoption."""

import uuid
from collections.abc import Iterator
from datetime import timedelta

import boto3_client
import pytest
import s3vault
from buckets import bucket_of
from clocked_store import ClockedStore

PATH = "disks/root 1.img"


@pytest.fixture
def vault() -> Iterator[s3vault.Vault]:
    with s3vault.open(s3vault.Config().env()) as opened:
        yield opened


@pytest.fixture
def container() -> str:
    return f"vm-{uuid.uuid4().hex[:10]}"


def put(vault: s3vault.Vault, container: str, data: bytes) -> s3vault.Version:
    with vault.create(container, PATH) as upload:
        upload.write(data)
    return upload.commit()


def plain(container: str) -> bytes:
    """What boto3 reads by the plain key."""
    reply = boto3_client.client().get_object(Bucket=bucket_of(container), Key=f"{container}/{PATH}")
    return bytes(reply["Body"].read())


def newest(vault: s3vault.Vault, container: str) -> bytes:
    return vault.find(container, PATH).open(verify="part").read()


def test_it_reads_the_newest_version(vault: s3vault.Vault, container: str) -> None:
    for data in (b"first", b"x" * (9 << 20), b""):
        put(vault, container, data)
        assert plain(container) == newest(vault, container) == data


def test_a_backup_that_is_deleted_keeps_its_newest_object(vault: s3vault.Vault, container: str) -> None:
    put(vault, container, b"first")
    put(vault, container, b"second")
    vault.delete(container, PATH)
    with pytest.raises(s3vault.S3VaultError) as gone:
        vault.find(container, PATH)
    assert gone.value.code == s3vault.ErrorCode.NOT_FOUND
    # A delete marker of S3's would be a reason for lifecycle rules to delete what undelete takes back.
    assert plain(container) == b"second"
    vault.undelete(container, PATH)
    assert plain(container) == newest(vault, container) == b"second"
    vault.delete(container, PATH)
    put(vault, container, b"third")
    assert plain(container) == newest(vault, container) == b"third"


def test_after_the_newest_version_is_freed_it_reads_the_one_before(
    vault: s3vault.Vault, container: str, store: ClockedStore
) -> None:
    put(vault, container, b"first")
    put(vault, container, b"second").delete()
    store.ahead = timedelta(minutes=40)
    with s3vault.open(s3vault.Config().env().set("api_url", store.url)) as later:
        assert later.sweep(container=container).freed == 1
    assert plain(container) == newest(vault, container) == b"first"


def test_what_another_program_wrote_is_adopted_where_it_is(vault: s3vault.Vault, container: str) -> None:
    s3, old = boto3_client.client(), put(vault, container, b"ours")
    s3.put_object(Bucket=bucket_of(container), Key=f"{container}/{PATH}", Body=b"another program's")
    assert plain(container) != newest(vault, container) == b"ours"
    assert vault.adopt(container=container).adopted == 1
    assert plain(container) == newest(vault, container) == b"another program's"
    put(vault, container, b"ours again")
    assert plain(container) == newest(vault, container) == b"ours again"
    assert vault.find(container, PATH, version=old.info.vid).open().read() == b"ours"
