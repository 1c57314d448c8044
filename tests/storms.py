# SPDX-License-Identifier: Apache-2.0
"""Storms: processes that do one thing to a tree of cgroups again and again, until their time is up.

    python storms.py KIND SECONDS TREE

Prints how often it did it. TREE has the cgroups a, b, c and d, each with cpu and memory; b may
have a budget of 8 MiB.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import itertools
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

NAMES = ("a", "b", "c", "d")
MIB = 1 << 20
OVER_BYTES = 9 * MIB
AT_MOST_BYTES = 24 * MIB
FILE_BYTES = 32 * MIB


def compute(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def children(count: int, work: Callable[[], None], cgroup: Path | None = None) -> None:
    """So many at once, in a cgroup; wait for all."""
    pids = []
    for _ in range(count):
        pid = os.fork()
        if not pid:
            with contextlib.suppress(OSError):  # the cgroup is frozen, or the CPU is gone
                if cgroup is not None:
                    (cgroup / "cgroup.procs").write_text("0")
                work()
            os._exit(0)
        pids.append(pid)
    for pid in pids:
        os.waitpid(pid, 0)


def remove(path: Path) -> None:
    """A cgroup that is empty, as soon as the kernel has noticed."""
    while True:
        try:
            path.rmdir()
            return
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            time.sleep(0.001)


def forks(tree: Path) -> None:
    """Many children that do nothing."""
    children(8, lambda: None, tree / random.choice(NAMES))


def cgroups(tree: Path) -> None:
    """Cgroups that live for a moment, three deep, each with cpu."""
    top = tree / f"short{os.getpid()}"
    deep = top / "x" / "y"
    deep.mkdir(parents=True)
    for path in (top, deep.parent):
        (path / "cgroup.subtree_control").write_text("+cpu")
    children(2, lambda: compute(0.002), deep)
    for path in (deep, deep.parent, top):
        remove(path)


def weights(tree: Path) -> None:
    """Other weights, up to idle, while they are used."""
    where = tree / random.choice(NAMES)
    (where / "cpu.idle").write_text(random.choice("01"))
    with contextlib.suppress(OSError):  # it is idle, and has no weight
        (where / "cpu.weight").write_text(str(random.choice((1, 10, 100, 1000, 10000))))
    time.sleep(0.01)


def freezes(tree: Path) -> None:
    """A cgroup with work in it is frozen, and goes on."""
    where = tree / random.choice(NAMES) / "cgroup.freeze"
    where.write_text("1")
    time.sleep(0.02)
    where.write_text("0")
    time.sleep(0.02)


def affinities(tree: Path) -> None:
    """Tasks that are bound to one CPU and then to another while they compute."""

    def work() -> None:
        for cpu in (0, 1, 0):
            with contextlib.suppress(OSError):  # it is offline
                os.sched_setaffinity(0, {cpu})
            compute(0.002)

    children(4, work, tree / random.choice(NAMES))


PATIENT = itertools.cycle((True, False, False, False))


def growth(tree: Path) -> None:
    """Memory over the budget of b, in a child that is killed while it waits: at any moment, and
    from time to time not before it is over, however slow the machine is."""

    def held_bytes() -> int:
        return int((tree / "b/memory.current").read_text())

    pid = os.fork()
    if not pid:
        (tree / "b/cgroup.procs").write_text("0")
        bytearray(b"x" * (64 * MIB))
        os._exit(0)
    gone = 0
    if next(PATIENT):
        while held_bytes() < OVER_BYTES and not gone:
            gone = os.waitpid(pid, os.WNOHANG)[0]
            time.sleep(0.01)
    else:
        time.sleep(random.choice((0.02, 0.1, 0.2)))
    if not gone:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@functools.cache
def a_file() -> int:
    """On a disk, without a name."""
    with tempfile.TemporaryFile(dir="/var/tmp") as file:
        file.write(bytes(FILE_BYTES))
        file.flush()
        os.fsync(file.fileno())
        return os.dup(file.fileno())


def limits(tree: Path) -> None:
    """Memory of d up to what d may have: of a file that is read nothing stays for long, and who
    holds more is killed, alone or with all of d."""
    (tree / "d/memory.max").write_text(str(AT_MOST_BYTES))
    (tree / "d/memory.oom.group").write_text(random.choice("01"))
    file = a_file()
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)  # else it is charged to who wrote it

    def work() -> None:
        if os.getpid() % 2:
            bytearray(b"x" * FILE_BYTES)
        for offset in range(0, FILE_BYTES, MIB):
            os.pread(file, MIB, offset)

    children(4, work, tree / "d")


def steady(tree: Path) -> None:
    """Work that is always there."""
    children(3, lambda: compute(0.1), tree / random.choice(NAMES))


KINDS = {
    kind.__name__: kind
    for kind in (forks, cgroups, weights, freezes, affinities, growth, limits, steady)
}


def main() -> None:
    """One kind."""
    kind, tree = KINDS[sys.argv[1]], Path(sys.argv[3])
    end, rounds = time.monotonic() + float(sys.argv[2]), 0
    while time.monotonic() < end:
        kind(tree)
        rounds += 1
    print(rounds)


if __name__ == "__main__":
    main()
