# SPDX-License-Identifier: Apache-2.0
"""What tests in storms share: the storms, and who looks for a task that waits."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import stalls
from agentcg.cgroups import Cgroup
from cgroup_support import own_cgroup, until
from scheduler_support import PATIENCE_S
from storms import KINDS, NAMES

SECONDS = float(os.environ.get("AGENTCG_STRESS_SECONDS", "8"))
STALL_S = 1.0 if SECONDS >= 60 else 2.0
"""What nobody may wait for. The short form runs beside other work."""
STORMS = Path(__file__).parent / "storms.py"


@contextlib.contextmanager
def storms(seconds: float) -> Iterator[tuple[Cgroup, list[subprocess.Popen[str]]]]:
    """All kinds at once, on a tree of some cgroups. At the end each has done something."""
    with own_cgroup() as tree, contextlib.ExitStack() as stack:
        tree.enable(["cpu", "memory"])
        for name in NAMES:
            stack.enter_context(tree.create(name))
        running = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-I", "-S", str(STORMS), kind, str(seconds), str(tree.path)],
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for kind in KINDS
        ]
        for one in running:
            stack.callback(one.kill)
        yield tree, running
        until(lambda: all(one.poll() is not None for one in running), seconds + PATIENCE_S)
        for kind, one in zip(KINDS, running, strict=True):
            assert one.stdout is not None
            assert int(one.stdout.read()) > 0, kind
        events = dict(map(str.split, (tree.path / "d/memory.events").read_text().splitlines()))
        assert int(events["max"]) > 0, events
        assert int(events["oom_kill"]) > 0, events


class Watch:
    """Tasks that want to run for a moment every 20 ms, and how long one of them had to wait.

    One on each CPU, one on any, and one of an agent of high priority in `high`. `longest_s` and
    `said` are there when it is over.
    """

    def __init__(self) -> None:
        self.longest_s = 0.0
        self.said: list[str] = []
        self.probes: dict[str, subprocess.Popen[str]] = {}
        self.witnesses: list[subprocess.Popen[str]] = []

    @contextlib.contextmanager
    def during(self, high: Cgroup | None = None) -> Iterator[memoryview]:
        """Until the end of the block; its witnesses' rounds."""
        cpus = sorted(os.sched_getaffinity(0))
        with tempfile.NamedTemporaryFile() as file, contextlib.ExitStack() as stack:
            clock = stalls.make(Path(file.name))

            def start(*words: object) -> subprocess.Popen[str]:
                command = [sys.executable, "-I", "-S", stalls.__file__, *map(str, words)]
                one = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
                stack.enter_context(one)
                stack.callback(one.kill)
                return one

            self.witnesses = [start("witness", file.name, cpu) for cpu in cpus]
            until(lambda: all(clock[cpu] for cpu in cpus), PATIENCE_S)
            self.probes = {f"CPU {cpu}": start("probe", file.name, cpu) for cpu in cpus}
            self.probes["any CPU"] = start("probe", file.name)
            if high is not None:
                self.probes["high"] = start("probe", file.name)
                high.place(self.probes["high"].pid)
            for one in self.probes.values():
                assert one.stdout is not None
                assert one.stdout.readline() == "begun\n"
            yield clock
            clock[stalls.OVER] = 1
            for name, one in self.probes.items():
                rounds, overslept, overslept_ms = map(int, one.communicate()[0].split())
                self.longest_s = max(self.longest_s, overslept * stalls.PACE_S)
                self.said.append(
                    f"{name}: {rounds} rounds, waited {overslept * stalls.PACE_S:.2f} s at most "
                    f"({overslept_ms} ms on the wall)"
                )
        print(*self.said, sep="\n")


@contextlib.contextmanager
def no_stall() -> Iterator[Cgroup]:
    """No task outside of the storms waits for so long; the cgroup of an agent of high priority."""
    watch = Watch()
    with own_cgroup() as high:
        (high.path / "cpu.weight").write_text("1000")
        with watch.during(high):
            yield high
    assert watch.longest_s < STALL_S, watch.said


def is_more(now: dict[str, int], before: dict[str, int]) -> bool:
    """Whether a map holds more than it did."""
    return any(now[name] > count for name, count in before.items())
