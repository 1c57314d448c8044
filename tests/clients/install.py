# SPDX-License-Identifier: Apache-2.0
"""Clients from npm and PyPI, each set of packages in a folder of its own, kept in the cache.

    python -m clients.install [--latest] [NAME...]

The cache is ~/.cache/agentcg-clients (XDG_CACHE_HOME moves it). `--latest` takes the newest of
everything, in folders that are made anew.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from clients.catalogue import CLIENTS, Client

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "agentcg-clients"


def installed(client: Client, *, latest: bool = False) -> Path:
    """Folder of the client's packages; installs them where they are missing."""
    packages = [_newest(package) for package in client.packages] if latest else client.packages
    key = hashlib.sha256(repr((client.npm, client.python, packages)).encode()).hexdigest()[:12]
    folder = CACHE / f"{client.packages[0].strip('@').split('@')[0].split('=')[0]}-{key}".replace(
        "/", "-"
    )
    if (folder / "complete").exists() and not latest:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        (_npm if client.npm else _pip)(folder, packages, client.python)
        (folder / "complete").touch()
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder


def _newest(package: str) -> str:
    name = package[:1] + package[1:].split("@", maxsplit=1)[0]
    return f"{name}@latest" if "@" in package else name.split("==")[0]


def _npm(folder: Path, packages: tuple[str, ...] | list[str], _python: str) -> None:
    if shutil.which("npm") is None:
        subprocess.run(["apt-get", "-q", "update"], check=True)
        subprocess.run(
            ["apt-get", "-q", "install", "-y", "--no-install-recommends", "npm"], check=True
        )
    folder.mkdir()
    (folder / "package.json").write_text("{}")
    # claude-code asks for a newer Node than it needs: what it runs is a binary.
    subprocess.run(
        ["npm", "install", "--no-audit", "--no-fund", "--loglevel=error",
         "--engine-strict=false", *packages],
        cwd=folder, check=True,
    )  # fmt: skip


def _pip(folder: Path, packages: tuple[str, ...] | list[str], version: str) -> None:
    # venvs have absolute paths in them: made in place, complete when the marker is there
    subprocess.run([_interpreter(version), "-m", "venv", folder], check=True)
    subprocess.run(
        [folder / "bin/pip", "-q", "install", "--disable-pip-version-check", *packages], check=True
    )


def _interpreter(least: str) -> str:
    """A Python of at least this version: the system's, or another that is on this machine."""
    wanted = tuple(map(int, least.split(".")))
    versions = sorted(Path.home().glob(".pyenv/versions/3.*/bin/python3"))
    candidates = ["/usr/bin/python3", sys.executable, *map(str, versions)]
    candidates += [f"/usr/bin/python3.{minor}" for minor in range(wanted[1], 20)]
    for candidate in candidates:
        if Path(candidate).exists():
            said = subprocess.run(
                [candidate, "-c", "import sys; print(*sys.version_info[:2])"],
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            if said.returncode == 0 and tuple(map(int, said.stdout.split())) >= wanted:
                return candidate
    raise RuntimeError(f"no Python {least} or newer on this machine: install one (python{least})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--latest", action="store_true")
    parser.add_argument("names", nargs="*", metavar="NAME")
    given = parser.parse_args()
    for name in given.names or CLIENTS:
        print(name, installed(CLIENTS[name], latest=given.latest))


if __name__ == "__main__":
    main()
