# SPDX-License-Identifier: Apache-2.0
"""Booted guests saved to disk, from which a new one starts in a second."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from pathlib import Path

from guestvm import cache, host
from guestvm.channel import Channel, Request
from guestvm.errors import GuestError
from guestvm.instance import Instance, Saved
from guestvm.progress import say, warn
from guestvm.qemu import DISK, Machine, qemu_argv
from guestvm.sinks import Collect

BOOT_TIMEOUT_S = 240.0
SETTLE_TIMEOUT_S = 240.0
SAVE_TIMEOUT_S = 120.0
_RAM = "ram.zst"
_SETTLE = "systemctl is-system-running --wait && sync"


def snapshot(machine: Machine) -> Saved:
    """The saved state of a booted `machine`; boots one if there is none."""
    program = host.program("qemu-system-x86_64")
    version = subprocess.run([program, "--version"], check=True, capture_output=True).stdout
    key = cache.content_key([version, _SETTLE, "\0".join(qemu_argv(machine, program))])
    what = f"the snapshot of kernel {machine.kernel}"
    entry = cache.entry("snapshot", key, what, lambda to: _try_twice(machine, to), keep=8)
    return Saved(entry / DISK, entry / _RAM)


def _try_twice(machine: Machine, directory: Path) -> None:
    """Multi-threaded emulation trips over a kernel that patches itself, once in many boots."""
    try:
        _save(machine, directory)
    except GuestError as error:
        warn(f"trying again: {error}")
        _save(machine, directory)


def _save(machine: Machine, directory: Path) -> None:
    started_s = time.monotonic()
    say(f"booting kernel {machine.kernel} for a snapshot (once)")
    instance = Instance(f"snapshot-{os.getpid()}")
    try:
        instance.start(machine, detached=False)
        settle(instance)
        _migrate(instance, directory)
    finally:
        instance.stop()
    size_mib = sum(path.stat().st_blocks for path in directory.iterdir()) * 512 >> 20
    say(f"snapshot taken in {time.monotonic() - started_s:.1f} s, {size_mib} MiB")


def settle(instance: Instance) -> None:
    """Wait until a booted guest has nothing left to do."""
    output = Collect()
    with Channel(instance.directory, instance.failure, BOOT_TIMEOUT_S) as channel:
        request = Request(["/bin/sh", "-c", _SETTLE])
        outcome = channel.run(request, output, output, timeout_s=SETTLE_TIMEOUT_S)
    if outcome.status:
        raise instance.failure(f"it does not settle: {output.text()}")


def _migrate(instance: Instance, directory: Path) -> None:
    with instance.qmp() as qmp:
        qmp.execute("stop")
        qmp.execute("migrate-set-parameters", **{"max-bandwidth": 16 << 30})
        target = shlex.quote(str(directory / _RAM))
        qmp.execute("migrate", uri=f"exec:zstd -q -1 -T2 >{target}")
        busy = {"none", "setup", "active", "device", "pre-switchover"}
        status = qmp.wait_while("query-migrate", busy, SAVE_TIMEOUT_S)
        if status != "completed":
            raise GuestError(f"saving the guest's memory: {status}")
        qmp.execute("quit")
    instance.wait_ended()
    (instance.directory / DISK).rename(directory / DISK)
