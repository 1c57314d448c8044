# SPDX-License-Identifier: Apache-2.0
"""The root file system that all kernels share, and the kernels: one cache entry.

mmdebstrap makes the tree, its last hook (image/customize.sh) adds the kernels' modules and
writes the disk image; nothing is mounted, so that it works in any container.
"""

from __future__ import annotations

import os
import shlex
import time
from pathlib import Path

from guestvm import cache, host, vmlinux
from guestvm.errors import GuestError
from guestvm.kernels import Kernel, load_kernels
from guestvm.progress import run_logged, say
from guestvm.vmlinux import decompress, payload

SUITE = "trixie"
IMAGE_SIZE = "4G"  # sparse
IMAGE_FILES = Path(__file__).resolve().parent.parent / "image"
CUSTOMIZE = IMAGE_FILES / "customize.sh"

SYSTEM_PACKAGES = (
    "systemd systemd-sysv dbus kmod mount util-linux passwd procps iproute2 attr curl time"
)
PROJECT_PACKAGES = (
    "python3 python3-bpfcc libbpf1 bpftool python3-aiohttp python3-msgspec "
    "python3-prometheus-client python3-psutil python3-pyroute2 python3-rich python3-sdnotify "
    "python3-typer python3-yaml"
)
TEST_PACKAGES = (
    "python3-pytest python3-pytest-asyncio python3-pytest-rerunfailures python3-hypothesis "
    "python3-jsonschema python3-venv make stress-ng crun"
)
PACKAGES = f"{SYSTEM_PACKAGES} {PROJECT_PACKAGES} {TEST_PACKAGES}".split()

_OPTIONS = (
    "--variant=essential",
    "--skip=check/qemu",
    '--aptopt=APT::Install-Recommends "false"',
    # Archived suites keep their last, expired index.
    '--aptopt=Acquire::Check-Valid-Until "false"',
    "--dpkgopt=force-unsafe-io",
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-exclude=/usr/share/info/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
    "--dpkgopt=path-exclude=/usr/share/man/*",
)


def rootfs() -> Path:
    """The cache entry with root.img, busybox and, for each kernel, NAME/{vmlinux,version,*.ko}."""
    argv = mmdebstrap_argv("", _hook("", Path(), load_kernels()), load_kernels(), "", None)
    key = cache.content_key([*argv, CUSTOMIZE, Path(vmlinux.__file__)])
    return cache.entry("root", key, "the root file system", _build)


def _build(directory: Path) -> None:
    kernels = load_kernels()
    if os.geteuid() != 0:
        raise GuestError("building the root needs root once: run `tests/vm/guest build` as root")
    say("building the root file system and fetching the kernels (about a minute, once)")
    started_s = time.monotonic()
    program = host.program("mmdebstrap")
    hook = _hook(str(CUSTOMIZE), directory, kernels)
    argv = mmdebstrap_argv(program, hook, kernels, host.mirror(), host.keyring())
    run_logged(argv, directory / "build.log", "building the root file system")
    for kernel in kernels:
        _finish_kernel(directory, kernel)
    size_mib = (directory / "root.img").stat().st_blocks * 512 >> 20
    say(f"built in {time.monotonic() - started_s:.0f} s, {size_mib} MiB")


def _hook(script: str, directory: Path, kernels: list[Kernel]) -> str:
    """The shell command that finishes the tree "$1"."""
    wanted = " ".join(f"{kernel.name}:{kernel.suite}:{kernel.package}" for kernel in kernels)
    return f'{shlex.quote(script)} "$1" {shlex.quote(str(directory))} {IMAGE_SIZE} {wanted}'


def mmdebstrap_argv(
    program: str, hook: str, kernels: list[Kernel], mirror: str, keyring: Path | None
) -> list[str]:
    """The command that makes the root and hands it to `hook`."""
    signed = f"[signed-by={keyring}] " if keyring else ""
    suites = [SUITE, *(kernel.suite for kernel in kernels if kernel.suite != SUITE)]
    return [
        program,
        *_OPTIONS,
        f"--include={','.join(PACKAGES)}",
        f"--customize-hook={hook}",
        "--format=null",
        SUITE,
        "-",
        *(f"deb {signed}{mirror} {suite} main" for suite in dict.fromkeys(suites)),
    ]


def _finish_kernel(directory: Path, kernel: Kernel) -> None:
    vmlinuz = directory / kernel.name / "vmlinuz"
    if not vmlinuz.is_file():
        raise GuestError(f"kernel {kernel.name}: {kernel.package} holds no vmlinuz")
    vmlinuz.with_name("vmlinux").write_bytes(_plain(vmlinuz.read_bytes()))
    vmlinuz.unlink()
    say(f"kernel {kernel.name}: {kernel_version(directory, kernel)}")


def _plain(image: bytes) -> bytes:
    """The ELF kernel in an image that may be one already."""
    return image if image.startswith(b"\x7fELF") else decompress(payload(image))


def own_kernel(image: Path) -> Path:
    """The cache entry with the vmlinux of somebody's own kernel; it has no modules."""
    key = cache.content_key([image, Path(vmlinux.__file__)])

    def build(directory: Path) -> None:
        (directory / "vmlinux").write_bytes(_plain(image.read_bytes()))

    return cache.entry("kernel", key, f"kernel {image}", build)


def kernel_version(directory: Path, kernel: Kernel) -> str:
    """The full release of a built kernel, as `uname -r` prints it; the path of one's own."""
    if kernel.image:
        return str(kernel.image)
    return (directory / kernel.name / "version").read_text().strip()
