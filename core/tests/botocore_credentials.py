"""botocore parses the shared files and finds the same credentials as core, in the cases of core/src/credentials/testdata.

    pytest core/tests/botocore_credentials.py

Core's own tests use the same cases. If core refuses what botocore would do with another service (roles, single sign-on),
or finds no credentials, botocore must not find any in the files either.
"""

import json
import os
import pathlib
import sys

import botocore.session
import pytest
from botocore.configloader import raw_config_parse
from botocore.exceptions import BotoCoreError, ConfigParseError

DATA = pathlib.Path(__file__).parents[1] / "src/credentials/testdata"
INI = json.loads((DATA / "ini.json").read_text("utf-8"))
CHAIN = json.loads((DATA / "chain.json").read_text("utf-8"))
assert INI and CHAIN, "pytest would skip a test without cases"

PRINTED = ["PROC", "secret-proc", None]


@pytest.mark.parametrize("case", INI, ids=lambda case: case["about"])
def test_a_file_is_read_alike(case, tmp_path):
    file = tmp_path / "file"
    file.write_bytes(case["text"].encode())
    if "fault_line" in case:
        with pytest.raises(ConfigParseError):
            raw_config_parse(str(file))
        return
    read = {
        section: {name: value for name, value in values.items() if not isinstance(value, dict)}
        for section, values in raw_config_parse(str(file)).items()
    }
    assert read == case["sections"]


@pytest.mark.parametrize("case", CHAIN, ids=lambda case: case["about"])
def test_the_same_keys_are_found(case, tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    script = tmp_path / "process.py"
    document = {"Version": 1, "AccessKeyId": PRINTED[0], "SecretAccessKey": PRINTED[1]}
    script.write_text(f"print({json.dumps(json.dumps(document))})")
    for variable, part in [("AWS_CONFIG_FILE", "config"), ("AWS_SHARED_CREDENTIALS_FILE", "credentials")]:
        file = tmp_path / part
        monkeypatch.setenv(variable, str(file))
        if part in case:
            text = case[part].replace("%PROCESS%", f"'{sys.executable}' '{script}'")
            file.write_text(text, "utf-8")
    for name, value in case["env"].items():
        monkeypatch.setenv(name, value)

    session = botocore.session.Session(profile=case["profile"] or None)
    expected = PRINTED if case.get("process") else case.get("keys")
    if expected is None:
        try:
            found = session.get_credentials()
            assert found is None or found.method not in ("env", "shared-credentials-file", "config-file")
        except BotoCoreError:
            pass
        return
    found = session.get_credentials().get_frozen_credentials()
    assert [found.access_key, found.secret_key, found.token] == expected
