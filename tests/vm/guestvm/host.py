# SPDX-License-Identifier: Apache-2.0
"""The host's part: the programs that a guest needs, and the host's own Debian mirror."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from guestvm.errors import GuestError
from guestvm.progress import say

# program (as found on PATH, /sbin included) -> Debian package
PROGRAMS = {
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "mmdebstrap": "mmdebstrap",
    "zstd": "zstd",
    "xz": "xz-utils",
    "tar": "tar",
    "mke2fs": "e2fsprogs",
    "cpio": "cpio",
    "setpriv": "util-linux",
}
KEYRINGS = (
    Path("/usr/share/keyrings/debian-archive-keyring.gpg"),
    Path("/usr/share/keyrings/debian-archive-keyring.pgp"),
)
KEYRING_PACKAGE = "debian-archive-keyring"
_PATH = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))
_TARGET_FORMAT = "$(SITE) $(RELEASE) $(ORIGIN) $(LABEL)"


def program(name: str) -> str:
    """Path of one of PROGRAMS; GuestError says which package has it."""
    path = shutil.which(name, path=_PATH)
    if path is None:
        raise GuestError(f"{name} is missing: `tests/vm/guest build` as root installs it")
    return path


def missing_packages() -> list[str]:
    """Debian packages that this host lacks."""
    missing = {package for name, package in PROGRAMS.items() if not shutil.which(name, path=_PATH)}
    if keyring() is None:
        missing.add(KEYRING_PACKAGE)
    return sorted(missing)


def keyring() -> Path | None:
    """Debian's archive keys."""
    return next((path for path in KEYRINGS if path.exists()), None)


def install_packages() -> None:
    """Install what the host lacks by apt-get if we are root, else say what to install."""
    missing = missing_packages()
    if not missing:
        return
    command = f"apt-get install --no-install-recommends {' '.join(missing)}"
    if shutil.which("apt-get") is None:
        raise GuestError(f"this host lacks (names of Debian's packages): {' '.join(missing)}")
    if os.geteuid() != 0:
        raise GuestError(f"this host lacks packages; as root: {command}")
    say(f"installing {' '.join(missing)}")
    install = ["apt-get", "-q", "-y", "install", "--no-install-recommends", *missing]
    if _apt(install) and (_apt(["apt-get", "-q", "update"]) or _apt(install)):
        raise GuestError(f"apt-get could not install them; try: {command}")


def _apt(argv: list[str]) -> int:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    # Its stdout is progress: ours is kept for the command's.
    with os.fdopen(os.dup(2), "w") as stderr:
        return subprocess.call(argv, env=environment, stdin=subprocess.DEVNULL, stdout=stderr)


def choose_mirror(lines: Iterable[str]) -> str | None:
    """The Debian mirror among lines of "site suite origin label"; security archives do not count.

    While the host has not fetched its package lists apt leaves "$(ORIGIN) $(LABEL)" as they are:
    then the customary path of a mirror, /debian, decides.
    """
    fallback: str | None = None
    for line in lines:
        site, suite, *names = line.split()
        if names == ["Debian", "Debian"] and "security" not in suite:
            return site.rstrip("/")
        known = [name for name in names if not name.startswith("$(")]
        if not known and site.rstrip("/").endswith("/debian") and "security" not in suite:
            fallback = fallback or site.rstrip("/")
    return fallback


def mirror() -> str:
    """The mirror that this host's own apt sources name."""
    # Without --no-release-info apt names only sources whose lists it has fetched.
    site = choose_mirror(_targets()) or choose_mirror(_targets("--no-release-info"))
    if site is None:
        raise GuestError("this host's apt sources name no Debian mirror (apt-get indextargets)")
    return site


def _targets(*options: str) -> list[str]:
    command = ["apt-get", "indextargets", *options, "--format", _TARGET_FORMAT]
    command += ["Created-By: Packages"]
    try:
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise GuestError(f"apt-get cannot name this host's package sources: {error}") from error
    return [line for line in output.splitlines() if len(line.split()) >= 2]
