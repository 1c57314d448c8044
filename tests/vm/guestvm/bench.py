# SPDX-License-Identifier: Apache-2.0
"""How long the guest itself takes: `tests/vm/guest bench`."""

from __future__ import annotations

import os
import platform
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from guestvm import cache, host
from guestvm.channel import Request
from guestvm.guest import Guest, Options, machine
from guestvm.kernels import Kernel
from guestvm.rootfs import kernel_version
from guestvm.sinks import Discard
from guestvm.snapshot import snapshot

Figures = dict[str, object]
REPEATS = 5


def bench(kernel: Kernel, options: Options, *, cold_build: bool) -> Figures:
    """Seconds of the host's time for each step, and the host they were measured on.

    With `cold_build` first in an empty cache of its own, downloads included.
    """
    figures: Figures = {"host": _host()}
    if cold_build:
        figures |= _in_empty_cache(kernel, options)
    built = machine(kernel, options)
    figures["kernel"] = kernel_version(built.root.parent, kernel)
    cold = Options(options.memory_bytes, options.cpus, cold=True)
    figures["first_command_cold_boot_s"] = _timed(lambda: _run(kernel, cold, ["true"]))
    snapshot(built)
    figures["first_command_snapshot_s"] = _median(lambda: _run(kernel, options, ["true"]))
    plain = _median(lambda: _run(kernel, options, ["true"], install=False))
    figures["first_command_snapshot_without_project_s"] = plain
    figures |= _in_one_guest(kernel, options)
    return figures


def _in_empty_cache(kernel: Kernel, options: Options) -> Figures:
    """Build the root and the snapshot anew, somewhere else."""
    before = os.environ.get("AGENTCG_GUEST_CACHE")
    cache.cache_directory().mkdir(parents=True, exist_ok=True)
    directory = tempfile.mkdtemp(prefix="bench.", dir=cache.cache_directory())
    os.environ["AGENTCG_GUEST_CACHE"] = directory
    try:
        build_s = _timed(lambda: machine(kernel, options))
        first_s = _timed(lambda: _run(kernel, options, ["true"]))
        size_bytes = sum(path.stat().st_blocks * 512 for path in Path(directory).rglob("*"))
        return {
            "build_s": build_s,
            "first_command_without_snapshot_s": first_s,
            "cache_bytes": size_bytes,
        }
    finally:
        os.environ.pop("AGENTCG_GUEST_CACHE")
        if before is not None:
            os.environ["AGENTCG_GUEST_CACHE"] = before
        shutil.rmtree(directory, ignore_errors=True)


def _in_one_guest(kernel: Kernel, options: Options) -> Figures:
    guest = Guest(f"bench-{os.getpid()}")
    try:
        guest.start(kernel, options, detached=False)
        guest.install()
        return {
            "command_in_running_guest_s": _median(lambda: _command(guest, ["true"])),
            "python_in_running_guest_s": _median(lambda: _command(guest, ["python3", "-c", ""])),
        }
    finally:
        guest.instance.stop()


def _run(kernel: Kernel, options: Options, argv: list[str], *, install: bool = True) -> None:
    guest = Guest(f"bench-{os.getpid()}")
    try:
        guest.start(kernel, options, detached=False)
        if install:
            guest.install()
        _command(guest, argv)
    finally:
        guest.instance.stop()


def _command(guest: Guest, argv: list[str]) -> None:
    guest.run(Request(argv), stdout=Discard(), stderr=Discard())


def _timed(step: Callable[[], object]) -> float:
    started_s = time.monotonic()
    step()
    return round(time.monotonic() - started_s, 3)


def _median(step: Callable[[], object]) -> float:
    return round(statistics.median(_timed(step) for _ in range(REPEATS)), 3)


def _host() -> Figures:
    version = [host.program("qemu-system-x86_64"), "--version"]
    output = subprocess.run(version, check=True, capture_output=True, text=True).stdout
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "cpu": models[0] if models else platform.machine(),
        "cpus": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "load_1min": round(os.getloadavg()[0], 2),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "qemu": output.split("\n")[0],
    }
