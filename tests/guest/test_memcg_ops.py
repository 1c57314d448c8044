# SPDX-License-Identifier: Apache-2.0
"""The kernel's own interface for memory delay, struct memcg_bpf_ops, on kernels that have it.

No released kernel does: what such a one says is in `test_memcg_programs.py`, and that the verifier
takes the programs all the same. Here they are attached, and the kernel asks them.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentcg.bpf.budgets import EXPIRY_NS, MAX_DELAY_NS
from agentcg.bpf.memcg_ops import FORMS, Form, MemcgOps, probe
from agentcg.cgroups import Cgroup, find_mount
from agentcg.errors import BpfError
from cgroup_support import cgroup_of, let_go, own_cgroup, until, waiting
from daemon_support import Api, fresh
from kernel_log import no_complaints
from scheduler_support import control, daemon_with, main_pid

PATIENCE_S = 300.0
MIB = 1 << 20
MS = 1_000_000
NAME = "memcg struct_ops"  # in doctor
# Allocates a megabyte and writes it, again and again up to so many.
GROW = "kept = [bytearray(b'x' * (1 << 20)) for _ in range({})]"
# Has a file of 32 MiB in memory.
READ = """
import os, sys, time
with open(sys.argv[1], "wb") as file:
    file.write(b"x" * (32 << 20)); file.flush(); os.fsync(file.fileno())
print("there", flush=True); time.sleep(1000)
"""
# Attaches to a cgroup, with the longest delay for one below it, and stays.
HOLD = """
import sys, time
from agentcg.bpf.memcg_ops import MemcgOps, probe
from agentcg.cgroups import Cgroup
with Cgroup.open(sys.argv[1]) as cgroup: ops = MemcgOps.open(probe(), cgroup.fileno())
ops.budgets.set(int(sys.argv[2]), 8 << 20, 0, "low")
print("there", flush=True); time.sleep(1000)
"""


@pytest.fixture(scope="module", autouse=True)
def _quiet() -> Iterator[None]:
    """The kernel has nothing to complain about, whatever is done here."""
    with no_complaints():
        yield


@pytest.fixture
def form() -> Form | None:
    """The form of this kernel; None where it has none."""
    found = probe()
    return None if isinstance(found, str) else found


@contextlib.contextmanager
def family(*names: str) -> Iterator[tuple[Cgroup, ...]]:
    """A cgroup, and those below it."""
    with own_cgroup() as parent, contextlib.ExitStack() as stack:
        parent.enable(["memory"])
        yield parent, *(stack.enter_context(parent.create(name)) for name in names)


@contextlib.contextmanager
def attached(form: Form, cgroup: Cgroup) -> Iterator[MemcgOps]:
    with MemcgOps.open(form, cgroup.fileno()) as ops:
        yield ops


@contextlib.contextmanager
def inside(cgroup: Cgroup, code: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that begins in the cgroup, and so charges all that it has there."""
    words = ["sh", "-c", 'echo 0 >"$0/cgroup.procs"; exec "$@"', str(cgroup.path)]
    words += [sys.executable, "-I", "-S", "-c", code, *arguments]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as child:
        try:
            yield child
        finally:
            child.kill()


def growing(cgroup: Cgroup, mebibytes: int = 1000) -> contextlib.AbstractContextManager[
    subprocess.Popen[bytes]
]:  # fmt: skip
    return inside(cgroup, GROW.format(mebibytes))


def count(ops: MemcgOps, cgroup: Cgroup) -> int:
    """How often a budget has held somebody up; a look is a sign of life."""
    ops.budgets.heartbeat()
    found = ops.budgets.delays(cgroup.id)
    return 0 if found is None else found.count


def held_bytes(cgroup: Cgroup) -> int:
    return int((cgroup.path / "memory.current").read_text())


def is_waiting(cgroup: Cgroup) -> bool:
    """It is over 8 MiB, and gets no more."""
    before = held_bytes(cgroup)
    time.sleep(0.3)
    return before > 8 * MIB and held_bytes(cgroup) == before


def test_a_kernel_with_the_interface_takes_the_programs(form: Form | None) -> None:
    """They are verified and attached; one without it refuses them, and what is missing is said."""
    with own_cgroup() as cgroup:
        if form is None:
            assert "no memcg_bpf_ops" in str(probe())
            with pytest.raises(BpfError, match="cannot be loaded"):
                MemcgOps.open(FORMS[0], cgroup.fileno())
            return
        with attached(form, cgroup) as ops:
            assert ops.form == form


def test_over_its_budget_a_task_waits_each_time(form: Form | None) -> None:
    """Below the budget nothing happens. Above it the task that charges waits for as long as the
    curve says by its priority, each time, and all of it is in the account."""
    if form is None:
        return
    with own_cgroup() as cgroup, attached(form, cgroup) as ops:
        ops.budgets.set(cgroup.id, 64 * MIB, 0, "normal", 400 * MS)
        with growing(cgroup, 16) as child:
            child.communicate(timeout=PATIENCE_S)
        assert count(ops, cgroup) == 0
        ops.budgets.set(cgroup.id, 8 * MIB, 0, "normal", 400 * MS)
        with growing(cgroup):
            until(lambda: count(ops, cgroup) >= 2, PATIENCE_S)
            before, begun_s = count(ops, cgroup), time.monotonic()
            until(lambda: count(ops, cgroup) >= before + 5, PATIENCE_S)
            waits = count(ops, cgroup) - before - 1  # the first had begun, the last has not ended
            assert time.monotonic() - begun_s > waits * 0.09
            account = ops.budgets.clear(cgroup.id)
        assert account is not None
        assert (account.longest_ns, account.total_ns) == (100 * MS, account.count * 100 * MS)
        assert 0 < account.overshoot_bytes < 64 * MIB


def test_delays_that_are_too_short_for_the_kernel_are_put_together(form: Form | None) -> None:
    """It does not wait for a hundredth of a second or less: each wait is a little longer than that,
    and there are fewer of them than charges."""
    if form is None:
        return
    with own_cgroup() as cgroup, attached(form, cgroup) as ops:
        ops.budgets.set(cgroup.id, MIB, 0, "low", 5 * MS)
        with growing(cgroup, 64) as child:
            child.communicate(timeout=PATIENCE_S)
        found = ops.budgets.delays(cgroup.id)
        assert found is not None
        assert 2 <= found.count < 200  # of some 250 batches; with huge pages of some 40
        assert (found.longest_ns, found.total_ns) == (11 * MS, found.count * 11 * MS)


def test_what_is_below_inherits(form: Form | None) -> None:
    """What was there before, and what comes later, by its own budget and by that of the parent."""
    if form is None:
        return
    with (
        family("before") as (parent, before),
        attached(form, parent) as ops,
        parent.create("after") as after,
    ):
        for budget, call in ((before, before), (after, after), (parent, after)):
            ops.budgets.set(budget.id, 8 * MIB, 0, "low", 20 * MS)
            with growing(call):
                until(lambda budget=budget: count(ops, budget) >= 2, PATIENCE_S)
            ops.budgets.clear(budget.id)


def test_another_program_further_down_has_its_say(form: Form | None) -> None:
    """Ours may be overridden, and is back when the other goes; where the other came first, ours is
    refused, and it is said that it is."""
    if form is None:
        return
    with family("call") as (parent, call):
        with attached(form, parent) as ours:
            ours.budgets.set(call.id, 8 * MIB, 0, "low", MAX_DELAY_NS)
            with attached(form, call):
                with growing(call, 64) as child:
                    child.communicate(timeout=PATIENCE_S)
                assert count(ours, call) == 0
            with growing(call):
                until(lambda: count(ours, call) >= 1, PATIENCE_S)
        with attached(form, call), pytest.raises(BpfError, match="another program is there"):
            MemcgOps.open(form, parent.fileno())


def test_two_holders_judge_by_their_own_budgets(form: Form | None) -> None:
    """Two daemons, each with its sessions: neither counts for the other."""
    if form is None:
        return
    with (
        family("one", "two") as (_, one, two),
        attached(form, one) as of_one,
        attached(form, two) as of_two,
    ):
        for ops in (of_one, of_two):
            ops.budgets.set(one.id, 8 * MIB, 0, "low", 20 * MS)
        with growing(one):
            until(lambda: count(of_one, one) >= 2, PATIENCE_S)
        assert count(of_two, one) == 0


def test_a_killed_holder_leaves_nothing_behind(form: Form | None) -> None:
    """SIGKILL detaches: who waited goes on, and the next holder attaches at once."""
    if form is None:
        return
    with family("call") as (parent, call):
        words = [sys.executable, "-c", HOLD, str(parent.path), str(call.id)]
        with subprocess.Popen(words, stdout=subprocess.PIPE) as holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"there\n"
            with growing(call, 64) as child:
                until(lambda: is_waiting(call), PATIENCE_S)
                holder.send_signal(signal.SIGKILL)
                holder.wait()
                with attached(form, parent):
                    child.communicate(timeout=PATIENCE_S)
        assert child.returncode == 0


@pytest.mark.parametrize("end", ["kill", "raise", "lower", "expire"])
def test_delays_end_and_begin_with_the_budget(form: Form | None, end: str) -> None:
    """Who waits ends at once when it is killed, and at the end of the wait when its budget is
    raised or nobody answers for it any more; one that is lowered below what is held counts."""
    if form is None:
        return
    with own_cgroup() as cgroup, attached(form, cgroup) as ops:
        longest = MAX_DELAY_NS if end == "kill" else 100 * MS
        ops.budgets.set(cgroup.id, 1 << 40 if end == "lower" else 8 * MIB, 0, "low", longest)
        if end == "expire":
            time.sleep(EXPIRY_NS / 1e9)
            with growing(cgroup, 64) as child:
                child.communicate(timeout=PATIENCE_S)
            assert ops.budgets.delays(cgroup.id).count == 0  # type: ignore[union-attr]
            return
        with growing(cgroup, 100) as child:
            if end == "lower":
                until(lambda: held_bytes(cgroup) > 32 * MIB or child.poll() is not None)
                ops.budgets.set(cgroup.id, 8 * MIB, 0, "low", longest)
            until(lambda: count(ops, cgroup) >= 1, PATIENCE_S)
            if end == "kill":
                child.kill()
            else:
                ops.budgets.set(cgroup.id, 1 << 40, 0, "low")
            child.communicate(timeout=PATIENCE_S)


@pytest.mark.parametrize("promise", ["low_bytes", "min_bytes"])
def test_what_is_promised_is_not_reclaimed(form: Form | None, promise: str, tmp_path: Path) -> None:
    """below_low and below_min: the other cgroup gives up what it has, the one that uses less than
    it was promised nothing; without the promise both do."""
    if form is None:
        return
    with (
        family("kept", "other") as (parent, kept, other),
        attached(form, parent) as ops,
        inside(kept, READ, str(tmp_path / "kept")) as one,
        inside(other, READ, str(tmp_path / "other")) as two,
    ):
        for child in (one, two):
            assert child.stdout is not None
            child.stdout.readline()

        def lost_bytes() -> tuple[int, int]:
            before = file_bytes(kept), file_bytes(other)
            ops.budgets.heartbeat()
            with contextlib.suppress(BlockingIOError):  # less than asked for was found
                (parent.path / "memory.reclaim").write_text("12M")
            return before[0] - file_bytes(kept), before[1] - file_bytes(other)

        ops.budgets.protect(kept.id, **{"low_bytes": 0, "min_bytes": 0, promise: 1 << 40})
        of_kept, of_other = lost_bytes()
        assert of_kept == 0
        assert of_other > 4 * MIB
        ops.budgets.protect(kept.id, 0)
        assert lost_bytes()[0] > 0


def file_bytes(cgroup: Cgroup) -> int:
    lines = (cgroup.path / "memory.stat").read_text().splitlines()
    return int(dict(line.split() for line in lines)["file"])


def test_cgroups_may_go_while_it_is_attached(form: Form | None) -> None:
    """Calls end, with a budget and with somebody waiting for it, and others begin."""
    if form is None:
        return
    with own_cgroup() as parent, attached(form, parent) as ops:
        parent.enable(["memory"])
        for n in range(20):
            with parent.create(f"call-{n}") as call:
                ops.budgets.set(call.id, 8 * MIB, 0, "low", 50 * MS)
                with growing(call):
                    until(lambda call=call: count(ops, call) >= 1, PATIENCE_S)
            parent.remove_tree(f"call-{n}", timeout_s=PATIENCE_S)
            ops.budgets.clear(call.id)


@pytest.mark.parametrize("options", ["", "--memory-delay off"])
def test_calls_over_their_lease_are_delayed(form: Form | None, options: str) -> None:
    """The daemon attaches by itself, without the scheduler, says what the kernel asks, and a call
    that grows over its lease has delays in its account. Without the interface, or switched off, it
    says why there is none, and the call has none."""
    with daemon_with("--bpf off --scheduler off", options) as daemon:
        there = form is not None and not options
        state = "enforced" if there else "off"
        until(lambda: control(daemon, NAME)["state"] == state, PATIENCE_S)
        told = control(daemon, NAME)
        assert told["backend"] == (str(form) if there else "memcg_bpf_ops")
        until(lambda: there or control(daemon, NAME)["detail"], PATIENCE_S)
        delayed = grown(daemon)["delayed"]
        assert (delayed is not None and delayed["count"] > 0) == there
        if not there:
            return
        killed = main_pid()
        tell_daemon("KILL")
        until(lambda: main_pid() not in ("0", killed), PATIENCE_S)
        until(lambda: control(daemon, NAME)["state"] == "enforced", PATIENCE_S)
        delayed = grown(daemon)["delayed"]
        assert delayed["count"] > 0
        assert 11_000 <= delayed["longest_us"] <= min(2_000_000, delayed["total_us"])
        assert delayed["overshoot_bytes"] > 0


def tell_daemon(signal_name: str) -> None:
    subprocess.run(["systemctl", "kill", f"--signal={signal_name}", "agentcgd"], check=True)


def grown(daemon: Api) -> Any:
    """The account of a call that grows over its grant before the daemon can lengthen its lease."""
    name = fresh()
    daemon.open(name, priority="low")
    with waiting(GROW.format(80)) as tool:
        call = daemon.begin(name, pid=tool.pid, memory_bytes=24 * MIB)
        over_bytes = call["grant"]["memory_high_bytes"] + MIB
        current = find_mount().path / cgroup_of(tool.pid)[1:] / "memory.current"
        tell_daemon("STOP")
        try:
            let_go(tool)
            until(lambda: int(current.read_text()) > over_bytes, PATIENCE_S)
        finally:
            tell_daemon("CONT")
        tool.communicate(timeout=PATIENCE_S)
        assert tool.returncode == 0
        return daemon.end(call["id"], exit_status=0)["account"]
