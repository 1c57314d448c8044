# SPDX-License-Identifier: Apache-2.0
"""The initrds: what mounts the root, and the guest's agent of this checkout.

The agent travels here and not in the root, so that changing it costs no new root.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from guestvm import cache, host
from guestvm.errors import GuestError
from guestvm.rootfs import IMAGE_FILES

_HERE = Path(__file__).resolve().parent
MODULES = tuple(_HERE / f"{name}.py" for name in ("__init__", "agent", "command", "frames", "loop"))
UNIT = IMAGE_FILES / "agentcg-guest.service"
INIT = IMAGE_FILES / "init"


def initrd(busybox: Path, modules: Path) -> Path:
    """The initrd for a kernel that needs these modules: none, where there is no such directory."""
    contents = sorted(modules.rglob("*.ko"))
    key = cache.content_key([Path(__file__), INIT, *MODULES, UNIT, busybox, *contents])
    entry = cache.entry("initrd", key, "the initrd", lambda to: _build(to, busybox, modules))
    return entry / "initrd"


def _build(directory: Path, busybox: Path, modules: Path) -> None:
    with tempfile.TemporaryDirectory() as name:
        tree = Path(name)
        for empty in ("agent", "bin", "dev", "proc", "root"):
            (tree / empty).mkdir()
        shutil.copy(INIT, tree / "init")
        shutil.copy(busybox, tree / "bin/busybox")
        for path in (*MODULES, UNIT):
            shutil.copy(path, tree / "agent")
        if modules.is_dir():
            shutil.copytree(modules, tree / "modules")
        _archive(tree, directory / "initrd")


def _archive(tree: Path, to: Path) -> None:
    """`tree` as a cpio archive whose bytes depend on its contents alone."""
    paths = sorted(tree.rglob("*"))
    for path in paths:
        os.utime(path, (0, 0))
    names = "\n".join(str(path.relative_to(tree)) for path in paths)
    command = [host.program("cpio"), "-o", "-H", "newc", "--quiet", "--reproducible", "-R", "0:0"]
    with to.open("wb") as file:
        result = subprocess.run(
            command,
            check=False,
            cwd=tree,
            input=names.encode(),
            stdout=file,
            stderr=subprocess.PIPE,
        )
    if result.returncode:
        raise GuestError(f"cpio failed: {result.stderr.decode(errors='replace')}")
