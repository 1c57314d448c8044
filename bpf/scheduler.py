# SPDX-License-Identifier: Apache-2.0
"""The daemon's handle on the sched_ext scheduler (scheduler.bpf.c).

It runs as long as the handle is open: the kernel puts its own scheduler back within milliseconds
when the handle is closed or the process dies, however it dies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ctypes import c_uint32, c_uint64
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from agentcg.bpf import arrivals, btf, budgets, memory_delay
from agentcg.bpf.arrivals import Arrivals
from agentcg.bpf.loader import Object
from agentcg.bpf.memory_delay import MemoryDelay
from agentcg.bpf.objects import object_path
from agentcg.bpf.scheduler_records import (
    AgentsSettingsRecord,
    NodeRecord,
    SettingsRecord,
    StateRecord,
)
from agentcg.bpf.turns import Turns
from agentcg.closing import Closing
from agentcg.errors import BpfError

SCHED_EXT = Path("/sys/kernel/sched_ext")
BPF_STATS = Path("/proc/sys/kernel/bpf_stats_enabled")
SLICE_NS = 3_000_000
CREDIT_NS = 5_000_000
LAG_NS = 200_000_000
PATIENCE_NS = 5_000_000_000
BOOST_NS, STRETCH_NS, FAVOUR_NS, CPU_BOOST_NS = 1_000_000, 20_000_000, 10_000_000, 10_000_000
WINDOW_NS = 100_000_000
NEEDED = ("bpf_rbtree_first", "scx_bpf_dsq_insert_vtime", "scx_bpf_dsq_move_to_local")
"""Kernel functions whose present names came last: Linux 6.13."""
EVICTING = "agentcg_switch"
_EVICT = ("scx_bpf_dsq_reenq", "scx_bpf_reenqueue_local___v2")  # since Linux 7.1, 6.19
LATE_OPERATIONS = ("cgroup_set_bandwidth", "cgroup_set_idle")  # Linux 6.17, 6.19
_NO_SCHED_EXT = "this kernel has no sched_ext"
_REMEDY = "CONFIG_SCHED_CLASS_EXT=y is needed, with Linux 6.13 or newer (Debian: trixie-backports)"
_RESTART = 1 << 48  # kernel/sched/ext: SCX_ECODE_ACT_RESTART
_ERRORS = 1024  # kernel/sched/ext: exit kinds from here on are faults


@dataclass(frozen=True)
class SchedulerStats:
    """Counts since the scheduler was loaded (scheduler.h says what each is)."""

    nodes: int
    overflows: int
    picks: int
    empty_picks: int
    kept: int
    preempted: int
    stolen: int
    bandwidths: int
    delayed: int
    delays_refused: int
    events_lost: int
    evicted: int


@dataclass(frozen=True)
class CpuUse:
    """What the tasks of one cgroup (without those below it) did since it was first seen."""

    run_ns: int
    wait_ns: int
    waits: int
    longest_wait_ns: int
    boosts: int


def absence() -> str:
    """Why this kernel cannot run the scheduler, or "" if nothing speaks against it."""
    if not SCHED_EXT.is_dir():
        return f"{_NO_SCHED_EXT}; {_REMEDY}"
    try:
        with btf.Btf.vmlinux() as kernel:
            missing = [name for name in NEEDED if not kernel.has_function(name)]
    except OSError as error:
        return f"{error.filename}: {error.strerror}; CONFIG_DEBUG_INFO_BTF=y is needed"
    return f"this kernel lacks {', '.join(missing)}; {_REMEDY}" if missing else ""


def loaded() -> str | None:
    """The name of the scheduler that is loaded now, whoever's it is; None: the kernel's own."""
    try:
        if (SCHED_EXT / "state").read_text().strip() == "disabled":
            return None
        return (SCHED_EXT / "root/ops").read_text().strip()
    except OSError:
        return None


def switch() -> Literal["full", "partial"] | None:
    """Whether the scheduler that is loaded, whoever's it is, takes all tasks or those of policy
    SCHED_EXT; None: there is none."""
    if loaded() is None:
        return None
    try:
        return "full" if (SCHED_EXT / "switch_all").read_text().strip() == "1" else "partial"
    except OSError:
        return None


def cannot_share() -> str:
    """Why a kernel with sched_ext cannot be left all tasks but the agents', or ""."""
    return memory_delay.lacking(arrivals.NEEDED)


class Scheduler(Closing):
    """A scheduler that is loaded and in charge: of all normal tasks, or of agents' alone."""

    def __init__(self, opened: Object, delays: bool, shares: bool) -> None:
        """`open` is the way to get one."""
        self._object = opened
        self._state = opened.map(".data.state", c_uint32, StateRecord)
        self._nodes = opened.map("nodes", c_uint32, NodeRecord)
        self._slots = opened.map("slots", c_uint64, c_uint32)
        self._favoured = opened.map("favoured", c_uint64, c_uint32)
        self._stops = not memory_delay.cannot_stop()
        self.turns = Turns(opened)
        self.memory_delay = MemoryDelay(opened) if delays else None
        self.no_delay = "" if delays else memory_delay.absence()
        """Why there is none although the kernel was asked."""
        self.arrivals = Arrivals(opened) if shares else None

    @classmethod
    def open(
        cls, *, delays: bool = True, slice_ns: int = SLICE_NS, agents_in: int | None = None
    ) -> Scheduler:
        """Load and take charge; blocks for a second or less. BpfError says why not.

        `delays`: offer `memory_delay`, too, where the kernel can (else it is None, and `no_delay`
        says why). `agents_in`: the id of the cgroup of all sessions, to take only tasks of policy
        SCHED_EXT; then `arrivals` tells who in there is to be given it.
        """
        shares = agents_in is not None
        if reason := absence() or (cannot_share() if shares else ""):
            raise BpfError(reason)
        if other := loaded():
            raise _taken(other)
        opened = Object(object_path("scheduler"))
        try:
            delays = delays and not memory_delay.absence()
            opened.settle("settings", _settings(slice_ns))
            budgets.settle(opened)
            opened.settle("agents", AgentsSettingsRecord(root_id=agents_in or 0))
            if shares:
                opened.set_flag("agentcg_ops", "sched_ext_ops", arrivals.SWITCH_PARTIAL)
            else:
                opened.leave_out(*arrivals.PROGRAMS)
            if not delays:
                opened.leave_out(memory_delay.PROGRAM)
            opened.leave_out(*_unknown_operations())
            evicts = _can_evict()
            if not evicts:
                opened.leave_out(EVICTING)
            opened.load()
            opened.attach_struct_ops("agentcg_ops")
            if evicts:
                opened.attach(EVICTING)
            if delays:
                opened.attach(memory_delay.PROGRAM)
            return cls(opened, delays, shares)
        except BpfError as error:
            opened.close()
            if not delays:
                raise
            # It has the function, and does not let it be traced: the rest may be had all the same.
            without = cls.open(delays=False, slice_ns=slice_ns, agents_in=agents_in)
            without.no_delay = str(error)
            return without
        except OSError as error:
            opened.close()
            raise _taken(loaded() or "another one") from error
        except BaseException:
            opened.close()
            raise

    def ended(self) -> str:
        """Why the kernel took it out again, in its own words; "" while it is in charge."""
        state = self._read()
        if not state.exit_kind:
            return ""
        reason, message = (_text(part) for part in (state.exit_reason, state.exit_message))
        return f"{reason}: {message}" if message else reason

    def failed(self) -> bool:
        """Whether it ended by a fault; SysRq-S and unloading are requests."""
        return bool(self._read().exit_kind >= _ERRORS)

    def must_restart(self) -> bool:
        """Whether it ended because a CPU came or went: load it again."""
        return bool(self._read().exit_code & _RESTART)

    def stats(self) -> SchedulerStats:
        """Counts so far."""
        state = self._read()
        return SchedulerStats(**{name: int(getattr(state, name)) for name in _STATS})

    def unbounded(self) -> int:
        """How many cgroups have a cpu.max that is not honoured: all, where the kernel cannot stop
        tasks at their return to user mode, else none."""
        return 0 if self._stops else self.stats().bandwidths

    def cpu_use(self, cgroup_id: int) -> CpuUse | None:
        """Run and wait times of a cgroup; None if it has no record of its own."""
        slot = self._slots.get(cgroup_id)
        node = None if slot is None else self._nodes.get(int(slot.value))
        if node is None or node.cgroup_id != cgroup_id:  # gone, and the slot used again
            return None
        return CpuUse(**{name: int(getattr(node, name)) for name in _CPU_USE})

    def entries(self) -> dict[str, int]:
        """How many entries each map has that grows and shrinks, by its name."""
        found = {}
        for name, key in _GROWING.items():
            with self._object.map(name, key, c_uint64) as one:
                found[name] = len(list(one.keys()))
        return found

    def favour(self, cgroup_id: int, on: bool) -> None:
        """Let tasks of this cgroup, and of those below it, run as soon as they wake for 10 ms in
        each 100 ms, or not any more. BpfError when there is no room for one more."""
        try:
            if on:
                self._favoured.put(cgroup_id, c_uint32(1))
            else:
                self._favoured.remove(cgroup_id)
        except OSError as error:
            raise BpfError(f"cgroup {cgroup_id} is not favoured: {error.strerror}") from error

    @contextmanager
    def timed(self, *programs: str) -> Iterator[Callable[[str], float]]:
        """Have the kernel measure these programs meanwhile; the result says what one run of a
        program took in ns (mean; 0.0: it did not run). Measuring takes a little each time itself.
        """
        before = {name: self._object.run_time(name) for name in programs}

        def mean_ns(program: str) -> float:
            ns, runs = self._object.run_time(program)
            return (ns - before[program][0]) / ((runs - before[program][1]) or 1)

        was = BPF_STATS.read_text()
        BPF_STATS.write_text("1")
        try:
            yield mean_ns
        finally:
            BPF_STATS.write_text(was)

    def close(self) -> None:
        """Give the CPUs back to the kernel's own scheduler."""
        if self.memory_delay is not None:
            self.memory_delay.close()
            self.memory_delay = None
        if self.arrivals is not None:
            self.arrivals.close()
            self.arrivals = None
        for one in (self.turns, self._state, self._nodes, self._slots, self._favoured):
            one.close()
        self._object.close()

    def _read(self) -> StateRecord:
        return self._state.get(0) or StateRecord()  # an array's element is always there


_GROWING = {
    "slots": c_uint64, "favoured": c_uint64, "budgets": c_uint64, "delays": c_uint64,
    "works": c_uint32,
}  # fmt: skip
_STATS = tuple(SchedulerStats.__dataclass_fields__)
_CPU_USE = tuple(CpuUse.__dataclass_fields__)


def _unknown_operations() -> list[str]:
    """Programs for operations that came later than the rest, and that this kernel lacks."""
    with btf.Btf.vmlinux() as kernel:
        known = {member.name for member in kernel.members("sched_ext_ops")}
    return [f"agentcg_{name}" for name in LATE_OPERATIONS if name not in known]


def _can_evict() -> bool:
    """Whether tasks can be made to leave a CPU that a real-time task takes."""
    with btf.Btf.vmlinux() as kernel:
        return any(kernel.has_function(name) for name in _EVICT)


def _settings(slice_ns: int) -> SettingsRecord:
    return SettingsRecord(
        slice_ns=slice_ns,
        credit_ns=CREDIT_NS,
        lag_ns=LAG_NS,
        patience_ns=PATIENCE_NS,
        sweep_ns=memory_delay.SWEEP_NS,
        boost_ns=BOOST_NS,
        stretch_ns=STRETCH_NS,
        favour_ns=FAVOUR_NS,
        cpu_boost_ns=CPU_BOOST_NS,
        window_ns=WINDOW_NS,
    )


def _taken(by: str) -> BpfError:
    return BpfError(
        f"another sched_ext scheduler is loaded: {by}",
        remedy="it is left alone; stop it, or start agentcgd with --scheduler off",
    )


def _text(raw: bytes) -> str:
    return raw.decode(errors="replace").strip()
