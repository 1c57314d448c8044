# SPDX-License-Identifier: Apache-2.0
"""The table of interface files."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agentcg.cgroups import LIMIT_KNOBS, MAX, CpuMax, Limit, Limits, knobs
from agentcg.cgroups.knobs import Knob
from agentcg.cgroups.values import DEFAULTS, beyond_defaults

LIMITS = st.one_of(st.just(MAX), st.integers(0, 1 << 50))

FILES = """
memory.current memory.peak memory.min memory.low memory.high memory.max memory.swap.current
memory.swap.peak memory.swap.max memory.oom.group memory.events memory.events.local memory.stat
memory.pressure cpu.weight cpu.weight.nice cpu.max cpu.stat cpu.stat.local cpu.pressure
io.weight io.stat io.max io.pressure pids.current pids.peak pids.max pids.events
cgroup.procs cgroup.threads cgroup.controllers cgroup.subtree_control cgroup.events
cgroup.freeze cgroup.stat cgroup.stat.local cgroup.type
cgroup.max.depth cgroup.max.descendants cgroup.pressure
"""


def test_every_file_has_its_constant() -> None:
    """Each file has a constant named as the kernel names the file."""
    found = {name: knob.name for name, knob in vars(knobs).items() if isinstance(knob, Knob)}
    assert sorted(found.values()) == sorted(FILES.split())
    assert all(name == file.upper().replace(".", "_") for name, file in found.items())


def test_what_the_kernel_gives_a_new_cgroup_is_not_written_to_it() -> None:
    """Every limit counts, also one that is 0 or off; what is to be left alone stays so."""
    other = Limits(1, 1, 1, 1, 0, True, 99, CpuMax(1), 99, 0)
    assert beyond_defaults(DEFAULTS) == Limits()
    assert beyond_defaults(other) == other
    assert beyond_defaults(Limits(memory_high=1, pids_max=MAX)) == Limits(memory_high=1)


def test_every_limit_has_a_file_that_can_be_written() -> None:
    """`Limits` and the table of its files name the same things."""
    assert sorted(LIMIT_KNOBS) == sorted(Limits._fields)
    assert all(knob.format is not None for knob in LIMIT_KNOBS.values())
    assert all(knob.name.replace(".", "_") == field for field, knob in LIMIT_KNOBS.items())


@given(LIMITS)
def test_a_memory_limit_reads_back_as_written(limit: Limit) -> None:
    """What is written is what is read, for numbers and for "max"."""
    assert knobs.MEMORY_HIGH.format is not None
    assert knobs.MEMORY_HIGH.parse(knobs.MEMORY_HIGH.format(limit, "memory_high")) == limit


@given(st.builds(CpuMax, st.one_of(st.just(MAX), st.integers(1000, 10**9)),
                 st.integers(1000, 10**6)))  # fmt: skip
def test_cpu_max_reads_back_as_written(value: CpuMax) -> None:
    """Quota and period survive the way to the file and back."""
    assert knobs.CPU_MAX.format is not None
    assert knobs.CPU_MAX.parse(knobs.CPU_MAX.format(value, "cpu_max")) == value


@given(st.integers(1, 10_000))
def test_io_weight_reads_back_as_written(weight: int) -> None:
    """The default weight is the one that a limit means."""
    knob = LIMIT_KNOBS["io_weight"]
    assert knob.format is not None
    assert knob.parse(knob.format(weight, "io_weight") + "\n8:0 7\n") == weight
