# SPDX-License-Identifier: Apache-2.0
"""Seconds since the epoch that never jump while anybody is measured by them.

Somebody may set the machine's clock (a time server does, after a boot with a wrong one). Durations
of calls, deadlines and what the ladder waits for must not jump with it. So the daemon counts with
CLOCK_BOOTTIME, which BPF counts with, too, from the epoch as it was when the daemon started, and
takes a new epoch only when no call is there.
"""

from __future__ import annotations

import time


class SteadyClock:
    """Time of day at its last look at the machine's clock, and steady from then on."""

    def __init__(self) -> None:
        self._boot_time = self._now()

    @staticmethod
    def _now() -> float:
        return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)

    @property
    def boot_time(self) -> float:
        """When CLOCK_BOOTTIME was 0, seconds since the epoch."""
        return self._boot_time

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._boot_time + time.clock_gettime(time.CLOCK_BOOTTIME)

    def follow(self) -> None:
        """Take the machine's clock as it is now."""
        self._boot_time = self._now()


CLOCK = SteadyClock()
"""The daemon's."""
