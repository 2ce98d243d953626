"""What the program `measure` says of the program that it ran (tests/bench/sink/src/bin/measure.rs)."""

import json


class Failed(Exception):
    """A run that does not count, and why."""


def figures(stderr, what="it"):
    """Reads the last line of its standard error: seconds (wall, user, system and cpu, which is both), peak_kib and peak_mib.
    The lines before are those of the program."""
    *said, last = stderr.strip().split("\n")
    found = json.loads(last)
    if found["status"] != 0:
        raise Failed("\n".join(said)[-2000:] or f"{what} ended with {found['status']}")
    return {**found, "cpu": found["user"] + found["system"], "peak_mib": found["peak_kib"] / 1024}
