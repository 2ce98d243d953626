"""A program that uses the Python API, with the command line that `callers.py` describes."""

import os
import shutil
import sys

import s3vault

CHUNK = 1 << 20


def main(action: str, container: str, path: str, file: str = "-", vid: str | None = None) -> None:
    with s3vault.open(s3vault.Config().env()) as vault:
        if action == "put" and file == "-":
            with vault.create(container, path) as upload:
                shutil.copyfileobj(sys.stdin.buffer, upload, CHUNK)
            assert upload.version is not None
            print(upload.version.info.vid)
        elif action == "put":
            print(vault.put_file(container, path, file).info.vid)
        elif action == "get" and file == "-":
            with vault.find(container, path, version=vid).open() as source:
                shutil.copyfileobj(source, sys.stdout.buffer, CHUNK)
        elif action == "get":
            vault.find(container, path, version=vid).restore(file)
        elif action == "versions":
            for version in vault.versions(container, path):
                print(version.vid, version.size)
        else:
            sys.exit(f"usage: {os.path.basename(sys.argv[0])} put|get|versions CONTAINER PATH [FILE|-] [VID]")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except s3vault.S3VaultError as error:
        sys.exit(f"{error.name}: {error}")
