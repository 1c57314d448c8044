# SPDX-License-Identifier: Apache-2.0
"""Values to the text of cgroup files: pure functions.

A value that is out of range or of the wrong type raises `InvalidInput`, so that nothing wrong is
ever written; `field` is the name that the error gives it.
"""

from __future__ import annotations

from agentcg.cgroups.parse import check_device
from agentcg.cgroups.values import CpuMax, IoMax, Limit, Max
from agentcg.errors import InvalidInput

BYTES_MAX = (1 << 63) - 1
"""Largest size that is written; the kernel's page counters saturate here."""

PIDS_MAX = 1 << 22
"""The kernel's PID_MAX_LIMIT; a larger `pids.max` is refused by the kernel."""


def _bounded(field: str, value: object, low: int, high: int) -> str:
    if type(value) is not int or not low <= value <= high:
        raise InvalidInput(field, value, f"a whole number from {low} to {high}")
    return str(value)


def format_bytes(value: Limit, field: str = "size") -> str:
    """Bytes or "max"."""
    return "max" if isinstance(value, Max) else _bounded(field, value, 0, BYTES_MAX)


def format_pids(value: Limit, field: str = "pids.max") -> str:
    """A number of tasks or "max"."""
    return "max" if isinstance(value, Max) else _bounded(field, value, 0, PIDS_MAX)


def format_count(value: Limit, field: str = "count") -> str:
    """`cgroup.max.depth`, `cgroup.max.descendants`: a count or "max"."""
    return "max" if isinstance(value, Max) else _bounded(field, value, 0, (1 << 31) - 1)


def format_flag(value: bool, field: str = "flag") -> str:
    """ "1" or "0"."""
    if not isinstance(value, bool):
        raise InvalidInput(field, value, "true or false")
    return "1" if value else "0"


def format_weight(value: int, field: str = "weight") -> str:
    """A share against siblings, 1 to 10000 (100 by default)."""
    return _bounded(field, value, 1, 10_000)


def format_nice(value: int, field: str = "cpu.weight.nice") -> str:
    """A weight as a nice value, -20 to 19."""
    return _bounded(field, value, -20, 19)


def format_cpu_max(value: CpuMax, field: str = "cpu.max") -> str:
    """ "quota period": quota at least 1 ms, period 1 ms to 1 s (kernel/sched/core.c)."""
    period = _bounded(f"{field} period", value.period_us, 1000, 1_000_000)
    if isinstance(value.quota_us, Max):
        return f"max {period}"
    return f"{_bounded(f'{field} quota', value.quota_us, 1000, BYTES_MAX // 1000)} {period}"


def format_io_weight(value: int, field: str = "io.weight") -> str:
    """The default weight over all devices."""
    return f"default {_bounded(field, value, 1, 10_000)}"


def format_io_max(device: str, value: IoMax) -> str:
    """One device's line for `io.max`."""
    try:
        check_device(device)
    except ValueError as error:
        raise InvalidInput("io.max", device, "a device number such as 8:0") from error
    fields = {k: getattr(value, k) for k in ("rbps", "wbps", "riops", "wiops")}
    return " ".join([device, *(f"{k}={format_bytes(v, k)}" for k, v in fields.items())])
