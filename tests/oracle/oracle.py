#!/usr/bin/env python3
"""botocore and awscrt judge core: random requests, chunks and checksums must come out identical. So must wrapped keys, segments
and signatures of `cryptography` (keys.py).

    oracle.py [--count N] [--seed N] [PROGRAM]

PROGRAM is a build of the package beside; without it the release build is taken (target/release/oracle). The seed is printed first; with it the same
requests come again. A difference prints the request and all canonical requests, and ends with code 1.
"""

import argparse
import hashlib
import json
import os
import pathlib
import random
import subprocess
import sys

import awscrt.checksums

import peers
from crt_chunks import ChunkSigner
from generate import STREAMED, Generator, b64
from keys import Keys

CRCS = {
    "CRC32": (4, awscrt.checksums.crc32, awscrt.checksums.combine_crc32),
    "CRC32C": (4, awscrt.checksums.crc32c, awscrt.checksums.combine_crc32c),
    "CRC64NVME": (8, awscrt.checksums.crc64nvme, awscrt.checksums.combine_crc64nvme),
}
ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release" / "oracle"
HASHES = {"SHA1": hashlib.sha1, "SHA256": hashlib.sha256, "MD5": hashlib.md5}


class Core:
    """The program that asks core."""

    def __init__(self, program):
        self._process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, job):
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"oracle: the program ended, at {job}")
        return json.loads(line)

    def close(self):
        self._process.stdin.close()
        return self._process.wait()


class Different(Exception):
    def __init__(self, what, ours, theirs, request, **canonical):
        lines = [f"oracle: {what} differs", f"  s3vault: {ours}", f"  {theirs[0]}: {theirs[1]}", f"  request: {request}"]
        for name, text in canonical.items():
            lines += [f"--- canonical request of {name}", text]
        super().__init__("\n".join(lines))


class Judge:
    def __init__(self, core):
        self.core, self.requests, self.chunks, self.checksums = core, 0, 0, 0
        # How often botocore was no judge (see peers.py): it must stay a part.
        self.presigned, self.presigned_by_one = 0, 0

    def differ(self, what, ours, theirs, request, answer, presign=False):
        if ours == theirs[1]:
            return
        canonical = {"s3vault": answer.get("canonical", str(answer)), "awscrt": peers.awscrt_canonical(request, presign)}
        found = peers.botocore_presign(request) if presign else peers.botocore_sign(request)
        canonical["botocore"] = found[1] if found else "(not asked)"
        raise Different(what, ours, theirs, request, **canonical)

    def header(self, request, op="sign"):
        answer = self.core.ask(request.job(op))
        ours = answer.get("signature", answer)
        self.differ("the signature", ours, ("botocore", peers.botocore_sign(request)[0]), request, answer)
        self.differ("the signature", ours, ("awscrt", peers.awscrt_sign(request)), request, answer)
        sent = dict(answer["headers"])
        expected = {"x-amz-date": request.date.strftime("%Y%m%dT%H%M%SZ")}
        if request.service == "s3":
            expected["x-amz-content-sha256"] = request.content_sha256
        if request.session_token:
            expected["x-amz-security-token"] = request.session_token
        authorization = sent.pop("authorization")
        self.differ("the headers", sent, ("AWS", expected), request, answer)
        self.differ("the end of authorization", authorization[-64:], ("itself", ours), request, answer)
        self.requests += 1
        return answer

    def chunked(self, request):
        answer = self.header(request, "chunks")
        unsigned = request.payload == STREAMED["unsigned-trailer"]
        crt = ChunkSigner(request.access_key, request.secret_key, request.session_token, request.region, request.date,
                          answer["signature"])
        expected = []
        for chunk in request.chunks:
            expected.append(f"{len(chunk):x}" + ("" if unsigned else f";chunk-signature={crt.chunk(chunk)}") + "\r\n")
        self.differ("a chunk's line", answer["lines"], ("awscrt", expected), request, answer)
        if request.trailers:
            trailers = sorted(request.trailers)
            wire = "".join(f"{name}:{value}\r\n" for name, value in trailers)
            if not unsigned:
                wire += f"x-amz-trailer-signature:{crt.trailer(trailers)}\r\n"
            self.differ("the trailer", answer["trailer"], ("awscrt", wire + "\r\n"), request, answer)
        self.chunks += len(request.chunks)

    def presign(self, request):
        answer = self.core.ask(request.job("presign"))
        query = answer.get("query")
        ours = peers.pairs(query) if query else answer
        self.differ("the presigned query", ours, ("awscrt", peers.awscrt_sign(request, True)), request, answer, True)
        botocore = peers.botocore_presign(request)
        if botocore:
            self.differ("the presigned query", ours, ("botocore", botocore[0]), request, answer, True)
        last = query.rsplit("&", 1)[1].split("=")[0]
        self.differ("the last parameter", last, ("AWS's example", "X-Amz-Signature"), request, answer, True)
        self.presigned += 1
        self.presigned_by_one += botocore is None
        self.requests += 1

    def checksum(self, rng, payload):
        """All checksums of a payload taken in pieces, the combined ones of a cut, and a composite."""
        cuts = sorted(rng.randrange(len(payload) + 1) for _ in range(rng.randrange(4)))
        edges = [0, *cuts, len(payload)]
        parts = [payload[a:b] for a, b in zip(edges, edges[1:])]
        answer = self.core.ask({"op": "checksum", "pieces": [b64(part) for part in parts]})
        expected = {name: b64(crc(payload).to_bytes(size, "big")) for name, (size, crc, _) in CRCS.items()}
        expected |= {name: b64(new(payload).digest()) for name, new in HASHES.items()}
        expected["vault"] = expected["CRC64NVME"]
        about = f"{len(payload)} bytes cut at {cuts}"
        if answer != expected:
            raise Different("a checksum", answer, ("awscrt and hashlib", expected), about)
        self.checksums += len(expected)

        for name, (size, crc, combine) in CRCS.items():
            texts = [b64(crc(part).to_bytes(size, "big")) for part in parts]
            whole, judged = texts[0], crc(parts[0])
            for text, part in zip(texts[1:], parts[1:]):
                job = {"op": "combine", "algorithm": name, "first": whole, "second": text, "second_length": len(part)}
                answer = self.core.ask(job)
                judged = combine(judged, crc(part), len(part))
                theirs = b64(judged.to_bytes(size, "big"))
                if answer.get("value") != theirs:
                    raise Different(f"a combined {name}", answer, ("awscrt", theirs), about)
                whole = answer["value"]
                self.checksums += 1
            if whole != expected[name]:
                raise Different(f"a combined {name}", whole, ("awscrt's of the whole", expected[name]), about)
            # Lengths that no payload here has. Not 0: the CRC of nothing is 0, and no random one.
            length = 1 + rng.randrange(2 ** rng.randrange(50))
            first, second = rng.randbytes(size), rng.randbytes(size)
            job = {"op": "combine", "algorithm": name, "first": b64(first), "second": b64(second), "second_length": length}
            answer = self.core.ask(job)
            theirs = combine(int.from_bytes(first, "big"), int.from_bytes(second, "big"), length)
            if answer.get("value") != b64(theirs.to_bytes(size, "big")):
                raise Different(f"a combined {name}", answer, ("awscrt", theirs), job)
            self.checksums += 1

        for name, new in (("SHA1", hashlib.sha1), ("SHA256", hashlib.sha256)):
            digests = [new(part).digest() for part in parts]
            theirs = f"{b64(new(b''.join(digests)).digest())}-{len(parts)}"
            answer = self.core.ask({"op": "composite", "algorithm": name, "parts": [b64(digest) for digest in digests]})
            if answer.get("value") != theirs:
                raise Different(f"a composite {name}", answer, ("hashlib", theirs), about)
            self.checksums += 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", nargs="?", default=PROGRAM)
    parser.add_argument("--count", type=int, default=2000, help="requests (2000)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    arguments = parser.parse_args()
    print(f"oracle: seed {arguments.seed}", flush=True)
    generator, judge = Generator(arguments.seed), Judge(Core(arguments.program))

    def differ(what, ours, theirs, job):
        raise Different(what, ours, ("cryptography", theirs), job)

    # With randomness of its own, so that a seed draws the same requests as before.
    keys = Keys(judge.core, Generator(arguments.seed + 1), differ)
    try:
        for n in range(arguments.count):
            if n % 10 == 0:
                judge.header(generator.general_request())
            elif n % 4 == 1:
                judge.presign(generator.presigned_request())
            elif n % 4 == 2:
                judge.chunked(generator.chunked_request())
            else:
                judge.header(generator.header_request())
            if n % 8 == 0:
                judge.checksum(generator.random, generator.payload_bytes(1 << 20))
            [keys.wrapped, keys.segment, keys.signature][n % 3]()
        if judge.presigned_by_one * 2 > judge.presigned + 2:
            raise Different("the mix", f"{judge.presigned_by_one} of {judge.presigned} presigned without botocore",
                            ("wanted", "at most half"), "all")
    except Different as difference:
        print(f"{difference}\noracle: seed {arguments.seed}: DIFFERENT")
        return 1
    if judge.core.close() != 0:
        raise SystemExit("oracle: the program ended with an error")
    print(f"oracle: {judge.requests} requests, {judge.chunks} chunks, {judge.checksums} checksums, "
          f"{keys.compared} uses of keys: identical")
    return 0


if __name__ == "__main__":
    sys.exit(main())
