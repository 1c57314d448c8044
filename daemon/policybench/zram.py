# SPDX-License-Identifier: Apache-2.0
"""Swap on compressed memory for as long as something is measured; nothing is left behind."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agentcg.errors import AgentcgError

CONTROL = Path("/sys/class/zram-control")


@contextmanager
def swap_on_zram(size_bytes: int) -> Iterator[None]:
    """A swap device of `size_bytes` in memory. Raises AgentcgError where there is none."""
    if not CONTROL.is_dir():  # else it is there already, or built in
        _run("modprobe", "zram", "num_devices=0")
    try:
        number = int((CONTROL / "hot_add").read_text())
    except OSError as error:
        raise AgentcgError(f"zram: no device: {error}", remedy="load the zram module") from error
    device = f"/dev/zram{number}"
    try:
        Path(f"/sys/block/zram{number}/disksize").write_text(str(size_bytes))
        _run("mkswap", device)
        _run("swapon", "--priority", "100", device)
        try:
            yield
        finally:
            _run("swapoff", device)
    finally:
        (CONTROL / "hot_remove").write_text(str(number))


def _run(*command: str) -> None:
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        told = getattr(error, "stderr", "") or error
        raise AgentcgError(f"{command[0]}: {str(told).strip()}") from error
