# SPDX-License-Identifier: Apache-2.0
"""Cgroup files to values: pure functions.

Keys that are not known are ignored, since newer kernels add them; a value that is not what
the kernel documents raises `ValueError`, since guessing would turn into wrong limits.
"""

from __future__ import annotations

import re
from functools import lru_cache

from agentcg.cgroups.values import (
    MAX,
    CgroupEvents,
    CpuMax,
    CpuStat,
    IoMax,
    IoStat,
    IoWeight,
    Limit,
    MemoryEvents,
    MemoryStat,
    Psi,
    PsiLine,
    Stalled,
)

_PERCENT = re.compile(r"[0-9]{1,3}\.[0-9]{2}")
_EVENT_KEYS = ("low", "high", "max", "oom", "oom_kill")
_STAT_KEYS = (
    "anon", "file", "kernel", "shmem", "pgfault", "pgmajfault", "workingset_refault_anon",
    "workingset_refault_file", "pgsteal", "pswpin", "pswpout",
)  # fmt: skip
_CPU_KEYS = (
    "usage_usec", "user_usec", "system_usec", "nr_periods", "nr_throttled", "throttled_usec",
)  # fmt: skip
_IO_KEYS = ("rbytes", "wbytes", "rios", "wios", "dbytes", "dios")

# --- Scalars ------------------------------------------------------------------------------


def parse_uint(text: str) -> int:
    """A decimal number without sign ("4096\\n")."""
    digits = text.strip()
    if not (digits.isascii() and digits.isdigit()):
        raise ValueError(f"{text[:40]!r} is not a number")
    return int(digits)


def parse_int(text: str) -> int:
    """A decimal number that may be negative (`cpu.weight.nice`)."""
    digits = text.strip()
    return -parse_uint(digits[1:]) if digits.startswith("-") else parse_uint(digits)


def parse_limit(text: str) -> Limit:
    """A number or "max"."""
    return MAX if text.strip() == "max" else parse_uint(text)


def parse_flag(text: str) -> bool:
    """ "0" or "1"."""
    flag = text.strip()
    if flag not in ("0", "1"):
        raise ValueError(f"{text[:40]!r} is neither 0 nor 1")
    return flag == "1"


def parse_words(text: str) -> list[str]:
    """Names between spaces (`cgroup.controllers`)."""
    return text.split()


def parse_pids(text: str) -> list[int]:
    """One process or thread id a line; 0 stands for one outside this pid namespace."""
    return [parse_uint(line) for line in text.split()]


# --- Keyed files --------------------------------------------------------------------------


def parse_flat(text: str) -> dict[str, int]:
    """`key value` lines (`memory.stat`, `cpu.stat`, `cgroup.stat`, `pids.events`)."""
    pairs = {}
    for line in text.splitlines():
        key, _, value = line.partition(" ")
        pairs[key] = parse_uint(value)
    return pairs


def pick(text: str, keys: tuple[str, ...]) -> list[int | None]:
    """Values of `keys` in a `key value` file; faster than `parse_flat` on long ones."""
    text = f"\n{text}\n"
    values: list[int | None] = []
    for beginning in _beginnings(keys):
        found = text.find(beginning)
        if found < 0:
            values.append(None)
            continue
        start = found + len(beginning)
        values.append(parse_uint(text[start : text.index("\n", start)]))
    return values


@lru_cache(maxsize=16)
def _beginnings(keys: tuple[str, ...]) -> list[str]:
    return [f"\n{key} " for key in keys]


def _need(value: int | None, key: str) -> int:
    if value is None:
        raise ValueError(f"no {key!r} line")
    return value


def parse_memory_events(text: str) -> MemoryEvents:
    """`memory.events` and `memory.events.local`."""
    pairs = parse_flat(text)
    low, high, limit, oom, oom_kill = (_need(pairs.get(key), key) for key in _EVENT_KEYS)
    return MemoryEvents(low, high, limit, oom, oom_kill, pairs.get("oom_group_kill"))


def parse_memory_stat(text: str) -> MemoryStat:
    """The lines of `memory.stat` that `MemoryStat` keeps."""
    return MemoryStat(*pick(text, _STAT_KEYS))


def parse_frozen(text: str) -> int:
    """Microseconds of `cgroup.stat.local`."""
    return _need(pick(text, ("frozen_usec",))[0], "frozen_usec")


def parse_throttled(text: str) -> int | None:
    """Microseconds of `cpu.stat.local`, which is empty without the cpu controller."""
    return pick(text, ("throttled_usec",))[0]


def parse_cpu_stat(text: str) -> CpuStat:
    """`cpu.stat`, with or without the cpu controller."""
    usage, user, system, periods, throttled, throttled_us = pick(text, _CPU_KEYS)
    return CpuStat(
        _need(usage, "usage_usec"),
        _need(user, "user_usec"),
        _need(system, "system_usec"),
        periods,
        throttled,
        throttled_us,
    )


def parse_cgroup_events(text: str) -> CgroupEvents:
    """`cgroup.events`."""
    pairs = dict(line.partition(" ")[::2] for line in text.splitlines())
    if "populated" not in pairs:
        raise ValueError("no 'populated' line")
    frozen = pairs.get("frozen")
    return CgroupEvents(
        parse_flag(pairs["populated"]), None if frozen is None else parse_flag(frozen)
    )


# --- Files with one device a line ---------------------------------------------------------


def _device_lines(text: str) -> dict[str, dict[str, str]]:
    """`8:0 key=value ...` lines. A device without figures is left out: kernels up to 6.1
    print such devices' numbers in front of the next device, on the same line."""
    devices = {}
    for line in text.splitlines():
        words = line.split()
        names = [word for word in words if "=" not in word]
        pairs = dict(word.split("=", 1) for word in words if "=" in word)
        if pairs and not names:
            raise ValueError(f"{line[:40]!r} names no device")
        for name in names:
            check_device(name)
        if pairs:
            devices[names[-1]] = pairs
    return devices


def check_device(name: str) -> None:
    """Raises ValueError unless `name` is a device number such as "8:0"."""
    major, colon, minor = name.partition(":")
    if not colon:
        raise ValueError(f"{name[:40]!r} is not a device number")
    parse_uint(major)
    parse_uint(minor)


def parse_io_stat(text: str) -> dict[str, IoStat]:
    """`io.stat` by device number ("8:0")."""
    return {
        device: IoStat(*(parse_uint(pairs.get(key, "0")) for key in _IO_KEYS))
        for device, pairs in _device_lines(text).items()
    }


def parse_io_total(text: str) -> IoStat:
    """`io.stat` summed over all devices."""
    stats = parse_io_stat(text).values()
    return IoStat(
        sum(s.rbytes for s in stats),
        sum(s.wbytes for s in stats),
        sum(s.rios for s in stats),
        sum(s.wios for s in stats),
        sum(s.dbytes for s in stats),
        sum(s.dios for s in stats),
    )


def parse_io_max(text: str) -> dict[str, IoMax]:
    """`io.max` by device number."""
    return {
        device: IoMax(
            *(parse_limit(pairs.get(key, "max")) for key in ("rbps", "wbps", "riops", "wiops"))
        )
        for device, pairs in _device_lines(text).items()
    }


def parse_io_weight(text: str) -> IoWeight:
    """`io.weight`: a `default N` line and `8:0 N` lines."""
    default = None
    devices = {}
    for line in text.splitlines():
        name, _, weight = line.partition(" ")
        if name == "default":
            default = parse_uint(weight)
        else:
            check_device(name)
            devices[name] = parse_uint(weight)
    return IoWeight(_need(default, "default"), devices)


# --- CPU bandwidth and pressure -----------------------------------------------------------


def parse_cpu_max(text: str) -> CpuMax:
    """`cpu.max`: "quota period"."""
    words = text.split()
    if len(words) != 2:
        raise ValueError(f"{text[:40]!r} is not 'quota period'")
    return CpuMax(parse_limit(words[0]), parse_uint(words[1]))


def parse_psi(text: str) -> Psi:
    """`memory.pressure`, `io.pressure`, `cpu.pressure` (the last without `full` before 5.13)."""
    lines = {}
    for line in text.splitlines():
        kind, _, rest = line.partition(" ")
        if kind in ("some", "full"):
            lines[kind] = _psi_line(rest)
    if "some" not in lines:
        raise ValueError("no 'some' line")
    return Psi(lines["some"], lines.get("full"))


def parse_stalled(text: str) -> Stalled:
    """The totals of a pressure file, without its averages: they are what an account needs."""
    totals = {}
    for line in text.splitlines():
        found = line.find(" total=")
        if found >= 0:
            totals[line.partition(" ")[0]] = parse_uint(line[found + 7 :].partition(" ")[0])
    return Stalled(_need(totals.get("some"), "some"), totals.get("full"))


def _psi_line(text: str) -> PsiLine:
    pairs = dict(word.partition("=")[::2] for word in text.split())
    try:
        return PsiLine(
            _percent(pairs["avg10"]),
            _percent(pairs["avg60"]),
            _percent(pairs["avg300"]),
            parse_uint(pairs["total"]),
        )
    except KeyError as missing:
        raise ValueError(f"no {missing} in a pressure line") from None


def _percent(text: str) -> float:
    if _PERCENT.fullmatch(text) is None:
        raise ValueError(f"{text[:40]!r} is not a percentage")
    return float(text)
