# SPDX-License-Identifier: Apache-2.0
"""What is written to the kernel's files, and what never is."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from agentcg.cgroups import MAX, CpuMax, IoMax, formatting
from agentcg.errors import InvalidInput


@pytest.mark.parametrize(
    ("formatter", "value"),
    [
        (formatting.format_bytes, -1),
        (formatting.format_bytes, 1 << 63),
        (formatting.format_bytes, 1.5),
        (formatting.format_bytes, True),
        (formatting.format_bytes, "64M"),
        (formatting.format_weight, 0),
        (formatting.format_weight, 10_001),
        (formatting.format_nice, -21),
        (formatting.format_pids, -1),
        (formatting.format_flag, 1),
        (formatting.format_io_weight, 0),
        (formatting.format_cpu_max, CpuMax(999)),
        (formatting.format_cpu_max, CpuMax(MAX, 999)),
        (formatting.format_cpu_max, CpuMax(MAX, 1_000_001)),
    ],
)
def test_a_value_out_of_range_is_never_written(
    formatter: Callable[[object], str], value: object
) -> None:
    """Range and type are checked before the kernel sees anything."""
    with pytest.raises(InvalidInput):
        formatter(value)


def test_io_max_is_written_for_one_device() -> None:
    """One line names the device and all four bounds."""
    assert (
        formatting.format_io_max("8:0", IoMax(wbps=1)) == "8:0 rbps=max wbps=1 riops=max wiops=max"
    )
    with pytest.raises(InvalidInput, match="device number"):
        formatting.format_io_max("sda", IoMax())
