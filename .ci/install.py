"""Run `pip install`, and print a line for each step that takes long.

With `-q` pip prints nothing for minutes, and without it some hundred lines. Knows what pip prints;
knows nothing of what is installed. Needs the standard library alone, as it comes before all else.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import PurePosixPath
from urllib.parse import unquote

LOCAL = re.compile(r"\s*Obtaining file://(\S+)")
LARGE = re.compile(r"\s*Downloading ([^\s-]+)-([^\s-]+)\S* \(([\d.]+ [MG]B)\)")
COMPILED = re.compile(r"\s*Building wheel for (\S+) .*started")
LAST = re.compile(r"Installing collected packages: (.*)")


def install(arguments: Sequence[str]) -> int:
    """Run pip in this environment and return its exit status; its errors go where ours do."""
    command = [sys.executable, "-m", "pip", "install", *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, encoding="utf-8", errors="replace"
    ) as pip:
        assert pip.stdout is not None
        for line in pip.stdout:
            step = step_of(line)
            if step is not None:
                print(f"  {step}", flush=True)
    return pip.returncode


def step_of(line: str) -> str | None:
    """Return what to print for a line of pip's; None where it is about something that is quick."""
    if match := LOCAL.match(line):
        return f"preparing {PurePosixPath(unquote(match[1])).name}"
    if match := LARGE.match(line):
        return f"downloading {match[1]} {match[2]}, {match[3]}"
    if match := COMPILED.match(line):
        return f"compiling {match[1]}"
    if match := LAST.match(line):
        return f"installing {len(match[1].split(','))} packages"
    return None


if __name__ == "__main__":
    try:
        sys.exit(install(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
