# SPDX-License-Identifier: Apache-2.0
"""Kernels that refuse a part of the scheduler, and another scheduler that is there first.

Such a kernel is this one with programs that it does not take: the object is changed before it is
loaded. On a kernel without sched_ext there is nothing to load: `test_scheduler.py` shows what is
said.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentcg.bpf import scheduler
from agentcg.bpf.objects import object_path
from agentcg.bpf.scheduler import Scheduler, loaded
from agentcg.errors import BpfError
from cgroup_support import own_cgroup, until
from daemon_support import delegate, fresh
from scheduler_support import PATIENCE_S, THERE, control, daemon_with

CHARGE = b"fentry/page_counter_try_charge"
# Of the same length: one that no kernel has, and one that has no arguments.
NOWHERE, WITHOUT_ARGUMENTS = b"fentry/page_counter_try_charg3", b"fentry/pagefault_out_of_memory"
INSERT, NOT_THERE = b"scx_bpf_dsq_insert_vtime", b"scx_bpf_dsq_insert_vtim3"
NAME = b"agentcg" + bytes(64)  # as in sched_ext_ops
OTHER = b"another" + bytes(64)
HOLD = """
import sys, time
from pathlib import Path
from agentcg.bpf import scheduler
scheduler.object_path = lambda _: Path(sys.argv[1])
held = scheduler.Scheduler.open()
time.sleep(1000)
"""


def changed(to: Path, old: bytes, new: bytes) -> Path:
    """The scheduler's object with something else in it."""
    was = object_path("scheduler").read_bytes()
    assert old in was
    to.write_bytes(was.replace(old, new))
    return to


@pytest.mark.parametrize(
    ("where", "reason"),
    [
        (NOWHERE, "failed to find kernel BTF type ID of 'page_counter_try_charg3'"),
        (WITHOUT_ARGUMENTS, "'pagefault_out_of_memory' doesn't have 2-th argument"),
    ],
)
def test_where_charges_cannot_be_traced_the_scheduler_goes_without_delay(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, where: bytes, reason: str
) -> None:
    """It is in charge all the same, and what is missing is said: of the verifier's log, which can
    be thousands of lines, the point."""
    if not THERE:
        return
    opened = changed(tmp_path / "scheduler.bpf.o", CHARGE, where)
    monkeypatch.setattr(scheduler, "object_path", lambda _: opened)
    with Scheduler.open() as held:
        assert loaded() == "agentcg"
        assert held.memory_delay is None
        assert held.no_delay.startswith("the scheduler programs cannot be loaded: ")
        assert reason in held.no_delay
        assert len(held.no_delay) < 300
        assert held.ended() == ""


def test_where_the_rest_is_refused_nothing_is_loaded(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """And the error has the point of the log."""
    if not THERE:
        return
    opened = changed(tmp_path / "scheduler.bpf.o", INSERT, NOT_THERE)
    monkeypatch.setattr(scheduler, "object_path", lambda _: opened)
    with pytest.raises(BpfError, match=r"cannot be loaded: libbpf: .*_vtim3': not found in kernel"):
        Scheduler.open()
    assert loaded() is None


@contextlib.contextmanager
def another_scheduler(directory: Path) -> Iterator[None]:
    """Somebody else's is loaded."""
    opened = changed(directory / "other.bpf.o", NAME, OTHER)
    words = [sys.executable, "-c", HOLD, str(opened)]
    with subprocess.Popen(words) as child:
        try:
            until(lambda: loaded() == "another" or child.poll() is not None, PATIENCE_S)
            yield
            assert child.poll() is None
        finally:
            child.kill()


def test_another_scheduler_is_left_alone(tmp_path: Path) -> None:
    """The daemon that finds one goes on without its own; doctor and `agentcg sched status` name it,
    calls are as ever, and a daemon that must have its own does not start."""
    if not THERE:
        return
    with another_scheduler(tmp_path), daemon_with("--bpf off --scheduler auto") as daemon:
        said = "another sched_ext scheduler is loaded: another"
        until(lambda: said in control(daemon)["detail"], PATIENCE_S)
        assert control(daemon)["state"] == "off"
        shown = subprocess.run(
            ["agentcg", "sched", "status"], capture_output=True, text=True, check=True
        )
        assert shown.stdout.startswith("in charge: another (full switch: ")
        assert f"scheduler: off: {said}" in shown.stdout
        name = fresh()
        daemon.open(name)
        assert daemon.begin(name)["grant"]
        daemon.good("DELETE", f"/v1/sessions/{name}?kill=true")
        with own_cgroup() as parent:
            delegate(parent)
            words = ["agentcgd", "--scheduler", "on", "--bpf", "off", "--state", "none"]
            words += ["--root", str(parent.path / "x"), "--socket", str(tmp_path / "sock")]
            refused = subprocess.run(
                words, capture_output=True, text=True, check=False, timeout=PATIENCE_S
            )
        assert (refused.returncode, said in refused.stderr) == (3, True)
        assert loaded() == "another"
