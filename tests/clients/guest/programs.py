# SPDX-License-Identifier: Apache-2.0
"""The clients' programs for the guest, which has no network, no Node and no compiler.

    python -m clients.guest.programs DIR

Fills DIR with what is to be pushed: the binaries that the packages' launchers start, the packages
of mini-swe-agent for the guest's Python, and our own compiled programs.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from agentcg import native
from clients.catalogue import CLIENTS
from clients.install import installed

PROGRAMS = Path("/opt/clients")
"""Where they are in the guest."""
BINARIES = {
    "claude-code": Path("node_modules/@anthropic-ai/claude-code-linux-x64/claude"),
    "codex": Path(
        "node_modules/@openai/codex-linux-x64/vendor/x86_64-unknown-linux-musl/bin/codex"
    ),
}
"""Of each client: what its package has for this machine."""
MINI = "mini"
_NEEDS = ("pydantic", "jinja2", "python-dotenv", "platformdirs")  # of what the driver imports
_PYTHON = ("--python-version", "3.13", "--only-binary=:all:",
           "--platform", "manylinux_2_28_x86_64", "--platform", "manylinux2014_x86_64")  # fmt: skip


def collect(directory: Path) -> None:
    """Put all of it into `directory`."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    for name, binary in BINARIES.items():
        _same(installed(CLIENTS[name]) / binary, directory / binary.name)
    for program in native.PROGRAMS:
        native.build(directory, program)
    _pip(directory / MINI, *_PYTHON, *_NEEDS)
    _pip(directory / MINI, "--no-deps", CLIENTS["mini-swe-agent"].packages[0])


def _pip(directory: Path, *words: str) -> None:
    install = [sys.executable, "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    subprocess.run([*install, "--target", str(directory), *words], check=True)


def _same(source: Path, target: Path) -> None:
    """A second name of a large file; a copy where that is on another file system."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


if __name__ == "__main__":
    collect(Path(sys.argv[1]))
