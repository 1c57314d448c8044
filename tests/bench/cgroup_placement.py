# SPDX-License-Identifier: Apache-2.0
"""What it costs to put a process into a cgroup, and what else is paid for each call.

    python3 tests/bench/cgroup_placement.py [--rounds N] [--favordynmods] [--json FILE]

Root, a cgroup v2 mount. Prints JSON: microseconds, p50/p99/max over `rounds`.
- `place_*` moves a waiting child by its number, by pidfd, or lets it write "0" to a descriptor
  that it was handed; the child's own time counts for the last. `spaced` leaves 30 ms between
  moves, so that each pays for the migration lock's slow path; `back_to_back` does not.
- `fork` and `fork_into` are births without and with a cgroup: the difference is the placement.
- `create`, `apply`, `usage` and `remove` are the other steps of a call. `apply` and `usage`
  have as many files as there are controllers here (`controllers` says which).
`--favordynmods` measures a second time with the mount option set, and takes it off again.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import secrets
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from agentcg.cgroups import Cgroup, Limits, find_mount, fork_into

SPACE_S = 0.03
LIMITS = Limits(memory_high=256 << 20, memory_max=512 << 20, memory_oom_group=True,
                cpu_weight=100, pids_max=512)  # fmt: skip
Timing = dict[str, float]


def summary(samples_us: list[float]) -> Timing:
    """p50, p99 and max of the samples."""
    ordered = sorted(samples_us)
    return {
        "p50_us": round(ordered[len(ordered) // 2], 1),
        "p99_us": round(ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)], 1),
        "max_us": round(ordered[-1], 1),
    }


def timed(action: Callable[[], object], rounds: int, pause_s: float = 0.0) -> Timing:
    """How long `action` takes, each time after a pause."""
    samples = []
    for _ in range(rounds):
        if pause_s:
            time.sleep(pause_s)
        begun = time.perf_counter_ns()
        action()
        samples.append((time.perf_counter_ns() - begun) / 1000)
    return summary(samples)


@contextlib.contextmanager
def waiting_child() -> Iterator[int]:
    """A child that only waits."""
    pid = os.fork()
    if pid == 0:
        while True:
            signal.pause()
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def placements(a: Cgroup, b: Cgroup, rounds: int, pause_s: float) -> dict[str, Timing]:
    """Moving one process to and fro between two cgroups, in three ways."""
    homes = [a, b]

    def move(how: Callable[[Cgroup], None]) -> Callable[[], None]:
        def step() -> None:
            homes.reverse()
            how(homes[0])

        return step

    with waiting_child() as pid:
        pidfd = os.pidfd_open(pid)
        by_number = timed(move(lambda to: to.place(pid)), rounds, pause_s)
        by_pidfd = timed(move(lambda to: to.place_pidfd(pidfd)), rounds, pause_s)
        os.close(pidfd)
    return {
        "place_by_number": by_number,
        "place_by_pidfd": by_pidfd,
        "place_by_descriptor": handed_out(a, b, rounds, pause_s),
    }


def handed_out(a: Cgroup, b: Cgroup, rounds: int, pause_s: float) -> Timing:
    """A child that moves itself through descriptors it was handed, and tells how long it took."""
    fds = [a.procs_fd(), b.procs_fd()]
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        for number in range(rounds):
            if pause_s:
                time.sleep(pause_s)
            begun = time.perf_counter_ns()
            os.write(fds[number % 2], b"0")
            os.write(write_fd, struct.pack("d", (time.perf_counter_ns() - begun) / 1000))
        os._exit(0)
    os.close(write_fd)
    with os.fdopen(read_fd, "rb") as pipe:
        samples = struct.iter_unpack("d", pipe.read())
    os.waitpid(pid, 0)
    for fd in fds:
        os.close(fd)
    return summary([sample for (sample,) in samples])


def births(leaf: Cgroup, rounds: int) -> dict[str, Timing]:
    """Fork and reap, with and without a cgroup to be born in."""

    def reap(pid: int) -> None:
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)

    return {
        "fork": timed(lambda: reap(os.fork()), rounds),
        "fork_into": timed(lambda: reap(fork_into(leaf.fileno())), rounds),
    }


def steps(top: Cgroup, rounds: int) -> dict[str, Timing]:
    """What else a call costs: its cgroup, its limits, its account."""
    names = [f"call-{number}" for number in range(rounds)]
    made: list[Cgroup] = []
    todo, gone = iter(names), iter(names)
    wanted = LIMITS if "memory" in top.subtree_control() else Limits()
    result = {"create": timed(lambda: made.append(top.create(next(todo))), rounds)}
    leaves = iter(made)
    result["apply"] = timed(lambda: next(leaves).apply(wanted), rounds)
    leaves = iter(made)
    result["usage"] = timed(lambda: next(leaves).usage(), rounds)
    for leaf in made:
        leaf.close()
    result["remove"] = timed(lambda: top.remove(next(gone)), rounds)
    return result


def measure(top: Cgroup, rounds: int) -> dict[str, object]:
    """All figures under the mount options in force."""
    with top.create("a") as a, top.create("b") as b:
        result: dict[str, object] = {
            "mount_options": sorted(find_mount().options),
            "spaced": placements(a, b, min(rounds, 100), SPACE_S),
            "back_to_back": placements(a, b, rounds, 0.0),
            **births(a, rounds),
            **steps(top, rounds),
        }
    for name in ("a", "b"):
        top.remove(name)
    return result


def remount(*wanted: str) -> None:
    """Set options of the cgroup v2 mount; of the others, `favordynmods` goes, the rest stays."""
    mount = find_mount()
    options = ",".join(["remount", *sorted(mount.options - {"favordynmods"}), *wanted])
    # With a source named, mount(8) does not add the options in force, which would keep it set.
    subprocess.run(["mount", "-o", options, "cgroup2", str(mount.path)], check=True)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=500)
    parser.add_argument("--favordynmods", action="store_true", help="measure with it, too")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    arguments = parser.parse_args()
    name = f"agentcg-bench-{secrets.token_hex(4)}"
    runs = []
    with Cgroup.open(find_mount().path) as root:
        with root.create(name) as top:
            top.enable(top.controllers() & {"cpu", "io", "memory", "pids"})
            controllers = sorted(top.subtree_control())
            runs.append(measure(top, arguments.rounds))
            if arguments.favordynmods and not find_mount().favordynmods:
                remount("favordynmods")
                try:
                    runs.append(measure(top, arguments.rounds))
                finally:
                    remount()
        root.remove_tree(name)
    report = {
        "kernel": platform.release(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "controllers": controllers,
        "rounds": arguments.rounds,
        "runs": runs,
    }
    text = json.dumps(report, indent=2)
    if arguments.json is not None:
        arguments.json.write_text(text + "\n", encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
