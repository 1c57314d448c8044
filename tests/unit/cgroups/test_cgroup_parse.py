# SPDX-License-Identifier: Apache-2.0
"""The kernel's files as text, and the values that they mean."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentcg.cgroups import (
    MAX,
    CgroupEvents,
    CpuMax,
    CpuStat,
    IoMax,
    IoStat,
    IoWeight,
    MemoryEvents,
    MemoryStat,
    Psi,
    PsiLine,
    parse,
)
from agentcg.cgroups.values import (
    Stalled,
)

NUMBERS = st.integers(0, (1 << 64) - 1)
KEYS = st.from_regex(r"[a-z][a-z0-9_]{0,30}", fullmatch=True)

PARSERS: list[Callable[[str], object]] = [
    parse.parse_uint,
    parse.parse_int,
    parse.parse_limit,
    parse.parse_flag,
    parse.parse_pids,
    parse.parse_flat,
    parse.parse_memory_events,
    parse.parse_memory_stat,
    parse.parse_cpu_stat,
    parse.parse_throttled,
    parse.parse_cgroup_events,
    parse.parse_io_stat,
    parse.parse_io_total,
    parse.parse_io_max,
    parse.parse_io_weight,
    parse.parse_cpu_max,
    parse.parse_psi,
    parse.parse_stalled,
]


@pytest.mark.parametrize("parser", PARSERS)
@given(text=st.text(max_size=200))
def test_any_text_parses_or_is_a_value_error(parser: Callable[[str], object], text: str) -> None:
    """Whatever a file holds, a parser answers or says that it does not understand it."""
    with contextlib.suppress(ValueError):
        parser(text)


@pytest.mark.parametrize("text", ["", "-1", "1_000", "0x10", "1.5", "+3", "١", "max", "1 2"])
def test_a_number_is_decimal_digits_and_nothing_else(text: str) -> None:
    """What Python's int() would take and the kernel never writes is refused."""
    with pytest.raises(ValueError, match="not a number"):
        parse.parse_uint(text)


@given(NUMBERS)
def test_a_limit_is_a_number_or_max(number: int) -> None:
    """Every number comes back as itself; "max" is the constant that means no limit."""
    assert parse.parse_limit(f"{number}\n") == number
    assert parse.parse_limit("max\n") is MAX


@given(st.dictionaries(KEYS, NUMBERS, max_size=30))
def test_flat_files_keep_every_key(pairs: dict[str, int]) -> None:
    """Keys of a kernel newer than this program are there, under the kernel's name."""
    text = "".join(f"{key} {value}\n" for key, value in pairs.items())
    assert parse.parse_flat(text) == pairs


@given(st.dictionaries(KEYS, NUMBERS, max_size=30), st.lists(KEYS, min_size=1, max_size=5))
def test_picking_keys_agrees_with_reading_all(pairs: dict[str, int], keys: list[str]) -> None:
    """The quick look-up of some keys finds exactly what the full parser finds."""
    text = "".join(f"{key} {value}\n" for key, value in pairs.items())
    assert parse.pick(text, tuple(keys)) == [pairs.get(key) for key in keys]


def test_memory_events_of_an_older_kernel_lack_group_kills() -> None:
    """A counter that the kernel does not have is None, not zero."""
    text = "low 1\nhigh 2\nmax 3\noom 4\noom_kill 5\n"
    assert parse.parse_memory_events(text) == MemoryEvents(1, 2, 3, 4, 5, None)


def test_memory_events_of_a_newer_kernel_may_have_more() -> None:
    """A key that is not known yet does not disturb."""
    text = "low 1\nhigh 2\nmax 3\noom 4\noom_kill 5\noom_group_kill 6\nsock_throttled 7\n"
    assert parse.parse_memory_events(text) == MemoryEvents(1, 2, 3, 4, 5, 6)


def test_memory_events_without_a_counter_are_not_guessed() -> None:
    """A missing counter that every kernel has means the text is something else."""
    with pytest.raises(ValueError, match="oom_kill"):
        parse.parse_memory_events("low 1\nhigh 2\nmax 3\noom 4\n")


def test_memory_stat_keeps_what_accounts_for_a_call() -> None:
    """The kept lines are found by their whole name: `file` is not `file_mapped`."""
    text = (
        "anon 4096\nfile_mapped 7\nfile 8192\nkernel 12\nshmem_thp 8\nshmem 16\n"
        "pgfault 100\npgmajfault 3\nworkingset_refault_anon 5\nworkingset_refault_file 6\n"
        "pgsteal_direct 9\npgsteal 7\npswpin 8\n"
    )
    assert parse.parse_memory_stat(text) == MemoryStat(
        4096, 8192, 12, 16, 100, 3, 5, 6, 7, 8, pswpout=None
    )


def test_cpu_stat_without_the_cpu_controller_has_no_throttling() -> None:
    """cpu.stat is in every cgroup; its throttling figures only with the controller."""
    text = "usage_usec 30\nuser_usec 10\nsystem_usec 20\nnice_usec 0\n"
    assert parse.parse_cpu_stat(text) == CpuStat(30, 10, 20, None, None, None)
    text += "nr_periods 5\nnr_throttled 2\nthrottled_usec 7\nnr_bursts 0\nburst_usec 0\n"
    assert parse.parse_cpu_stat(text) == CpuStat(30, 10, 20, 5, 2, 7)
    assert parse.parse_throttled("") is None
    assert parse.parse_throttled("throttled_usec 7\n") == 7


@pytest.mark.parametrize(
    ("text", "events"),
    [
        ("populated 1\nfrozen 0\n", CgroupEvents(populated=True, frozen=False)),
        ("populated 0\nfrozen 1\nnew_event 9\n", CgroupEvents(populated=False, frozen=True)),
        ("populated 1\n", CgroupEvents(populated=True, frozen=None)),
    ],
)
def test_cgroup_events(text: str, events: CgroupEvents) -> None:
    """Populated is always there, frozen since Linux 5.2, and more may follow."""
    assert parse.parse_cgroup_events(text) == events


@pytest.mark.parametrize("text", ["frozen 0\n", "populated 2\n", "populated\n"])
def test_cgroup_events_must_say_whether_it_is_populated(text: str) -> None:
    """Whether a call has ended hangs on this: nothing is assumed."""
    with pytest.raises(ValueError, match=r"populated|0 nor 1"):
        parse.parse_cgroup_events(text)


def test_io_stat_by_device_and_in_total() -> None:
    """Figures are per device and add up; unknown ones such as iocost's are passed over."""
    text = (
        "254:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6 cost.vrate=100.00\n"
        "8:16 rbytes=10 wbytes=20 rios=30 wios=40 dbytes=50 dios=60\n"
    )
    assert parse.parse_io_stat(text)["254:0"] == IoStat(1, 2, 3, 4, 5, 6)
    assert parse.parse_io_total(text) == IoStat(11, 22, 33, 44, 55, 66)
    assert parse.parse_io_total("") == IoStat()


def test_io_stat_of_kernels_that_run_device_numbers_together() -> None:
    """Up to 6.1 a device without figures is printed in front of the next one's line."""
    text = "7:1 7:0 8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\n254:0 \n"
    assert parse.parse_io_stat(text) == {"8:0": IoStat(1, 2, 3, 4, 5, 6)}


@pytest.mark.parametrize("text", ["rbytes=1\n", "sda rbytes=1\n", "8:0 rbytes=x\n", "8: rios=1\n"])
def test_io_stat_refuses_what_is_not_a_device_line(text: str) -> None:
    """A figure without a device number, or one that is no number, is an error."""
    with pytest.raises(ValueError, match=r"device|number"):
        parse.parse_io_stat(text)


def test_io_max_and_weight() -> None:
    """Devices that are named differ from the default; what is not named is not limited."""
    assert parse.parse_io_max("8:16 rbps=2097152 wbps=max riops=max wiops=120\n") == {
        "8:16": IoMax(rbps=2097152, wiops=120)
    }
    assert parse.parse_io_weight("default 100\n8:0 200\n") == IoWeight(100, {"8:0": 200})


@pytest.mark.parametrize(
    ("text", "value"),
    [("max 100000\n", CpuMax(MAX)), ("50000 200000\n", CpuMax(50_000, 200_000))],
)
def test_cpu_max(text: str, value: CpuMax) -> None:
    """Quota and period in microseconds."""
    assert parse.parse_cpu_max(text) == value


def test_pressure_with_and_without_a_full_line() -> None:
    """`cpu.pressure` had no `full` line before Linux 5.13; later lines are passed over."""
    some = "some avg10=12.34 avg60=1.00 avg300=0.05 total=123456\n"
    line = PsiLine(12.34, 1.0, 0.05, 123456)
    assert parse.parse_psi(some) == Psi(line, None)
    assert parse.parse_stalled(some) == Stalled(123456, None)
    full = "full avg10=0.00 avg60=0.00 avg300=100.00 total=0\nirq avg10=x\n"
    assert parse.parse_psi(some + full) == Psi(line, PsiLine(0.0, 0.0, 100.0, 0))
    assert parse.parse_stalled(some + full) == Stalled(123456, 0)


@pytest.mark.parametrize(
    "text",
    [
        "full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
        "some avg10=0.00 avg60=0.00 total=0\n",
        "some avg10=nan avg60=0.00 avg300=0.00 total=0\n",
        "some avg10=0.00 avg60=0.00 avg300=0.00 total=-1\n",
    ],
)
def test_pressure_that_is_not_pressure(text: str) -> None:
    """A missing figure or one that is no number is an error."""
    with pytest.raises(ValueError, match=r"some|pressure|percentage|number"):
        parse.parse_psi(text)


@pytest.mark.parametrize(
    "text", ["", "full avg10=0.00 total=0\n", "some avg10=0.00\n", "some avg10=0.00 total=-1\n"]
)
def test_pressure_without_a_total(text: str) -> None:
    """An account does without averages, but not without the time lost."""
    with pytest.raises(ValueError, match=r"some|number"):
        parse.parse_stalled(text)
