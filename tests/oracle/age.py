#!/usr/bin/env python3
"""C2SP's test vectors for age files (CCTV): core opens those that open, and says of each other what is wrong with it.

    age.py [PROGRAM]

PROGRAM is a build of the package beside; without it the release build is taken. The vectors come from the Go module that
carries them. Those with post-quantum keys, which core does not support, must find no recipient, or be refused.
"""

import base64
import hashlib
import json
import pathlib
import subprocess
import sys
import zlib

from generate import b64
from oracle import PROGRAM, Core

MODULE = "c2sp.org/CCTV/age@v0.0.0-20251208015420-e9274a7bdbfd"

# What core says where a vector expects this.
SAYS = {
    "no match": {"NoMatch"},
    "HMAC failure": {"Mac"},
    # A passphrase with too much work, and another version, are told apart.
    "header failure": {"Header", "Work(23)", "Version"},
    "armor failure": {"Armor"},
    "payload failure": {"Payload"},
}


def parse(vector):
    """The fields of a vector, each with its values, and its file."""
    head, _, file = vector.partition(b"\n\n")
    fields = {}
    for line in head.decode().splitlines():
        name, _, value = line.partition(": ")
        fields.setdefault(name, []).append(value)
    return fields, zlib.decompress(file) if "compressed" in fields else file


def answers(core, fields, file):
    """What core answers, with each passphrase, or with all identities that it supports."""
    supported = [key for key in fields.get("identity", []) if key.startswith("AGE-SECRET-KEY-1")]
    passphrases = fields.get("passphrase", [None])
    for passphrase in passphrases:
        if passphrase is None and not supported:
            return
        yield core.ask({"op": "decrypt", "file": b64(file), "passphrase": passphrase, "identities": "\n".join(supported)})


def judge(fields, file, answer):
    """Why an answer is wrong; None if it is right."""
    expected = fields["expect"][0]
    if expected == "armor failure" and not file.lstrip().startswith(b"-----"):
        # What does not start with an armor is a binary file.
        expected = "header failure"
    if "content" in answer:
        found = hashlib.sha256(base64.b64decode(answer["content"])).hexdigest()
        return None if expected == "success" and [found] == fields["payload"] else f"it opened, and {expected} was expected"
    failure = answer.get("failure", answer)
    return None if failure in SAYS.get(expected, set()) else f"core says {failure}, and {expected} was expected"


def main():
    found = subprocess.check_output(["go", "mod", "download", "-json", MODULE], text=True)
    core, judged, wrong, skipped = Core(sys.argv[1] if len(sys.argv) > 1 else PROGRAM), 0, [], []
    for path in sorted(pathlib.Path(json.loads(found)["Dir"], "testdata").iterdir()):
        fields, file = parse(path.read_bytes())
        given = list(answers(core, fields, file))
        if not given:
            skipped.append(path.name)
            continue
        reasons = [judge(fields, file, answer) for answer in given]
        judged += 1
        if None not in reasons:
            wrong.append(f"{path.name}: {reasons[-1]}")
    core.close()
    for line in wrong:
        print(line)
    print(f"not judged, since their keys are of a kind that core does not support: {' '.join(skipped)}")
    print(f"age: {judged - len(wrong)} passed, {len(wrong)} failed")
    return 1 if wrong or judged < 100 else 0


if __name__ == "__main__":
    sys.exit(main())
