"""Python's `cryptography` judges core's keys, by docs/format.md: wrapped data keys, segments, signatures.

Each way: what core makes is what `cryptography` makes, core opens what `cryptography` made, and both refuse what was altered.
"""

import hashlib
import hmac

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from generate import b64

SEGMENT = 1 << 20


class Keys:
    """Random keys and what core does with them. `differ` is called with what differs, ours, theirs, and the job."""

    def __init__(self, core, generator, differ):
        self.core, self.generator, self.random, self.differ, self.compared = core, generator, generator.random, differ, 0

    def compare(self, what, job, theirs):
        """Core's answer to a job. What `cryptography` refuses (None) must be an error of core's."""
        answer = self.core.ask(job)
        ours = None if "error" in answer else answer
        if ours != theirs:
            self.differ(what, answer, theirs, job)
        self.compared += 1

    def text(self):
        return self.generator.data(40).decode(errors="ignore")

    def altered(self, data):
        """The bytes with a bit flipped, a byte more or one less."""
        how, at = self.random.randrange(4), self.random.randrange(len(data))
        if how == 0:
            return data[:at] + data[at + 1:]
        if how == 1:
            return data + self.random.randbytes(1)
        return data[:at] + bytes([data[at] ^ 1 << self.random.randrange(8)]) + data[at + 1:]

    def wrapped(self):
        key, kek = self.random.randbytes(32), self.random.randbytes(32)
        of = {name: self.text() for name in ("vault", "container", "path", "vid")}
        of["encryption"] = self.random.choice(["sse-c", "envelope"])
        kek_id = hashlib.sha256(b"s3vault/1 kek\0" + kek).hexdigest()[:16]

        def associated(of):
            fields = [of["vault"], of["container"], of["path"], of["vid"], kek_id, of["encryption"]]
            return b"".join(len(field.encode()).to_bytes(4, "big") + field.encode() for field in fields)

        nonce = hmac.digest(key, b"s3vault/1 wrap\0" + associated(of), "sha256")[:12]
        wrapped = nonce + AESGCM(kek).encrypt(nonce, key, associated(of))
        theirs = {"kek": kek_id, "key": b64(wrapped)}
        self.compare("a wrapped key", {"op": "wrap", "key": b64(key), "kek": b64(kek), "of": of}, theirs)
        # Who unwraps a key does not know its nonce's rule.
        other = self.random.randbytes(12)
        wrapped = other + AESGCM(kek).encrypt(other, key, associated(of))
        job = {"op": "unwrap", "wrapped": b64(wrapped), "kek": b64(kek), "of": of}
        self.compare("an unwrapped key", job, {"key": b64(key)})
        self.compare("an altered wrapped key", {**job, "wrapped": b64(self.altered(wrapped))}, None)
        name = self.random.choice(list(of))
        self.compare("the key of another version", {**job, "of": {**of, name: of[name] + "x"}}, None)

    def segment(self):
        key, salt = self.random.randbytes(32), self.random.randbytes(16)
        index = self.random.choice([0, 1, 2**32 - 1, self.random.randrange(2**32)])
        segment = {"key": b64(key), "salt": b64(salt), "index": index, "last": self.generator.maybe(50)}
        data = self.generator.payload_bytes(SEGMENT if self.generator.maybe(2) else 5000)
        nonce = bytes(7) + index.to_bytes(4, "big") + bytes([segment["last"]])
        stored = AESGCM(HKDF(SHA256(), 32, salt, b"s3vault/1 segment").derive(key)).encrypt(nonce, data, None)
        self.compare("a segment", {"op": "seal", "segment": segment, "data": b64(data)}, {"data": b64(stored)})
        job = {"op": "open", "segment": segment, "data": b64(stored)}
        self.compare("a decrypted segment", job, {"data": b64(data)})
        self.compare("an altered segment", {**job, "data": b64(self.altered(stored))}, None)
        moved = self.random.choice([{"index": (index + 1) % 2**32}, {"last": not segment["last"]}, {"salt": b64(bytes(16))}])
        self.compare("a segment of another place", {**job, "segment": {**segment, **moved}}, None)

    def signature(self):
        seed, message = self.random.randbytes(32), self.generator.payload_bytes(5000)
        key = Ed25519PrivateKey.from_private_bytes(seed)
        public, signature = key.public_key().public_bytes_raw(), key.sign(message)
        theirs = {"public": b64(public), "signature": b64(signature)}
        self.compare("a signature", {"op": "certify", "seed": b64(seed), "message": b64(message)}, theirs)
        altered = self.altered(signature)
        for given, text in ((signature, message), (altered, message), (signature, message + b"x")):
            try:
                Ed25519PublicKey.from_public_bytes(public).verify(given, text)
                valid = True
            except InvalidSignature:
                valid = False
            job = {"op": "verify", "public": b64(public), "message": b64(text), "signature": b64(given)}
            self.compare("a verified signature", job, {"valid": valid})
