# SPDX-License-Identifier: Apache-2.0
"""Pins of the accounting program on bpffs: made once, found again by every later daemon.

    /sys/fs/bpf/agentcg/            locked (flock) while pins are made or removed
        <key>/                      one complete set; <key> names sources and sizes
            link_on_fork, ...       hold the programs attached
            map_accounts, ...       counters, events, and what detection is to look at
        new-<key>/                  a set being made; never opened, removed by the next start

A set appears under its final name by one rename(2), so a set that is there is complete. Nothing
here survives a reboot: bpffs lives in memory, as do the programs.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agentcg.bpf.log import essence
from agentcg.bpf.tunables import Tunables
from agentcg.errors import BpfError

PIN_ROOT = Path("/sys/fs/bpf/agentcg")
BPFFS_REMEDY = "mount -t bpf bpf /sys/fs/bpf"
_SOURCES = (
    "accounting.c", "sampling.c", "records.h", "detection.c", "sights.h", "task.h", "once.h",
    "btf.py", "headers.py", "compile.py",
)  # fmt: skip
_SET_NAME = re.compile(r"(new-)?[0-9a-f]{16}")


def key_of(tunables: Tunables) -> str:
    """Name of the set that these sources make for this kernel and these sizes.

    The version of bcc is not part of it: an upgraded compiler makes the same program, and a new
    set would lose the counts of running calls for nothing.
    """
    digest = hashlib.sha256(repr((os.uname().release, tunables)).encode())
    for name in _SOURCES:
        digest.update((Path(__file__).parent / name).read_bytes())
    return digest.hexdigest()[:16]


@contextmanager
def locked_set(pin_root: Path, tunables: Tunables, timeout_s: float) -> Iterator[Path]:
    """The complete set of pins, made now if it is missing, and locked while in the context.

    Sets of other sources or sizes are removed, which detaches their programs. BpfError where
    the set cannot be made, also after `timeout_s` seconds.
    """
    deadline = time.monotonic() + timeout_s
    with _locked(pin_root, deadline) as lock:
        wanted = pin_root / key_of(tunables)
        if not wanted.is_dir():
            _make(wanted, tunables, lock, deadline)
        for other in _sets(pin_root):
            if other != wanted:
                _remove(other)
        yield wanted


def remove_all(pin_root: Path, timeout_s: float) -> None:
    """Remove every set and the directory itself: detaches all programs, forgets all counts."""
    with _locked(pin_root, time.monotonic() + timeout_s):
        for pins in _sets(pin_root):
            _remove(pins)
        pin_root.rmdir()


def _make(wanted: Path, tunables: Tunables, lock: int, deadline: float) -> None:
    """Have the helper make the set aside, then give it its name."""
    aside = wanted.with_name(f"new-{wanted.name}")
    try:
        if aside.is_dir():
            _remove(aside)
        _run_helper(aside, tunables, lock, deadline)
        aside.rename(wanted)
    except BpfError:
        shutil.rmtree(aside, ignore_errors=True)  # what a helper that was killed had pinned
        raise


def _run_helper(aside: Path, tunables: Tunables, lock: int, deadline: float) -> None:
    """Run `agentcg.bpf.compile`, which holds the lock too, so that it outlives us unharmed."""
    command = [sys.executable, "-m", "agentcg.bpf.compile", "--pin", str(aside)]
    command += [f"--{name.replace('_', '-')}={value}" for name, value in vars(tunables).items()]
    timeout_s = max(0.1, deadline - time.monotonic())
    try:
        done = subprocess.run(
            command, capture_output=True, timeout=timeout_s, pass_fds=(lock,), check=False
        )
    except subprocess.TimeoutExpired:
        raise BpfError(
            f"the accounting program was not compiled and loaded within {timeout_s:.0f} s",
            remedy="the host may be overloaded: try again",
        ) from None
    if done.returncode != 0:
        raise _helper_error(done.returncode, done.stdout, done.stderr)


def _helper_error(status: int, output: bytes, log: bytes) -> BpfError:
    """What the helper said on stdout, with the point of bcc's log."""
    reason = essence(log.decode(errors="replace"))
    try:
        said = json.loads(output)
        message, remedy = str(said["error"]), str(said["remedy"])
    except (ValueError, KeyError, TypeError):
        message, remedy = f"the helper that loads the accounting program ended with {status}", ""
    return BpfError(f"{message}: {reason}" if reason else message, remedy=remedy)


@contextmanager
def _locked(pin_root: Path, deadline: float) -> Iterator[int]:
    """Hold the lock on `pin_root` (created if missing); gives its descriptor."""
    require_bpffs(pin_root)
    try:
        pin_root.mkdir(mode=0o700, exist_ok=True)
        lock = os.open(pin_root, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise BpfError(
            f"{pin_root}: {error.strerror}", remedy="the daemon must be able to write there"
        ) from error
    try:
        while not _try_lock(lock):
            if time.monotonic() > deadline:
                raise BpfError(f"{pin_root} is locked", remedy="another agentcgd is starting")
            time.sleep(0.02)
        yield lock
    finally:
        os.close(lock)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def require_bpffs(path: Path) -> None:
    """BpfError unless `path` lies on a mounted BPF file system."""
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    # proc_pid_mountinfo(5): mount point is field 5, the type follows the separator "-".
    pairs = [(line.split()[4], line.partition(" - ")[2].split()[0]) for line in mounts]
    above = {str(path), *map(str, path.parents)}
    # The longest mount point wins; of several on the same point, the last one.
    kind = max((len(point), i, kind) for i, (point, kind) in enumerate(pairs) if point in above)[2]
    if kind != "bpf":
        raise BpfError(f"{path} is not on a BPF file system", remedy=BPFFS_REMEDY)


def _sets(pin_root: Path) -> list[Path]:
    return [path for path in pin_root.iterdir() if _SET_NAME.fullmatch(path.name)]


def _remove(pins: Path) -> None:
    try:
        shutil.rmtree(pins)
    except OSError as error:
        raise BpfError(f"{error.filename}: {error.strerror}") from error
