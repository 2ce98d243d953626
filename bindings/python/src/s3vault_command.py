"""Entry of the command `s3vault`: a Ctrl-C while the interpreter is still importing ends it without a traceback."""

import os
import signal
import sys
from typing import NoReturn


def _interrupted(number: int, frame: object) -> NoReturn:
    if "--json" not in sys.argv:
        os.write(2, b"s3vault: interrupted\n")
    os._exit(128 + number)


def main() -> int:
    """Imports the command, and runs it."""
    # It may be ignored, as in the background of a shell without job control.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _interrupted)
    from s3vault.command import main as run

    try:
        return run()
    finally:
        # What is left is the end of the interpreter, which a Ctrl-C ends without a traceback too.
        if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
