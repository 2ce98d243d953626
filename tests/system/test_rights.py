"""The permissions that each subcommand needs, as the README lists them: with exactly those it works, and without one of them it
is refused with a message that names the one that is missing.

The keys are temporary ones of MinIO (AssumeRole) whose session policy allows only these actions.
"""

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from callers import ROOT, command

CONTAINER = "rights"
BUCKET = os.environ["S3VAULT_BUCKET"]
OPTIONAL = "s3:GetBucketVersioning"
# AWS requires this for a GET that names a version. MinIO requires s3:GetObject, which this one includes there.
OF_VERSIONS = "s3:GetObjectVersion"
MIB = 1 << 20


def rows(text: str) -> dict[str, set[str]]:
    """The actions of each row of the README's table."""
    section = text.partition("## What the bucket needs")[2].partition("\n## ")[0]
    table = {cells[0].strip(): set(re.findall(r"s3:\w+", row)) for row in section.splitlines()
             if row.startswith("| ") and (cells := row.strip("| ").split("|"))}
    assert table, "the README has no table of permissions"
    return table


ROWS = rows((ROOT / "README.md").read_text())
LIST, UPLOADS = "`ls`, `versions`", "`uploads`"
MANIFEST, GET, PUT = "`manifest`, `chain`", "`get`, `restore`", "`put`"
ABORT, RESUME, UNKNOWN = "`put` that is interrupted", "`put` that resumes", "`put` whose outcome is unknown"
LOCAL = "`keys`, `settings`, `sign`, `presign`, `explain`"


@dataclass
class Rights:
    """Keys that allow only these actions, as an environment."""

    actions: set[str]

    def environment(self) -> dict[str, str]:
        env = os.environ
        sts = boto3.client(
            "sts",
            endpoint_url=env["S3VAULT_API_URL"],
            aws_access_key_id=env["S3VAULT_ACCESS_KEY"],
            aws_secret_access_key=env["S3VAULT_SECRET_KEY"],
            region_name="us-east-1",
            verify=env.get("S3VAULT_CA_FILE"),
            config=Config(proxies={}),
        )
        resources = [f"arn:aws:s3:::{BUCKET}", f"arn:aws:s3:::{BUCKET}/*"]
        # A policy must allow something; this is no action of the table.
        allowed = sorted(self.actions) or ["s3:GetBucketLocation"]
        policy = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": allowed, "Resource": resources}]}
        reply = sts.assume_role(RoleArn="arn:aws:iam::000000000000:role/rights", RoleSessionName="rights", Policy=json.dumps(policy))
        keys = reply["Credentials"]
        return {
            **env,
            "S3VAULT_ACCESS_KEY": keys["AccessKeyId"],
            "S3VAULT_SECRET_KEY": keys["SecretAccessKey"],
            "S3VAULT_SESSION_TOKEN": keys["SessionToken"],
        }

    def run(self, *arguments: str, **options) -> subprocess.CompletedProcess:
        return command().run("--json", *arguments, capture_output=True, env=self.environment(), **options)


@pytest.fixture(scope="module", autouse=True)
def stored(folder: Path) -> None:
    (folder / "small").write_bytes(b"x")
    (folder / "large").write_bytes(os.urandom(20 * MIB))
    command().run("put", CONTAINER, "p", str(folder / "small"), capture_output=True, check=True)


def works(row: str) -> list[list[str]]:
    """The command lines that a row is about."""
    return {
        LIST: [["ls"], ["ls", CONTAINER], ["versions", CONTAINER, "p"]],
        UPLOADS: [["uploads"]],
        MANIFEST: [["manifest", CONTAINER, "p"], ["chain", CONTAINER, "p"]],
        GET: [["get", CONTAINER, "p"], ["get", CONTAINER, "p", "FOLDER/restored"], ["restore", CONTAINER, "FOLDER/all"]],
        PUT: [["put", CONTAINER, "q", "FOLDER/small"], ["put", CONTAINER, "q", "FOLDER/large"]],
    }[row]


def test_the_header_lists_the_same() -> None:
    section = (ROOT / "include/s3vault.h").read_text().partition("The access key needs these permissions")[2]
    lines = [line for line in section.partition("*/")[0].splitlines() if line.startswith(" *   ")]
    base: set[str] = set()
    found = []
    for line in lines:
        actions = set(re.findall(r"s3:\w+", line))
        base = base if "these, and" in line else actions
        found.append(base | actions)
    assert found == [ROWS[row] for row in (LIST, UPLOADS, MANIFEST, GET, PUT, ABORT, RESUME, UNKNOWN)]


def test_the_table_lists_every_kind_of_call() -> None:
    assert set(ROWS) >= {LIST, UPLOADS, MANIFEST, GET, PUT, ABORT, RESUME, UNKNOWN, LOCAL}
    needs = {kind for kind, actions in ROWS.items() if OPTIONAL in actions}
    assert needs <= {"`init`", "`prune`, `sweep`, `rotate`, `rekey`"}, "a put or a read does not need it"
    assert ROWS[LOCAL] == set()


@pytest.mark.parametrize("row", [LIST, UPLOADS, MANIFEST, GET, PUT])
def test_a_subcommand_needs_what_is_listed_and_nothing_else(row: str, folder: Path) -> None:
    assert ROWS[row]
    for line in works(row):
        arguments = [word.replace("FOLDER", str(folder)) for word in line]
        done = Rights(ROWS[row]).run(*arguments)
        assert done.returncode == 0, (arguments, done.stderr)
        assert b"warning" not in done.stderr.replace(b"not verified", b""), done.stderr
    for missing in sorted(ROWS[row] - {OF_VERSIONS}):
        rights = Rights(ROWS[row] - {missing, OF_VERSIONS})
        refused = [rights.run(*(word.replace("FOLDER", str(folder)) for word in line)) for line in works(row)]
        # What only some of the forms of a subcommand need is listed too.
        failed = [done for done in refused if done.returncode != 0]
        assert failed, f"{row} works without {missing}"
        for done in failed:
            assert done.returncode == 4, done.stderr
            error = json.loads(done.stderr.splitlines()[-1])["error"]
            assert (error["name"], missing in error["hint"]) == ("S3V_E_ACCESS_DENIED", True), error


def test_local_subcommands_need_nothing(folder: Path) -> None:
    for arguments in (["keys", "new", str(folder / "keys")], ["settings"], ["sign", "GET", f"s3://{BUCKET}/k"],
                      ["presign", "GET", f"s3://{BUCKET}/k"]):
        assert Rights(set()).run(*arguments).returncode == 0


def test_versioning_that_may_be_read_is_not_needed(folder: Path) -> None:
    done = Rights(ROWS[PUT] | {OPTIONAL}).run("put", CONTAINER, "q", str(folder / "small"))
    assert done.returncode == 0, done.stderr


@pytest.fixture
def interrupted(folder: Path) -> Iterator:
    """Interrupts a put of a stream after its first parts."""
    processes = []

    def interrupt(actions: set[str], *options: str) -> str:
        process = command().start(
            "put", CONTAINER, "stream", *options,
            env=Rights(actions).environment(), stdin=subprocess.PIPE, stderr=subprocess.PIPE,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )  # fmt: skip
        processes.append(process)
        assert process.stdin is not None
        assert process.stderr is not None
        process.stdin.write((folder / "large").read_bytes())
        process.stdin.flush()
        process.send_signal(signal.SIGINT)
        printed = process.stderr.read().decode()
        process.wait()
        process.stdin.close()
        process.stderr.close()
        return printed

    yield interrupt
    for process in processes:
        process.kill()


def test_an_interrupted_put_removes_its_parts_or_names_the_right_that_is_missing(interrupted) -> None:
    assert ROWS[ABORT] - ROWS[PUT] == {"s3:AbortMultipartUpload"}
    assert interrupted(ROWS[ABORT]).splitlines()[-1].startswith("s3vault: interrupted")
    printed = interrupted(ROWS[ABORT] - {"s3:AbortMultipartUpload"})
    assert f"of s3://{BUCKET}/{CONTAINER}/stream stays on the store" in printed, printed
    assert f"permission s3:AbortMultipartUpload on arn:aws:s3:::{BUCKET}/*" in printed, printed


def test_a_put_that_resumes_lists_its_parts(interrupted, folder: Path, tmp_path: Path) -> None:
    assert ROWS[RESUME] - ROWS[PUT] == {"s3:ListMultipartUploadParts"}
    checkpoint = ["--checkpoint", str(tmp_path / "checkpoint")]
    assert "suspended" in interrupted(ROWS[RESUME], *checkpoint)
    put = ["put", CONTAINER, "stream", *checkpoint]
    data = (folder / "large").read_bytes()
    refused = Rights(ROWS[RESUME] - {"s3:ListMultipartUploadParts"}).run(*put, input=data)
    assert refused.returncode == 4
    assert "s3:ListMultipartUploadParts" in json.loads(refused.stderr.splitlines()[0])["error"]["hint"]
    assert Rights(ROWS[RESUME]).run(*put, input=data).returncode == 0
