# SPDX-License-Identifier: Apache-2.0
"""The project as an archive to unpack at the guest's root: installed, with its tests.

What goes in is what the wheel holds, by the same lines of pyproject.toml (a test compares the
two), where `pip install` would put it; the units go where an administrator's go.
"""

from __future__ import annotations

import fnmatch
import hashlib
import io
import os
import subprocess
import sys
import tarfile
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[3]
SITE = "usr/local/lib/python3.13/dist-packages"  # Debian 13's Python
WORK = "srv/agentcg"  # the tests' home, and the working directory of commands
UNIT_SUFFIXES = (".service", ".socket", ".slice", ".target", ".timer")
TREES = ("systemd", "tests")  # what WORK has of the checkout

_SCRIPT = """#!/usr/bin/python3
import sys
from {module} import {function}
sys.exit({function}())
"""


@dataclass(frozen=True)
class Item:
    """A file of the archive; the path is relative to the guest's root."""

    path: str
    data: bytes
    executable: bool = False


@dataclass(frozen=True)
class Project:
    """The archive and a key of its content."""

    archive: bytes
    key: str


def walk(directory: Path) -> Iterator[Path]:
    """Files below a directory, links followed, in order; no caches of Python's."""
    for name, directories, files in os.walk(directory, followlinks=True):
        directories[:] = sorted(one for one in directories if one != "__pycache__")
        yield from (Path(name) / file for file in sorted(files) if not file.endswith(".pyc"))


def package_files(checkout: Path, settings: dict[str, Any]) -> list[Path]:
    """What setuptools puts into the wheel of the checkout, below src/."""
    tool = settings["tool"]["setuptools"]
    patterns = ["*.py", *tool.get("package-data", {}).get("*", [])]
    return [
        path
        for path in walk(checkout / "src/agentcg")
        if any(fnmatch.fnmatch(path.name, pattern) for pattern in patterns)
    ]


def build_objects() -> None:
    """Make the checkout's BPF objects of the sources as they are now."""
    subprocess.run([sys.executable, CHECKOUT / "bpf/objects.py"], check=True)


def items(checkout: Path = CHECKOUT) -> list[Item]:
    """Every file that the guest gets."""
    settings = tomllib.loads((checkout / "pyproject.toml").read_text())
    found = [
        Item(f"{SITE}/{path.relative_to(checkout / 'src')}", path.read_bytes())
        for path in package_files(checkout, settings)
    ]
    for name, target in settings["project"].get("scripts", {}).items():
        module, function = target.split(":")
        script = _SCRIPT.format(module=module, function=function)
        found.append(Item(f"usr/local/bin/{name}", script.encode(), executable=True))
    found += _data_files(checkout, settings)
    found += _units(checkout / "systemd")
    found.append(_item(f"{WORK}/pyproject.toml", checkout / "pyproject.toml"))
    for tree in TREES:
        found += [
            _item(f"{WORK}/{path.relative_to(checkout)}", path) for path in walk(checkout / tree)
        ]
    return found


def _data_files(checkout: Path, settings: dict[str, Any]) -> Iterator[Item]:
    """The wheel's share/ files, below the prefix /usr/local."""
    listed: dict[str, list[str]] = settings["tool"]["setuptools"].get("data-files", {})
    for target, patterns in listed.items():
        for path in sorted(path for pattern in patterns for path in checkout.glob(pattern)):
            yield _item(f"usr/local/{target}/{path.name}", path)


def _units(directory: Path) -> Iterator[Item]:
    """What systemd/install puts into place, without starting anything: that is for the tests."""
    for path in sorted(directory.glob("*")):
        if path.suffix in UNIT_SUFFIXES:
            yield _item(f"usr/local/lib/systemd/system/{path.name}", path)
    for sort in ("sysusers.d", "tmpfiles.d"):
        for path in sorted((directory / sort).glob("*.conf")):
            yield _item(f"usr/local/lib/{sort}/{path.name}", path)


def _item(target: str, path: Path) -> Item:
    return Item(target, path.read_bytes(), executable=os.access(path, os.X_OK))


def pack(found: list[Item]) -> Project:
    """The archive of these files; equal files give equal bytes."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for item in found:
            info = tarfile.TarInfo(item.path)
            info.size = len(item.data)
            info.mode = 0o755 if item.executable else 0o644
            archive.addfile(info, io.BytesIO(item.data))
    data = buffer.getvalue()
    return Project(data, hashlib.sha256(data).hexdigest()[:16])
