"""`s3vault settings`."""

from __future__ import annotations

import argparse
import json
import textwrap
from typing import Any

from ..._config import Config
from ..._ffi import lib
from ..configuration import warn_of_environment
from ..output import Output

SUMMARY = "list all settings and options: type, default, scope and meaning"
EXAMPLES = """\
  s3vault settings
  s3vault settings connect_timeout_ms
  s3vault --json settings
"""
_WIDTH = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument("key", metavar="KEY", nargs="?", help="show only this setting")


def run(args: argparse.Namespace, output: Output) -> None:
    """Prints the table of the library that is loaded."""
    warn_of_environment(output)
    if args.key is not None:
        # An unknown key is an error that names the nearest one.
        Config().get(args.key)
    for setting in json.loads(lib.s3v_settings_json()):
        if args.key not in (None, setting["key"]):
            continue
        if output.json:
            output.object(setting)
        else:
            _print(setting)


def _print(setting: dict[str, Any]) -> None:
    value = f" = {setting['default']}" if setting["default"] else ""
    print(f"{setting['key']}{value}  ({_type(setting)}; {setting['scope']})")
    print(textwrap.fill(setting["doc"], _WIDTH, initial_indent="    ", subsequent_indent="    "))


def _type(setting: dict[str, Any]) -> str:
    if setting["words"]:
        return "|".join(setting["words"])
    if setting["kind"] == "number":
        return f"number from {setting['least']} to {setting['most']}"
    if setting["kind"] == "size":
        return f"bytes from {setting['least']} to {setting['most']}, or with a unit: 64M"
    return {"bool": "true|false"}.get(setting["kind"], str(setting["kind"]))
